# SPDX-License-Identifier: Apache-2.0
"""Programs in confined circumstances: seccomp filters, another root, no /proc, less rights, few timers, much
memory. A feature goes off and says so; the program does what it does without the agent."""
import contextlib
import http.client
import os
import pathlib
import re
import resource
import signal
import subprocess
import time

import lib
from lib import App, equal, limit, long, needs, note, parallel, program, scratch, until
from stacks import View

DETAILED = {"memprofilerate": 1, "mutexprofilefraction": 1, "blockprofilerate": 1}


def confined(*argv, **settings):
    app = App(program("confined"), *argv, stdin=subprocess.PIPE, **{**DETAILED, **settings})
    try:
        equal(app.line(), "ready")
    except AssertionError:
        if app.process.poll() == 77:
            lib.skip(f"{argv} is not allowed here")
        raise
    return app


def works(app, what, times=2):
    for _ in range(times):
        app.say("work")
        equal(app.line(), "done 30000", what)


def ends(app, what):
    app.process.stdin.close()
    app.process.stdin = None
    equal(app.finish()[0], 0, f"{what}: exit status")


def needs_root():
    if os.getuid() != 0:
        lib.skip("needs root")


def has_names(app, what):
    """A CPU profile while the program works names its hot function."""
    app.say("work")
    view = View(app.profile(seconds=1, hz=500))
    equal(app.line(), "done 30000", what)
    assert view.below("confined_hot", "samples") > 0, f"{what}: {view.flat('samples').most_common(5)}"
    return view


@parallel
@limit(90)
def test_seccomp_that_returns_errors():
    """Hazard G3: a filter over all threads, the agent's too, that refuses what the program does not need."""
    with confined("errno") as app:
        for name in ("heap", "profile"):
            with contextlib.suppress(OSError, http.client.HTTPException):
                app.get(name, timeout=2, seconds=1)
        works(app, "under a filter for all threads")
        ends(app, "errno")


@parallel
@limit(90)
def test_seccomp_that_kills():
    """Hazard G3: in threads of the program the agent calls nothing that docs/limits.md does not list."""
    with confined("kill") as app:
        has_names(app, "under a filter that kills")
        works(app, "under a filter that kills")
        equal(app.get("heap").status, 200, "heap")
        ends(app, "kill")


@parallel
@limit(90)
def test_chroot_keeps_names():
    """Hazard G4: the agent's thread has its own root: files are found after the program changed its own."""
    needs_root()
    with confined("chroot", scratch()) as app:
        view = has_names(app, "in another root")
        equal(view.profile.mappings[0].filename, os.path.realpath(program("confined")), "the program's file")
        ends(app, "chroot")


@parallel
@limit(90)
def test_without_proc():
    """No /proc at all: answers say less, none is an error of the program."""
    needs_root()
    unshare, mount, shell = needs("unshare", "mount", "sh")
    probe = subprocess.run([unshare, "-m", mount, "-t", "tmpfs", "none", "/proc"], env=lib.environment(), capture_output=True)
    if probe.returncode != 0:
        lib.skip(f"cannot mount here: {probe.stderr!r}")
    app = App(unshare, "-m", shell, "-c", f"{mount} -t tmpfs none /proc && exec {program('confined')} free", stdin=subprocess.PIPE, exe="confined", **DETAILED)
    with app:
        equal(app.line(), "ready")
        works(app, "without /proc")
        for name, query in (("heap", {}), ("goroutine", {"debug": 2}), ("cmdline", {}), ("mutex", {"debug": 1}), ("profile", {"seconds": 1})):
            answer = app.get(name, **query)
            assert answer.status == 200 or answer.status == 500 and "/proc" in answer.text, f"{name}: {answer.status} {answer.body[:200]}"
            note(f"{name}: {answer.status} {answer.text.strip()[:100] if answer.status != 200 else ''}")
        equal(app.get("agent").status, 200, "the agent's page")
        works(app, "without /proc")
        ends(app, "without /proc")


@parallel
@limit(90)
def test_dropped_rights():
    """Hazard G5: the agent's thread gives up root with the others, and profiles still have names."""
    needs_root()
    with confined("drop") as app:
        for task in os.listdir(f"/proc/{app.pid}/task"):
            status = pathlib.Path(f"/proc/{app.pid}/task/{task}/status").read_text()
            equal(re.search(r"^Uid:\t(.*)$", status, re.M)[1].split(), ["65534"] * 4, f"ids of {task}")
        has_names(app, "as nobody")
        ends(app, "drop")


@parallel
@limit(90)
def test_setting_ids_under_a_profile():
    """Hazard E11: setuid needs an answer of every thread, the agent's too, while it serves."""
    with confined("setuid") as app:
        has_names(app, "while ids are set")
        works(app, "while ids are set")
        ends(app, "setuid")


@parallel
@limit(90)
def test_exec_under_a_profile():
    """Hazard D10: no sample and no handler outlives an exec. 100 times, each in the middle of a profile."""
    def masks(lines):
        """Of this test's interest: not the two signals that libc keeps for itself."""
        return {l.split()[0]: int(l.split()[1], 16) & ~(3 << 31) for l in lines if l.startswith("Sig")}
    plain = subprocess.run([program("confined"), "exec", "0"], env=lib.environment(), capture_output=True, text=True, input="", timeout=60)
    port = lib.free_port()
    app = App(program("confined"), "exec", "100", stdin=subprocess.PIPE, addr=f"127.0.0.1:{port}")
    seen = 0
    with app:
        while app.process.poll() is None and not app.readable(0):
            with contextlib.suppress(OSError, http.client.HTTPException):
                connection = app.connect(5)
                connection.request("GET", app._target("profile", {"seconds": 1, "hz": 1000}))
                seen += 1
                connection.getresponse()
        lines = [app.line() for _ in range(4)]
        want, got = masks(plain.stdout.splitlines()), masks(lines)
        # the last image may be profiled already: our own handler for SIGPROF
        got["SigCgt:"] &= ~(1 << signal.SIGPROF - 1)
        equal(got, want, "masks")
        note(f"{seen} profiles were under way at an exec")
        assert seen >= 3, seen
        ends(app, "exec")


@parallel
@limit(90)
def test_few_timers():
    """Hazard E8: the kernel gives next to no timers to 41 threads: what is missing is said, nothing breaks."""
    def few():
        # of all processes of this user together
        resource.setrlimit(resource.RLIMIT_SIGPENDING, (5, 5))

    with App(program("spin"), "40", preexec=few) as app:
        equal(app.line(), "ready")
        until(lambda: len(os.listdir(f"/proc/{app.pid}/task")) == 42, "41 threads and the agent's")
        profile = app.profile(seconds=1, hz=1000)
        (said,) = [c for c in profile.comments if "refused timers" in c]
        note(said)
        assert int(re.search(r"of (\d+) threads", said)[1]) >= 20, said
        assert int(re.search(r"^cpu_timers_refused\s+(\d+)", app.get("agent").text, re.M)[1]) >= 20, "they are not counted"
        equal(app.process.poll(), None, "the program")


@long
@limit(90)
def test_forks_of_a_large_process_go_on():
    """Hazard D3: fork of a large process is not interrupted and begun anew by samples. 50 children of 512 MiB,
    sampled as often as it goes; were it so, not one would come."""
    with confined("fork", "512", "50") as app:
        start = time.monotonic()
        app.say("fork")
        view = View(app.profile(seconds=1, hz=1000))
        while not app.readable(0):
            view.samples += View(app.profile(seconds=1, hz=1000)).samples
        equal(app.line(), "done 50", "children")
        note(f"50 children in {time.monotonic() - start:.1f} s, {view.total('samples')} samples meanwhile")
        ends(app, "fork")


@parallel
@limit(60)
def test_realtime_program_keeps_its_priority_to_itself():
    """Hazard J14: the agent's thread of a SCHED_FIFO program is an ordinary one."""
    needs_root()

    def fifo():
        try:
            os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1))
        except OSError:
            os.nice(5)  # not allowed here

    with App(program("idle"), stdin=subprocess.PIPE, preexec=fifo) as app:
        equal(app.line(), "ready")
        if os.sched_getscheduler(app.pid) != os.SCHED_FIFO:
            lib.skip("may not set SCHED_FIFO")
        policies = {pathlib.Path(f"/proc/{app.pid}/task/{t}/comm").read_text().strip(): os.sched_getscheduler(int(t)) for t in os.listdir(f"/proc/{app.pid}/task")}
        equal(policies["pprof-agent"], os.SCHED_OTHER, "policy of the agent's thread")


@long
@limit(90)
def test_debugger_during_a_profile():
    """Hazards D11, E10: gdb attaches, lets the program go on, and is not stopped by samples."""
    gdb = needs("gdb")
    with App(program("spin")) as app:
        equal(app.line(), "ready")
        with contextlib.closing(app.connect()) as connection:
            connection.request("GET", app._target("profile", {"seconds": 30, "hz": 1000}))
            until(lambda: app.cpu_timers() > 0, "the profile's timers")
            done = subprocess.run([gdb, "-q", "-batch", "-nx", "-p", str(app.pid), "-ex", "set confirm off", "-ex", "shell (sleep 2; kill -INT %d) &" % app.pid,
                                   "-ex", "continue", "-ex", "info program", "-ex", "detach"], env=lib.environment(), capture_output=True, text=True, timeout=60)
        if "ptrace" in done.stderr and "not permitted" in done.stderr:
            lib.skip("gdb may not attach here")
        note([l for l in done.stdout.splitlines() if "signal" in l.lower()])
        assert "SIGPROF" not in done.stdout and "SIGINT" in done.stdout, done.stdout[-1500:] + done.stderr[-500:]
        equal(app.process.poll(), None, "the program")
        assert View(app.profile(seconds=1)).total("samples") > 0
