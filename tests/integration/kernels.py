# SPDX-License-Identifier: Apache-2.0
"""Kernels that know less, or allow less: a seccomp filter that is there before the program begins and that
answers some system calls with an error or with death, in all that the program is and starts."""
import ctypes
import errno
import platform

from lib import skip

LOAD_NUMBER = (0x20, 0, 0, 0)
EQUAL, AT_LEAST, RETURN = 0x15, 0x35, 0x06
ALLOWED, REFUSED, KILLED = 0x7FFF0000, 0x00050000, 0x80000000
CALLS = {"x86_64": {"unshare": 272, "rseq": 334, "socket": 41}, "aarch64": {"unshare": 97, "rseq": 293, "socket": 198}}.get(platform.machine(), {})
CALLS["close_range"] = 436
FIRST_OF_5_1 = 424  # since then numbers are the same on all machines


class Row(ctypes.Structure):
    _fields_ = [("code", ctypes.c_ushort), ("yes", ctypes.c_ubyte), ("no", ctypes.c_ubyte), ("value", ctypes.c_uint)]


class Filter(ctypes.Structure):
    _fields_ = [("length", ctypes.c_ushort), ("rows", ctypes.POINTER(Row))]


def installer(*rules):
    """Rules: (number of a system call, test, answer)."""
    rows = [Row(*LOAD_NUMBER)]
    for number, test, answer in rules:
        rows += [Row(test, 0, 1, number), Row(RETURN, 0, 0, answer)]
    rows.append(Row(RETURN, 0, 0, ALLOWED))
    array = (Row * len(rows))(*rows)
    program = Filter(len(rows), array)
    libc = ctypes.CDLL(None, use_errno=True)

    def install():
        if libc.prctl(38, 1, 0, 0, 0) or libc.prctl(22, 2, ctypes.byref(program), 0, 0):  # NO_NEW_PRIVS, SECCOMP
            raise OSError(ctypes.get_errno(), "seccomp")
    return libc, install


def number_of(name):
    if "unshare" not in CALLS:
        skip("no table of system calls for this machine")
    return CALLS[name]


def killing(name):
    """What a child does before its exec: whoever makes this system call dies of SIGSYS."""
    return installer((number_of(name), EQUAL, KILLED))[1]


def refusing(*rules):
    """What a child does before its exec. Rules: (name or "newer", error), "newer" for what Linux 4.18 did not have."""
    libc, add = installer(*[(FIRST_OF_5_1, AT_LEAST, REFUSED | error) if name == "newer" else
                            (number_of(name), EQUAL, REFUSED | error) for name, error in rules])

    def install():
        add()
        for name, error in rules:
            number = CALLS["close_range"] if name == "newer" else CALLS[name]
            if libc.syscall(number, 1 << 30, 1 << 30, 0) != -1 or ctypes.get_errno() != error:
                raise OSError(0, f"the filter does not refuse {name}")
    return install


LINUX_4_18 = (("newer", errno.ENOSYS), ("rseq", errno.ENOSYS))
