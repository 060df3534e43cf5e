# SPDX-License-Identifier: Apache-2.0
"""PPROF_DUMP_SIGNAL and the calls in which the program's threads wait: who is interrupted, and who is not."""
import os
import pathlib
import re
import signal
import subprocess

import lib
from lib import App, equal, limit, parallel, program, until

LAUNCHER = lib.TOP / "scripts/pprofagent"
# Calls of tests/programs/eintr.c that docs/limits.md names, and those on its sockets, which have time limits.
NAMED = {"nanosleep", "clock_nanosleep", "usleep", "poll", "ppoll", "select", "pselect", "epoll_wait", "epoll_pwait",
         "futex", "futex_bitset", "sem_timedwait", "msgrcv", "semtimedop", "sigtimedwait", "io_getevents"}
SOCKETS = {"recv", "recvmsg", "recvmmsg", "accept", "connect", "send"}
RESTARTED = {"read", "readv", "flock", "waitpid", "mq_timedreceive"}


def started(**settings):
    directory = lib.scratch()
    app = App(program("eintr"), stdin=subprocess.PIPE, output=directory, dump_signal="USR1", **settings)
    equal(app.line(), "ready")
    return app, directory


def written(directory, pid, number):
    return (directory / f"eintr.{pid}.{number}.block.pb.gz").exists()


def interrupted(app):
    """{call: times EINTR} when the program has ended."""
    app.process.stdin.close()
    app.process.stdin = None
    status, out, _ = app.finish()
    equal(status, 0, "exit status")
    rows = [line.split() for line in out.decode().splitlines()]
    assert len(rows) >= 25, rows
    return {name: int(times) for name, _, times in rows}


def caught_by_agent(pid):
    """Its thread has the signal unblocked."""
    task = lib.agent_task(pid)
    return task is not None and not has_signal(task, "SigBlk")


def has_signal(directory, which):
    """Is SIGUSR1 in this set of a /proc/.../status?"""
    mask = re.search(rf"{which}:\t(\w+)", (directory / "status").read_text()).group(1)
    return int(mask, 16) >> (signal.SIGUSR1 - 1) & 1


@parallel
@limit(120)
def test_dump_signal_interrupts_nobody():
    """`pprofagent --dump`: twenty sets, and none of 27 kinds of calls returns EINTR."""
    app, directory = started()
    with app:
        until(lambda: caught_by_agent(app.pid), "the agent's thread takes the signal")
        for number in range(1, 21):
            subprocess.run([LAUNCHER, "--dump", str(app.pid)], check=True, env=lib.environment())
            until(lambda: written(directory, app.pid, number), f"set number {number}", 30)
        equal({name: n for name, n in interrupted(app).items() if n}, {}, "calls that returned EINTR")


@parallel
@limit(120)
def test_dump_signal_to_the_process():
    """Sent to each thread of the program by its number: the kernel restarts what docs/limits.md does not name."""
    app, directory = started()
    with app:
        until(lambda: caught_by_agent(app.pid), "the agent's thread takes the signal")
        threads = {int(t) for t in os.listdir(f"/proc/{app.pid}/task")} - {int(lib.agent_task(app.pid).name)}
        for tid in sorted(threads) * 10:
            os.kill(tid, signal.SIGUSR1)  # for the process, and this thread is the first that the kernel asks
            until(lambda: not has_signal(pathlib.Path(f"/proc/{app.pid}"), "ShdPnd"), "the signal is taken")
        until(lambda: written(directory, app.pid, 1), "a set of profiles", 30)
        found = {name for name, n in interrupted(app).items() if n}
    lib.note(f"interrupted: {' '.join(sorted(found))}")
    equal(found & RESTARTED, set(), "calls that the kernel restarts")
    assert found >= {"poll", "nanosleep", "epoll_wait", "select"}, found
    equal(found - NAMED - SOCKETS, set(), "calls that docs/limits.md does not name")
    text = (lib.TOP / "docs/limits.md").read_text()
    row = text[text.index("- `PPROF_DUMP_SIGNAL`, sent to the process"):]
    equal({name for name in NAMED - {"futex", "futex_bitset"} if f"`{name}`" not in row[:1600]}, set(), "not in docs/limits.md")


def python(code):
    app = App("/usr/bin/env", "python3", "-c", code, stdin=subprocess.PIPE, output=lib.scratch(), dump_signal="USR1", exe="python3*")
    equal(app.line(), "ready")
    return app


@parallel
@limit(60)
def test_a_signal_that_the_program_waits_for_stays_its_own():
    """Blocked and read by sigwait: the agent's thread leaves it alone."""
    code = ("import signal, sys; signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR1]); print('ready', flush=True)\n"
            "sys.stdin.readline(); print(signal.sigtimedwait([signal.SIGUSR1], 20).si_signo, flush=True)")
    with python(code) as app:
        until(lambda: not caught_by_agent(app.pid), "the agent's thread leaves the signal")
        for _ in range(5):
            os.kill(app.pid, signal.SIGUSR1)
        app.say("")
        equal(app.line(), str(int(signal.SIGUSR1)))


@parallel
@limit(60)
def test_a_handler_of_the_program_never_runs_in_our_thread():
    """It takes the signal over while it runs, and gives it back: our thread leaves it alone in between."""
    code = ("import signal, sys\nprint('ready', flush=True)\nfor action in (lambda *_: None, signal.SIG_DFL):\n"
            " sys.stdin.readline(); signal.signal(signal.SIGUSR1, action); print('set', flush=True)\nsys.stdin.readline()")
    with python(code) as app:
        until(lambda: caught_by_agent(app.pid), "the agent's thread takes the signal")
        app.say("")
        equal(app.line(), "set")
        until(lambda: not caught_by_agent(app.pid), "the agent's thread leaves the signal")
        app.say("")
        equal(app.line(), "set")
        until(lambda: caught_by_agent(app.pid), "the agent's thread takes the signal again")


@parallel
@limit(60)
def test_dump_says_what_it_needs():
    def dump(*args):
        done = subprocess.run([LAUNCHER, "--dump", *map(str, args)], env=lib.environment(), capture_output=True, text=True)
        return done.returncode, done.stderr
    equal(dump()[0], 2)
    plain = lib.background(["sleep", "50"])
    status, words = dump(plain.pid)
    assert status == 125 and "PPROF_DUMP_SIGNAL" in words, (status, words)
    with App(program("idle"), stdin=-1, output=lib.scratch(), dump_signal="SIGRTMIN+4") as app:
        until(lambda: dump(app.pid) == (0, ""), "it is told")
        until(lambda: list(pathlib.Path(app.env["PPROF_OUTPUT"]).glob(f"idle.{app.pid}.1.heap.pb.gz")), "its profiles")
        equal(app.process.poll(), None, "its end")
