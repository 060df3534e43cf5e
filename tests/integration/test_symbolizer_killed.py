# SPDX-License-Identifier: Apache-2.0
"""The process that reads debug information dies: by a kill from outside, or over a file. Whatever happens, an
answer has all lines or says that it has not."""
import contextlib
import os
import pathlib
import random
import re
import shutil
import signal
import subprocess
import threading
import time

import lib
from lib import equal, program, until
from symbolizers import (agent_beside, any_child, complaints, has_lines, has_lines_or_says, names_only_there,
                         questions, symbolizer_of, unharmed, with_lines)


@lib.parallel
@lib.limit(400)
def test_killed_at_any_moment():
    """Killed before a question, after it, and at moments of chance: each answer has lines or says that they
    are missing, and a later one has them."""
    seeded = random.Random(11)
    with any_child() as app:
        has_lines(with_lines(app))
        done = threading.Event()
        killed = []

        def kill():
            while not done.is_set():
                for pid in symbolizer_of(app.pid):
                    time.sleep(seeded.choice((0, 0, 0.001, 0.005, 0.02)))
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(pid, signal.SIGKILL)
                        killed.append(pid)

        thread = threading.Thread(target=kill)
        thread.start()
        try:
            with_them = sum(has_lines_or_says(app.profile("heap")) for _ in range(25))
        finally:
            done.set()
            thread.join()
        assert killed, "none was met"
        lib.note(f"{len(set(killed))} killed, {with_them} of 25 answers had lines all the same")
        until(lambda: not complaints(app.profile("heap")), "lines, once nobody kills", 300, 0.2)
        has_lines(app.profile("heap"))
        unharmed(app)


@lib.parallel
def test_killed_while_it_rests():
    """A process that is killed between two answers is no file's fault: the next answer has all lines."""
    with any_child() as app:
        for _ in range(6):
            profile = with_lines(app)
            has_lines(profile)
            equal(complaints(profile), [])
            for pid in symbolizer_of(app.pid):
                os.kill(pid, signal.SIGKILL)


OPENAT = {"x86_64": "257"}.get(os.uname().machine, "56")

# Takes the place of the symbolizer: dies, with these last words, as often as the file "left" says, then
# does its work. "@" stands for the words of the first question.
DYING = """#!/bin/sh
read n < {0}/left
if [ "$n" -gt 0 ]; then
    echo $((n - 1)) > {0}/left
    read question
    echo "$question"
    {1}
    kill -9 $$
fi
exec {0}/real
"""


def dying(times, words=":"):
    """A library whose symbolizer dies that many times at work on the first file; and where to change that."""
    directory = lib.scratch()
    (directory / "left").write_text(f"{times}\n")
    shutil.copy(lib.BUILD / "pprofagent-symbolize", directory / "real")
    return agent_beside(DYING.format(directory, words).encode()), directory / "left"


@lib.parallel
def test_killed_at_work():
    """Killed at work once: nothing is missing. Twice in a row: the file at work may be the reason, the answer
    says so, and a later one has its lines."""
    preload, left = dying(1)
    with any_child(preload=preload) as app:
        has_lines(with_lines(app))
    preload, left = dying(2)
    with any_child(preload=preload) as app:
        profile = app.profile("heap")
        reason, = complaints(profile)
        assert re.search(r"was killed \(too little memory\?\) at work on \S+, which is asked for again in \d s", reason), reason
        until(lambda: not complaints(app.profile("heap")), "lines, after a while", 40, 0.5)
        has_lines(with_lines(app))
        equal(left.read_text(), "0\n")
        unharmed(app)


@lib.parallel
def test_file_that_kills_it():
    """The symbolizer says itself over which file it dies: after the second time it is not asked for that one
    any more, every answer says so, and other files have their lines."""
    st = os.stat(program("any_child"))
    preload, left = dying(2, f"echo D {st.st_dev:x} {st.st_ino:x}")
    with any_child(preload=preload) as app:
        for _ in range(3):
            names_only_there(app.profile("heap"), "died more than once over the debug information of any_child")
        equal(left.read_text(), "0\n")
        assert re.search(r"lines_not_to_be_had +[1-9]", app.get("agent").text)
        unharmed(app)


@lib.parallel
def test_last_words():
    """A fault is told with the file at work, and only then."""
    directory = lib.scratch()
    os.mkfifo(directory / "debug")
    path = directory / "stripped"
    lib.needs("objcopy")
    subprocess.run(["objcopy", "--strip-debug", program("any_child"), path], check=True)
    st = os.stat(path)

    def die(sig, at_work):
        started = subprocess.Popen([lib.BUILD / "pprofagent-symbolize"], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        try:
            debug = f"{directory}/debug" if at_work else ""  # it waits for somebody to write into that
            started.stdin.write(questions(path, [1]).replace(b"\t\t\n", f"\t\t{debug}\n".encode()))
            started.stdin.flush()
            equal(started.stdout.readline(), b"R 1\n")
            while not at_work and started.stdout.readline() != b"E 1\n":
                pass
            if at_work:
                until(lambda: pathlib.Path(f"/proc/{started.pid}/syscall").read_text().split()[0] == OPENAT,
                      "it waits for the debug file")
            started.send_signal(sig)
            rest = started.stdout.read()
            equal(started.wait(20), -sig)
            return rest
        finally:
            started.kill()

    for sig in (signal.SIGSEGV, signal.SIGXCPU):
        equal(die(sig, True), f"D {st.st_dev:x} {st.st_ino:x}\n".encode())
        equal(die(sig, False), b"")
