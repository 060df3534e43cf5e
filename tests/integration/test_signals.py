# SPDX-License-Identifier: Apache-2.0
"""Programs that use SIGPROF themselves, or take signals out of the queue, under a CPU profile."""
import contextlib
import os
import pathlib
import re
import signal
import subprocess
import threading

import lib
from lib import App, agent, environment, equal, limit, long, needs, note, parallel, program, scratch, until
from stacks import View

HZ = 1000


def own_sigprof(kind):
    app = App(program("own_sigprof"), kind, stdin=subprocess.PIPE)
    equal(app.line(), "ready")
    return app


def said(app, word):
    """(own, foreign, CPU ms) after this line."""
    app.say(word)
    name, *numbers = app.line().split()
    equal(name, word)
    return list(map(int, numbers))


class Profiling:
    """A CPU profile beside the block, with its timers there before the block begins."""

    def __init__(self, app, seconds=2, timers=1, **query):
        self.app, self.timers, self.view, self.failure = app, timers, None, None
        self.thread = threading.Thread(target=self._fetch, args=(seconds, query))

    def _fetch(self, seconds, query):
        try:
            self.view = View(self.app.profile(seconds=seconds, **{"hz": HZ, **query}))
        except BaseException as failure:
            self.failure = failure

    def __enter__(self):
        self.thread.start()
        until(lambda: self.app.cpu_timers() >= self.timers or not self.thread.is_alive(), "timers of the profile")
        return self

    def __exit__(self, *_):
        self.thread.join()
        # a program that ends takes its profile with it
        if self.failure and self.app.process.poll() is None:
            raise self.failure


def enough(own, ms, what):
    """A timer of 10 ms of CPU time fires once in 10 ms. The kernel measures those by its tick (not by the clock
    that we read here) and merges what is due together; what could go wrong is far outside: none, or ours too,
    which are 2.5 times as many."""
    note(f"{what}: {own} of its own signals in {ms} ms of CPU time")
    assert ms / 10 * 0.5 - 3 <= own <= ms / 10 * 1.5 + 3, f"{what}: {own} own signals in {ms} ms of CPU time, one in 10 ms is right"


def itimer(app, work):
    """Own signals and CPU time between "on" and "off" around work()."""
    before = said(app, "on")
    work()
    after = said(app, "off")
    equal(after[1], 0, "signals that nobody sent")
    return after[0] - before[0], after[2] - before[2]


@limit(120)
def test_itimer_with_a_handler_before_the_profile():
    """Its own timer fires as always; ours takes another signal."""
    with own_sigprof("itimer") as app:
        def work():
            with Profiling(app) as p:
                taken = int(re.search(r"^sampling_signal=(\d+)", app.get("agent").text, re.M)[1])
            assert p.view.total("samples") > 100, p.view.total("samples")
            assert taken > signal.SIGRTMIN, f"the profile uses signal {taken}"
        own, ms = itimer(app, work)
        enough(own, ms, "handler first")


@limit(120)
def test_itimer_with_a_handler_during_the_profile():
    """The handler comes while SIGPROF samples: each gets its own. Twice, so that the signal is given back between."""
    with own_sigprof("itimer") as app:
        for turn in range(2):
            with Profiling(app) as p:
                before = said(app, "on")
                until(lambda: said(app, "?")[2] - before[2] > 300, "the program works", 60, 0.05)
                after = said(app, "off")
            equal(after[1], 0, "signals that nobody sent")
            enough(after[0] - before[0], after[2] - before[2], f"handler during profile {turn + 1}")
            assert p.view.total("samples") > 100, p.view.total("samples")
        # and after the last profile its handler is there for real
        before = said(app, "on")
        until(lambda: said(app, "?")[2] - before[2] > 500, "the program works", 60, 0.2)
        after = said(app, "off")
        enough(after[0] - before[0], after[2] - before[2], "after the profiles")
        equal(after[1], 0, "signals that nobody sent")


@limit(120)
def test_sigwait_for_sigprof():
    """A program that waits for SIGPROF gets each of its own, during a profile and after it."""
    with own_sigprof("wants") as app:
        def work():
            until(lambda: said(app, "?")[2] - start > 500, "the program works", 60, 0.1)
        for what in ("during", "after"):
            start = said(app, "?")[2]
            before = said(app, "on")
            if what == "during":
                app.profile(seconds=2, hz=HZ)
            else:
                work()
            after = said(app, "off")
            equal(after[1], 0, "signals that nobody sent")
            enough(after[0] - before[0], after[2] - before[2], f"sigwait {what} the profile")


def takes_any(kind):
    """The thread gets its timer while the signal is open, and blocks it when samples are due."""
    with own_sigprof(kind) as app:
        with Profiling(app, timers=2) as p:
            equal(said(app, "take")[1], 0, "signals that nobody sent")
        assert p.view.total("samples") > 20, p.view.total("samples")
        # each of its own came with 20 periods that had fallen due while all was blocked
        own, foreign, ms = said(app, "?")
        note(f"{kind}: {own} own signals, {foreign} foreign in {ms} ms")
        equal(foreign, 0, "signals that nobody sent")
        assert own >= 3, own
        app.process.stdin.close()
        app.process.stdin = None
        equal(app.finish()[0], 0, "exit status")


@parallel
@limit(90)
def test_sigtimedwait_for_every_signal():
    takes_any("sigtimedwait")


@parallel
@limit(90)
def test_signalfd_for_every_signal():
    takes_any("signalfd")


@parallel
@limit(90)
def test_thread_that_blocks_every_signal_is_said():
    """It cannot be sampled; the profile says how much is missing, and the thread dump lists it."""
    with own_sigprof("deaf") as app:
        view = View(app.profile(seconds=2, hz=100))
        comments = [c for c in view.profile.comments if "block" in c]
        equal(len(comments), 1, f"comments about blocked threads in {view.profile.comments}")
        assert re.search(r"\b1 thread", comments[0]), comments
        assert view.total("cpu") < 0.2e9, view.total("cpu")


@limit(120)
def test_samples_that_come_late_harm_nobody():
    """Hazard E2: profiles begin and end while samples wait in threads that block every signal; when those open their
    masks nothing is profiled any more. Signal 27 would kill the process if the handler had gone with the profile."""
    def masks():
        text = pathlib.Path(f"/proc/{app.pid}/status").read_text()
        return {name: int(re.search(rf"^{name}:\s+(\w+)", text, re.M)[1], 16) for name in ("SigIgn", "SigCgt", "SigBlk")}

    def waiting():
        """Threads in which a sample waits: it is pending, and blocked."""
        found = 0
        for task in pathlib.Path(f"/proc/{app.pid}/task").iterdir():
            text = (task / "status").read_text()
            sets = [int(re.search(rf"^{name}:\s+(\w+)", text, re.M)[1], 16) for name in ("SigPnd", "SigBlk")]
            found += (sets[0] & sets[1]) >> (signal.SIGPROF - 1) & 1
        return found

    with App(program("late_signals"), 8, stdin=subprocess.PIPE) as app:
        equal(app.line(), "ready")
        before, late, cycles = masks(), 0, 0
        while cycles < 20 or late < 2 and cycles < 300:
            cycles += 1
            with contextlib.closing(app.connect()) as connection:
                connection.request("GET", app._target("profile", {"seconds": 60, "hz": HZ}))
                until(waiting, "a sample waits", 30, 0.001)
            until(lambda: app.cpu_timers() == 0, "no timers", 30, 0.001)
            late += waiting()
            until(lambda: waiting() == 0, "the samples of this profile have come", 30, 0.001)
        assert late >= 2, f"{late} samples waited at the ends of {cycles} profiles"
        app.say("?")
        opened = int(app.line().split()[0])

        def more():
            app.say("?")
            return int(app.line().split()[0]) > opened + 24
        until(more, "all threads have opened their masks", 60, 0.05)
        equal(app.process.poll(), None, "the program")
        after = masks()
        equal((after["SigIgn"], after["SigBlk"]), (before["SigIgn"], before["SigBlk"]), "ignored and blocked signals")
        note(f"{late} samples waited at the ends of {cycles} profiles; masks were opened {opened} times")
        assert app.profile(seconds=1).samples, "no samples afterwards"


@parallel
def test_no_signal_is_left():
    """A program that handles SIGPROF and every real-time signal itself: no CPU profile, and a sentence that says so."""
    code = ("import signal, sys\nfor s in [signal.SIGPROF, *range(signal.SIGRTMIN, signal.SIGRTMAX + 1)]:\n    signal.signal(s, lambda *_: sys.exit(9))\n"
            "print('ready', flush=True)\nsys.stdin.readline()\nprint('end')")
    with App(needs("python3"), "-c", code, stdin=subprocess.PIPE) as app:
        equal(app.line(), "ready")
        answer = app.get("profile", seconds=1)
        assert answer.status in (500, 503) and answer.header("X-Go-Pprof") == "1", (answer.status, answer.text)
        assert "signal" in answer.text and answer.text.count("\n") == 1, answer.text
        note(answer.text.strip())
        equal(app.get("heap").status, 200, "heap")
        app.say("")
        equal(app.finish()[:2], (0, b"end\n"), "end")


PHP_SPIN = "$x = 1; $t = hrtime(true); while (%s) { for ($i = 0; $i < 1000; $i++) $x = ($x * 31 + $i) %% 65521; } echo 'done';"


@parallel
@limit(120)
def test_php_time_limit_is_its_own():
    """max_execution_time is ITIMER_PROF and SIGPROF: our samples must not look like its end, nor hide it."""
    php = needs("php")
    stop = scratch() / "stop"
    with App(php, "-n", "-d", "max_execution_time=60", "-r", PHP_SPIN % f"!file_exists('{stop}')") as app:
        view = View(app.profile(seconds=2, hz=HZ))
        stop.touch()
        equal(app.finish()[:2], (0, b"done"), "a limit of 60 s under a profile")
        assert view.total("samples") > 100, view.total("samples")
    # set while SIGPROF samples, and reached
    code = "set_time_limit(100); while (true) { set_time_limit(2); $t = hrtime(true); while (hrtime(true) - $t < 1e8) { $x = md5('x'); } if (hrtime(true) - $s > 1e9) break; }"
    code = "$s = hrtime(true);" + code + "set_time_limit(1);" + PHP_SPIN % "true"
    with App(php, "-n", "-d", "display_errors=stdout", "-r", code) as app:
        with Profiling(app, seconds=3):
            status, out, _ = app.finish() if app.process.wait(60) else (0, b"", b"")
        equal(status, 255, f"exit status of a program over its limit, which said {out[:300]!r}")
        assert b"Maximum execution time of 1 second exceeded" in out, out[:300]


GPROF = """
#include <stdint.h>
#include <stdio.h>
#include <time.h>
static volatile uint64_t sink;
__attribute__((noinline)) void three_quarters(void) { for (int i = 0; i < 3000000; i++) sink = sink * 31 + 1; }
__attribute__((noinline)) void one_quarter(void) { for (int i = 0; i < 1000000; i++) sink = sink * 31 + 2; }
int main(void)
{
	for (puts("ready"), fflush(stdout); clock() < 4 * CLOCKS_PER_SEC;) { three_quarters(); one_quarter(); }
	printf("%d\\n", (int)(clock() / CLOCKS_PER_SEC));
	return 0;
}
"""


@long
@limit(120)
def test_gprof_counts_as_without_us():
    """gcc -pg samples by SIGPROF from before main: its histogram stays whole, ours is there too."""
    gcc, gprof = needs("gcc", "gprof")
    directory = scratch()
    source, binary = directory / "hot.c", directory / "hot"
    source.write_text(GPROF)
    subprocess.run([gcc, "-O1", "-pg", "-no-pie", "-o", binary, source], check=True, env=environment(), timeout=60)
    with App(binary, cwd=directory) as app:
        equal(app.line(), "ready")
        view = View(app.profile(seconds=2, hz=HZ))
        status, out, _ = app.finish()
    equal((status, out), (0, b"4\n"), "the program")
    name, top = view.hottest("samples")
    equal(name, "three_quarters")
    text = subprocess.run([gprof, "-b", "-p", binary, directory / "gmon.out"], check=True, capture_output=True, text=True, env=environment(), timeout=60).stdout
    rows = {w[-1]: float(w[2]) for line in text.splitlines() if (w := line.split()) and w[-1] in ("three_quarters", "one_quarter")}
    note(f"gprof: {rows}; ours: three_quarters {100 * top:.1f} %")
    # 4 s of CPU time at gprof's 100 a second, less what the kernel merges on a busy machine
    assert 2.8 <= sum(rows.values()) <= 4.2, f"gprof's histogram holds {rows}, the program used 4 s"
    assert 0.65 <= rows["three_quarters"] / sum(rows.values()) <= 0.85, rows


@long
@limit(120)
def test_sort_handles_sigprof_itself():
    """GNU sort removes its temporary files in a SIGPROF handler: same output, same files, and it ends as told."""
    sort = needs("sort")
    directory = scratch()
    path = directory / "numbers"
    path.write_text("".join(f"{(i * 7919) % 1000003}e{i % 5}\n" for i in range(400000)))
    argv = [sort, "-g", "-S", "1M", "-T", directory, path]
    plain = subprocess.run(argv, env=environment(), capture_output=True, timeout=100)
    out = open(directory / "out", "wb+")
    with App(*argv, stdout=out) as app:
        seen = 0
        while app.process.poll() is None:
            try:
                seen += View(app.profile(seconds=1, hz=HZ)).total("samples")
            except (OSError, AssertionError, lib.http.client.HTTPException):
                break  # the program ended under the profile
        equal(app.finish()[0], plain.returncode, "exit status")
    out.seek(0)
    assert out.read() == plain.stdout, "the output differs"
    note(f"sort: {seen} samples before its end")
    # killed by the signal that it handles: its files go, and the status says the signal, as without us
    results = []
    for preload in (None, agent()):
        temporary = scratch()
        process = subprocess.Popen([sort, "-g", "-S", "1M", "-T", temporary, path], env=environment(None, preload, addr="127.0.0.1:0"),
                                   stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        until(lambda: os.listdir(temporary) or process.poll() is not None, "sort's temporary files", 30)
        process.send_signal(signal.SIGPROF)
        results.append((process.wait(30), os.listdir(temporary)))
    equal(results[1], results[0], "sort ended by SIGPROF")
    equal(results[0], (-signal.SIGPROF, []), "sort without the agent")


@parallel
@limit(120)
def test_start_of_a_profile_wakes_nobody():
    """A timer is made for a thread that runs, and that has gone to sleep when the timer is set: its first expiry
    must not be past then, or it fires into the sleep. strace holds the agent 5 ms before each is set."""
    strace = needs("strace")
    with App(program("bursts"), "4", stdin=subprocess.PIPE) as app:
        equal(app.line(), "ready")
        tid = lib.agent_task(app.pid).name
        log = scratch() / "calls"
        tracer = lib.background([strace, "-o", log, "-e", "trace=timer_settime", "-e", "inject=timer_settime:delay_enter=5000", "-p", tid],
                                stderr=subprocess.PIPE)
        until(lambda: f"TracerPid:\t{tracer.pid}" in pathlib.Path(f"/proc/{app.pid}/task/{tid}/status").read_text()
              or tracer.poll() is not None, "strace attaches")
        if tracer.poll() is not None:
            lib.skip(f"strace may not attach here: {tracer.stderr.read()!r}")
        starts = 0
        while starts < 20:
            with contextlib.closing(app.connect()) as connection:
                connection.request("GET", app._target("profile", {"seconds": 30, "hz": HZ}))
                until(lambda: app.cpu_timers() >= 5, "timers", 30, 0.001)
                until(lambda: log.read_text().count("timer_settime(") > 5 * starts + 4, "the last one is set", 30, 0.001)
            until(lambda: app.cpu_timers() == 0, "no timers", 30, 0.001)
            starts += 1
        app.say("?")
        sleeps, interrupted = map(int, app.line().split())
        note(f"{starts} profiles of 4 threads, {sleeps} sleeps, {interrupted} of them interrupted")
        assert "(DELAYED)" in log.read_text(), log.read_text()[:300]
        equal(interrupted, 0, "sleeps that returned EINTR")
