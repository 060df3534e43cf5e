# SPDX-License-Identifier: Apache-2.0
"""Which process the port stands for: the program, not what starts it, not a second one; and then the daemon."""
import contextlib
import os
import pathlib
import shutil
import signal
import socket
import statistics
import subprocess
import time

import lib
from kernels import killing
from lib import App, agent, environment, equal, limit, needs, note, parallel, program, scratch, until


LAUNCHERS = (["env"], ["sh", "-c", '"$@"; exit $?', "sh"], ["bash", "-c", '"$@"; exit $?', "bash"], ["dash", "-c", '"$@"; exit $?', "dash"],
             ["nice", "-n", "1"], ["nohup"], ["timeout", "100"], ["setsid", "-w"], ["xargs", "-I{}"])


@parallel
@limit(180)
def test_launchers_never_take_the_port():
    """The port stands for the program, not for what starts it, also while the launcher lives on."""
    for launcher in LAUNCHERS:
        needs(launcher[0])
        stdin = subprocess.DEVNULL
        argv = [*launcher, program("spin")]
        if launcher[0] == "xargs":
            argv = ["sh", "-c", 'echo | xargs "$0"', program("spin")]
        directory = scratch()
        address = f"unix:{directory}/s"
        process = lib.background(argv, env=environment(None, agent(), addr=address), stdin=stdin, stdout=subprocess.PIPE, start_new_session=True)
        try:
            equal(process.stdout.readline(), b"ready\n", f"output under {launcher[0]}")
            there = lib.Endpoint(f"{directory}/s")
            until(there.answers, f"the program below {launcher[0]} answers")
            name = there.get("cmdline").body.split(b"\0")[0]
            equal(name, program("spin").encode(), f"who answers below {launcher[0]}")
        finally:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


@parallel
def test_launcher_alone_listens_nowhere():
    directory = scratch()
    process = lib.background(["sh", "-c", "sleep 1000; true"], env=environment(None, agent(), addr=f"unix:{directory}/s", exe="sh*x"),
                             start_new_session=True)
    try:
        until(lambda: children(process.pid), "the shell's child")
        assert not (directory / "s").exists(), "a shell took the port"
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def children(pid):
    with contextlib.suppress(OSError):
        return pathlib.Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return []


@parallel
def test_second_process_is_silent_when_the_port_is_taken():
    with App(program("spin")) as first:
        port = first.where[1]
        plain = subprocess.run([program("exit_ways"), "return"], env=environment(), capture_output=True, timeout=30)
        # it finds out in the constructor; with more to do before main, where it would listen
        for settings in ({}, {"inherit": 0}):
            done = subprocess.run([program("exit_ways"), "return"], env=environment(None, agent(), addr=f"127.0.0.1:{port}", **settings),
                                  capture_output=True, timeout=30)
            equal((done.returncode, done.stdout, done.stderr), (plain.returncode, plain.stdout, plain.stderr), f"the second program {settings}")
        equal(first.get("cmdline").body.split(b"\0")[0], program("spin").encode(), "who answers")


@parallel
def test_what_a_taken_port_does_not_cut_short():
    """A process that finds the port taken passes through from its first moment on, unless it has something to say or
    to do before main."""
    def run(**settings):
        env = environment(None, agent(), addr=f"127.0.0.1:{first.where[1]}", **settings)
        return subprocess.run(["perl", "-e", "print $ENV{LD_PRELOAD}"], env=env, capture_output=True, text=True, timeout=30)

    with App(program("spin")) as first:
        quiet = run()
        equal((quiet.returncode, quiet.stdout, quiet.stderr), (0, str(agent()), ""), "nothing to say or to do")
        equal(run(inherit=0).stdout, "", "what its children would inherit")
        assert "is taken: not listening" in run(log="info").stderr
        assert "PPROF_MAX_FRAMES" in run(max_frames="many").stderr


PAGES_AT_MOST = 15


@parallel
def test_pages_of_a_child_that_passes_through():
    """Shells start thousands of programs that live for a millisecond: what the agent touches in them is what
    it costs (make bench-start). Counted, not timed: page faults beyond those of an empty library."""
    empty = lib.scratch() / "empty.so"
    subprocess.run([os.environ.get("CC", "cc"), "-shared", "-fPIC", "-x", "c", "/dev/null", "-o", empty], check=True)

    def faults(preload, port):
        seen = []
        for _ in range(15):
            pid = os.posix_spawn("/bin/true", ["/bin/true"], {"LD_PRELOAD": str(preload), "PPROF_ADDR": f"127.0.0.1:{port}"})
            _, status, usage = os.wait4(pid, 0)
            equal(status, 0, "end of /bin/true")
            seen.append(usage.ru_minflt)
        return statistics.median(seen)

    with App(program("spin")) as first:
        more = faults(agent(), first.where[1]) - faults(empty, first.where[1])
    note(f"{more:.0f} page faults")
    assert 0 < more <= PAGES_AT_MOST, f"{more} page faults more than with an empty library"


@parallel
def test_exe_pattern():
    with App(program("idle"), stdin=subprocess.PIPE, wait=False, exe="spi*") as app:
        equal(app.line(), "ready")
        assert not app.port_file.exists(), "a program that PPROF_EXE does not name listens"
        threads = os.listdir(f"/proc/{app.pid}/task")
        equal(len(threads), 1, "threads of a program that is not the target")
        app.say("")
        equal(app.finish(), (0, b"", b""), "end")
    with App(program("spin"), exe="spi?") as app:
        until(app.answers, "the named program answers")


@parallel
def test_no_socket_in_programs_that_are_left_out():
    """A sandbox may kill whoever asks for a socket: launchers, and programs that PPROF_EXE does not name, do not,
    whether or not the port is taken."""
    def end(*argv, preload=agent(), **settings):
        return subprocess.run(argv, env=environment(None, preload, **settings), preexec_fn=killing("socket"), timeout=30).returncode

    equal(end("perl", "-e", "socket(S, 2, 1, 0)", preload=None), -signal.SIGSYS, "what the filter does")
    with App(program("spin")) as first:
        for addr in ("127.0.0.1:0", f"127.0.0.1:{first.where[1]}", "unix:@%p", "off"):
            equal(end("/bin/true", addr=addr, exe="spin"), 0, f"a program that is not meant, {addr}")
            equal(end("sh", "-c", ":", addr=addr), 0, f"a launcher, {addr}")


@parallel
def test_two_copies_of_the_agent():
    """Two files are two loads: the second must find the first and only forward."""
    directory = scratch()
    copy = directory / "copy.so"
    shutil.copy(agent(), copy)
    with App(program("spin"), preload=f"{agent()} {copy}") as app:
        equal(app.line(), "ready")
        names = [pathlib.Path(f"/proc/{app.pid}/task/{t}/comm").read_text().strip() for t in os.listdir(f"/proc/{app.pid}/task")]
        equal(sorted(names), ["pprof-agent", "spin"], "threads")
        before = cpu_seconds(app.pid)
        total = view_of(app, seconds=2).total("cpu") / 1e9
        spent = cpu_seconds(app.pid) - before
        # the window lies within; two agents at work would count it twice
        assert spent / 2 - 0.05 < total < spent + 0.05, f"{total} s of CPU, {spent} s by the scheduler's count"
    for preload in (f"{agent()} {copy}", f"{copy} {agent()}"):
        plain = subprocess.run([program("exit_ways"), "main_first"], env=environment(), capture_output=True, timeout=30)
        under = subprocess.run([program("exit_ways"), "main_first"], env=environment(None, preload, addr="127.0.0.1:0"), capture_output=True, timeout=30)
        equal((under.returncode, under.stdout, under.stderr), (plain.returncode, plain.stdout, plain.stderr), "with two copies")


def cpu_seconds(pid):
    return sum(int(task.read_text().split()[0]) for task in pathlib.Path(f"/proc/{pid}/task").glob("*/schedstat")) / 1e9


def view_of(app, **query):
    from stacks import View
    return View(app.profile(**query))


# ---------------------------------------------------------------- daemons

def daemon_case(way, talk, address, port_file):
    """Starts daemons.c, waits for the daemon's own listener, profiles it. The daemon is found by its argv."""
    tag = f"tag{os.getpid()}-{way}-{talk}"
    argv = [program("daemons"), way, talk, tag]
    begin = time.monotonic()
    subprocess.run(argv, env=environment(None, agent(), addr=address, port_file=port_file), stdin=subprocess.DEVNULL,
                   stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=True, timeout=30)
    pid = until(lambda: find_by_argument(tag), "the daemon")
    return pid, begin


def find_by_argument(word):
    for pid in filter(str.isdecimal, os.listdir("/proc")):
        with contextlib.suppress(OSError):
            if word.encode() in pathlib.Path("/proc", pid, "cmdline").read_bytes().split(b"\0") and int(pid) != os.getpid():
                return int(pid)
    return None


def check_daemon(way, talk):
    directory = scratch()
    pid, begin = daemon_case(way, talk, "127.0.0.1:0", directory / "port.%p")
    try:
        file = directory / f"port.{pid}"
        text = until(lambda: file.exists() and file.read_text().endswith("\n") and file.read_text(), f"{file} of the daemon", 15)
        there = lib.Endpoint(("127.0.0.1", int(text)))
        until(there.answers, "the daemon answers")
        note(f"{way}, {talk}: answered {time.monotonic() - begin:.2f} s after its start")
        view = view_of(there, seconds=1)
        name, share = view.hottest()
        equal(name, "daemon_hot", "hottest function of the daemon")
        assert share > 0.5, share
    finally:
        os.kill(pid, signal.SIGKILL)


@parallel
def test_daemon_setsid():
    check_daemon("setsid", "talk")


@parallel
def test_daemon_double_fork():
    check_daemon("double", "talk")


@parallel
def test_daemon_libc():
    check_daemon("daemon", "talk")


@parallel
def test_daemon_without_libc_calls_setsid():
    check_daemon("setsid", "silent")


@parallel
def test_daemon_without_libc_calls_double_fork():
    check_daemon("double", "silent")


@parallel
def test_daemon_without_libc_calls_libc_daemon():
    check_daemon("daemon", "silent")


@parallel
def test_daemon_takes_over_the_fixed_port():
    """The parent holds the port when it forks and ends; the child must get it within 6 s."""
    port = lib.free_port()
    pid, begin = daemon_case("double", "talk", f"127.0.0.1:{port}", None)
    try:
        there = lib.Endpoint(("127.0.0.1", port))
        until(there.answers, "the daemon answers on the fixed port", 6)
        note(f"fixed port: {time.monotonic() - begin:.2f} s")
        equal(there.get("cmdline").body.split(b"\0")[1], b"double", "who answers")
    finally:
        os.kill(pid, signal.SIGKILL)


@parallel
def test_forked_child_keeps_no_copy_of_the_listener():
    """After `kill -9` of the parent its port is free although a child lives on."""
    code = "import os, sys, time\nif os.fork() == 0:\n    os.execvp('sleep', ['sleep', '100'])\nprint('ready', flush=True)\ntime.sleep(100)\n"
    with App(needs("python3"), "-c", code) as app:
        equal(app.line(), "ready")
        child = int(until(lambda: children(app.pid), "the child")[0])
        try:
            app.process.kill()
            app.process.wait()
            with socket.socket() as probe:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                probe.bind(app.where)
                probe.listen(1)
        finally:
            os.kill(child, signal.SIGKILL)
