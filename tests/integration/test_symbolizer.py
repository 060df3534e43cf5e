# SPDX-License-Identifier: Apache-2.0
"""The process that reads debug information: what it gives, and what happens when it cannot be had."""
import os
import pathlib
import random
import re
import shutil
import signal
import subprocess
import sys
import threading

import lib
from lib import App, equal, program, until
from symbolizers import (agent_beside, any_child, complaints, counts, frames_of, has_lines, names_only,
                         names_only_there, questions, symbolizer_of, unharmed, with_lines)


# ---------------------------------------------------------------- what it gives

@lib.parallel
def test_lines_and_inlined_functions():
    with any_child() as app:
        profile = with_lines(app)
        has_lines(profile)
        equal(complaints(profile), [])
        unharmed(app)
        assert re.search(r"symbolizer=pid \d+\n", app.get("agent").text)


@lib.parallel
def test_symbolize_parameter():
    with any_child() as app:
        names = app.profile("heap", symbolize="names")
        equal([f for f in frames_of(names, "outer_alloc") if len(f) != 1 or f[0][1:] != ("", 0, 0)], [])
        equal(complaints(names), [])
        equal(symbolizer_of(app.pid), [], "nobody asked for lines")
        none = lib.decoded(app.get("heap", symbolize="none").body, names=False)
        equal([loc for loc in none.locations if loc.mapping and loc.lines], [])
        has_lines(with_lines(app))
    with any_child(symbolize="names") as app:
        equal(complaints(app.profile("heap")), [])
        equal(symbolizer_of(app.pid), [])
        has_lines(with_lines(app, symbolize="lines"))


@lib.parallel
def test_program_never_sees_it():
    """wait(-1) and waitpid(-1) in a loop, SIGCHLD counted, while symbolizers start, work, die and end."""
    with any_child() as app:
        for round_ in range(4):
            has_lines(with_lines(app))
            for pid in symbolizer_of(app.pid):
                os.kill(pid, signal.SIGKILL)
            unharmed(app)
        seen = counts(app)
        assert seen["signals"] <= seen["children"] + 1, seen
        assert int(re.search(r"symbolizer_starts +(\d+)", app.get("agent").text).group(1)) >= 3


@lib.parallel
def test_nothing_is_inherited():
    """No descriptor but the pipe, no environment; it dies with the program."""
    with any_child(env={"PLANTED": "secret"}) as app:
        has_lines(with_lines(app))
        pid, = symbolizer_of(app.pid)
        targets = {int(f.name): os.readlink(f) for f in pathlib.Path(f"/proc/{pid}/fd").iterdir()}
        assert targets[0].startswith("pipe:") and targets[1].startswith("pipe:"), targets
        mine = [t for n, t in targets.items() if n > 2 and not t.startswith("/")]
        equal(mine, [], "descriptors that are no files that it opened")
        equal(pathlib.Path(f"/proc/{pid}/environ").read_bytes(), b"")
        equal(pathlib.Path(f"/proc/{pid}/oom_score_adj").read_text().strip(), "1000")
        data = [line for line in pathlib.Path(f"/proc/{pid}/limits").read_text().splitlines()
                if line.startswith("Max data size")]
        equal(data[0].split()[3], str(1 << 30))
        app.process.kill()
        app.process.wait()
        until(lambda: not pathlib.Path(f"/proc/{pid}/exe").exists(), "the symbolizer ends with the program")


# ---------------------------------------------------------------- when it cannot be had

@lib.parallel
def test_missing():
    with any_child(preload=agent_beside()) as app:
        names_only(app.profile("heap"), "install it there")
        assert re.search("(?m)^# pprofagent: .* inlined functions: .*install it there", app.get("heap", debug=1).text)
        assert "install it there" in app.get("agent").text
        unharmed(app)


@lib.parallel
def test_not_executable():
    with any_child(preload=agent_beside(b"\x7fELF nonsense", 0o644)) as app:
        names_only(app.profile("heap"), "could not be executed (error 13)")
        unharmed(app)
    with any_child(preload=agent_beside(b"\x7fELF nonsense")) as app:
        names_only(app.profile("heap"), "could not be executed (error 8)")
        unharmed(app)


@lib.parallel
def test_dies_at_once():
    with any_child(preload=agent_beside(b"#!/bin/sh\nexit 9\n")) as app:
        names_only(app.profile("heap"), "dies as soon as it is started")
        unharmed(app)
        assert "pprofagent-symbolize ended with status 9" in app.get("agent").text


@lib.parallel
def test_says_nothing():
    """The answer comes after two seconds, and the next one as well; others are served meanwhile."""
    with any_child(preload=agent_beside(b"#!/bin/sh\nexec sleep 60\n")) as app:
        done = threading.Event()
        others = []

        def ask():
            while not done.is_set():
                others.append(app.get("").status)

        thread = threading.Thread(target=ask)
        thread.start()
        try:
            names_only(app.profile("heap"), "takes longer than 2 s")
        finally:
            done.set()
            thread.join()
        assert len(others) > 2 and set(others) == {200}, others
        unharmed(app)


@lib.parallel
def test_talks_nonsense():
    for nonsense in (b"hello world\n", b"R 1\nS 2 x\n", b"R 1\nL 99999999 1 1 1 1\n", b"R 1\nL 0 7 7 7 7\n",
                     b"\0" * 200000, b"R 1\nE 1\nE 1\n" * 1000):
        script = lib.scratch() / "bytes"
        script.write_bytes(nonsense)
        with any_child(preload=agent_beside(f"#!/bin/sh\nexec cat {script}\n".encode())) as app:
            profile = app.profile("heap")
            frames = frames_of(profile, "outer_alloc")
            assert frames and all(f == [("outer_alloc", "", 0, 0)] for f in frames), (nonsense[:40], frames)
            assert complaints(profile), nonsense[:40]
            unharmed(app)


@lib.parallel
def test_no_process_left():
    """RLIMIT_NPROC of another user than root: names first, lines when processes can be had again."""
    if os.geteuid() != 0:
        lib.skip("needs root to become another user")
    directory = lib.scratch()
    os.chmod(directory, 0o777)
    copy = agent_beside((lib.BUILD / "pprofagent-symbolize").read_bytes())

    def become_nobody():
        os.setgroups([])
        os.setgid(65534)
        os.setuid(65534)

    binary = directory / "any_child"
    shutil.copy(program("any_child"), binary)
    with App(binary, stdin=-1, memprofilerate=1, preload=copy, preexec=become_nobody, port_file=directory / "port",
             wait=False) as app:
        app.port_file = directory / "port"
        app.wait_listening()
        equal(app.line(), "ready")
        app.say("l")
        app.line()
        names_only(app.profile("heap"), "the kernel refused a process")
        app.say("f")
        app.line()
        until(lambda: not complaints(app.profile("heap")), "lines, once processes are allowed again", 40, 0.5)
        has_lines(with_lines(app))


SANDBOX = """
import ctypes, struct, sys, time
libc = ctypes.CDLL(None, use_errno=True)
# execve and execveat kill the process, everything else is allowed (x86-64 numbers)
code = [(0x20, 0, 0, 0), (0x15, 1, 0, 59), (0x15, 0, 1, 322), (6, 0, 0, 0x80000000), (6, 0, 0, 0x7fff0000)]
raw = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *c) for c in code))
prog = struct.pack("HxxxxxxQ", len(code), ctypes.addressof(raw))
assert libc.prctl(38, 1, 0, 0, 0) == 0
print("free", flush=True)
sys.stdin.readline()
assert libc.syscall(317, 1, 1, prog) == 0, ctypes.get_errno()   # SECCOMP_SET_MODE_FILTER, TSYNC
print("locked", flush=True)
time.sleep(200)
"""


@lib.parallel
def test_sandbox():
    """A program that forbids processes to itself is not killed for one of ours."""
    if os.uname().machine != "x86_64":
        lib.skip("the filter is written for x86-64")
    with App(sys.executable, "-c", SANDBOX, stdin=-1, memprofilerate=1000) as app:
        equal(app.line(), "free")
        app.say("")
        equal(app.line(), "locked")
        profile = app.profile("heap")
        assert not complaints(profile) or "locked itself in" in complaints(profile)[0], complaints(profile)
        if complaints(profile):
            assert "locked itself in" in app.get("agent").text
        equal(app.process.poll(), None, "the program's end")


# ---------------------------------------------------------------- broken files

def broken(seed, rounds):
    """Mutations of a program's file: the symbolizer may answer what it likes or die, but soon, and what it
    says keeps to the protocol."""
    random.seed(seed)
    original = pathlib.Path(program("hot_cpp")).read_bytes()
    listing = subprocess.run(["readelf", "-SW", program("hot_cpp")], stdout=subprocess.PIPE, text=True,
                             check=True).stdout
    sections = [(name, int(offset, 16), int(size, 16)) for name, offset, size in
                re.findall(r"\] (\.debug_\w+|\.symtab|\.strtab|\.shstrtab) +\w+ +\w+ (\w+) (\w+)", listing)]
    address, size = [(int(a, 16), int(s, 16)) for a, s in re.findall(r"\] \.text +\w+ +(\w+) \w+ (\w+)", listing)][0]
    addresses = [address + random.randrange(size) for _ in range(200)]
    path = lib.scratch() / "broken"
    answered = died = 0
    for _ in range(rounds):
        data = bytearray(original)
        for _ in range(random.choice((1, 4, 64))):
            _, offset, length = random.choice(sections + [("header", 0, 64), ("sections", len(data) - 2000, 2000)])
            at = offset + random.randrange(length)
            data[at] = random.randrange(256)
        if random.random() < 0.1:
            del data[random.randrange(len(data)):]
        path.write_bytes(data)
        done = subprocess.run([lib.BUILD / "pprofagent-symbolize"], input=questions(path, addresses),
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=60)
        lines = done.stdout.split(b"\n")
        for line in lines[:-1]:
            assert re.fullmatch(rb"R 1|E 1|S [0-9a-f]+ [^\0-\x1f]+|L [0-9a-f]+( [0-9a-f]+)*|F 0 [12]|D [0-9a-f]+ [0-9a-f]+", line), line[:200]
        if done.returncode == 0:
            equal(lines[-2], b"E 1")
            equal(sum(line.startswith(b"L ") for line in lines), len(addresses))
            answered += 1
        else:
            died += 1
    lib.note(f"{rounds} broken files: {answered} answered, {died} times it died")
    return answered


@lib.parallel
def test_broken_files():
    assert broken(1, 60) > 30


@lib.parallel
@lib.long
@lib.limit(1200)
def test_broken_files_long():
    assert broken(2, 3000) > 1500


@lib.long
@lib.limit(900)
def test_two_hundred_mib():
    """200 MiB of debug information: every answer comes in time, with more lines each time; in the end all."""
    sys.path.insert(0, str(lib.TOP / "tests/bench"))
    import symbols
    path = symbols.big(lib.scratch(), 200)
    assert symbols.debug_bytes(path) > 200 << 20
    with App(path, memprofilerate=4096) as app:
        app.get("profile", seconds=2, symbolize="names")
        before = symbols.field(app.pid, "VmRSS")
        until(lambda: not complaints(app.profile("heap", timeout=30)), "all lines", 600)
        pid, = symbolizer_of(app.pid)
        peak, grown = symbols.field(pid, "VmHWM"), symbols.field(app.pid, "VmRSS") - before
        lib.note(f"peak of the symbolizer {peak:.0f} MiB, the program grew by {grown:.1f} MiB")
        assert peak < 1024 and grown < 16


@lib.parallel
def test_broken_program():
    """The whole way with a program whose debug information is garbage: names, and the program lives."""
    directory = lib.scratch()
    path = directory / "any_child"
    data = bytearray(pathlib.Path(program("any_child")).read_bytes())
    listing = subprocess.run(["readelf", "-SW", program("any_child")], stdout=subprocess.PIPE, text=True,
                             check=True).stdout
    for name, offset, size in re.findall(r"\] (\.debug_(?:info|line|abbrev)) +\w+ +\w+ (\w+) (\w+)", listing):
        at, n = int(offset, 16), int(size, 16)
        data[at:at + n] = bytes((b * 7 + 13) & 255 for b in data[at:at + n])
    path.write_bytes(data)
    path.chmod(0o755)
    with App(path, stdin=-1, memprofilerate=1) as app:
        equal(app.line(), "ready")
        for _ in range(3):
            names_only_there(app.profile("heap"), "cannot read the debug information of any_child")
        unharmed(app)
