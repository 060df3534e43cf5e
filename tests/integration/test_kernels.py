# SPDX-License-Identifier: Apache-2.0
"""Hazard D1 where the kernel has no close_range, or a sandbox allows neither it nor unshare: the agent's
descriptors are its own all the same, or it does not listen and says why."""
import contextlib
import errno
import os
import pathlib
import subprocess

import lib
from kernels import LINUX_4_18, refusing
from lib import App, agent, environment, equal, limit, parallel, program, until
from stacks import View
from test_start import reuses_all

CONTAINER = (("unshare", errno.EPERM),)  # what Docker's filter refuses, close_range it allows


@limit(120)
def test_reused_descriptors_without_close_range():
    reuses_all(2, preexec=refusing(*LINUX_4_18))


def agent_descriptors(app):
    names = []
    for fd in (lib.agent_task(app.pid) / "fd").iterdir():
        with contextlib.suppress(FileNotFoundError):  # the last connection may be closed while we look
            names.append(os.readlink(fd))
    return sorted(names)


@parallel
@limit(120)
def test_every_answer_on_an_old_kernel_and_in_a_container():
    for rules in (LINUX_4_18, CONTAINER):
        held = os.memfd_create("of the program")
        with App(program("spin"), 1, preexec=refusing(*rules), pass_fds=[held], memprofilerate=1) as app:
            os.close(held)
            equal(app.line(), "ready")
            assert View(app.profile(seconds=1)).below("spin_hot", "samples") > 0
            for name in ("heap", "allocs", "block", "mutex", "goroutine", "threadcreate", "wall?seconds=1"):
                app.profile(name)
            for name in ("", "agent", "cmdline", "symbol", "trace?seconds=0.2", "heap?debug=1", "goroutine?debug=2", "ui/heap"):
                equal(app.get(name).status, 200, f"{name} with {rules}")
            # the listener, two that wake it, a directory of /proc, what stands for 0 to 2: nothing of the program's
            theirs = {os.readlink(fd) for fd in pathlib.Path(f"/proc/{app.pid}/fd").iterdir()}
            assert any("of the program" in name for name in theirs), theirs
            ours = until(lambda: agent_descriptors(app), "descriptors")
            equal([name for name in ours if name in theirs and not name.startswith("anon_inode")], [], f"shared with the program under {rules}")


@parallel
def test_no_table_of_its_own_no_listener():
    """Both refused: a listener in the program's own table would be harm (its port could be reused), so there is none."""
    neither = (("newer", errno.ENOSYS), ("unshare", errno.EPERM))
    done = subprocess.run([program("first_open"), lib.scratch() / "out"], env=environment(None, agent(), addr="127.0.0.1:0"),
                          capture_output=True, preexec_fn=refusing(*neither), timeout=30)
    equal((done.returncode, done.stdout), (0, b""), "end")
    lines = done.stderr.decode().splitlines()
    equal(len(lines), 1, f"lines on stderr: {lines}")
    assert "no descriptor table of its own" in lines[0] and "not listening" in lines[0], lines
    with App(program("idle"), wait=False, stdin=subprocess.PIPE, preexec=refusing(*neither)) as app:
        equal(app.line(), "ready")
        equal(app.port_file.exists(), False, "a port file")
        until(lambda: len(os.listdir(f"/proc/{app.pid}/task")) == 1, "the agent's thread ends")
        equal([n for n in os.listdir(f"/proc/{app.pid}/fd") if int(n) > 2], [], "descriptors of the program")
        app.say("")
        equal(app.finish()[:2], (0, b""), "end")
