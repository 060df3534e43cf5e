# SPDX-License-Identifier: Apache-2.0
"""System calls in traces: they show how long they lasted, and are what they are without us."""
import subprocess

import perfetto_decode
from lib import App, equal, limit, note, parallel, program, until
from traces import Fetch, counter, go_trace, recording, rows

NET = {"read": "from_pipe", "recv": "from_socket", "accept": "from_server"}
CALLS = {"flock": "for_file", "waitpid": "for_child", "open": "for_fifo"}


def known_calls(**query):
    """A trace of tests/programs/call_waits.c: the file, the ms of each wait, and the whole window in ms."""
    with App(program("call_waits"), stdin=subprocess.PIPE) as app:
        equal(app.line(), "ready")
        fetch = Fetch(app, seconds=3, **query)
        until(lambda: recording(app), "the trace runs")
        app.say("go")
        waited = dict(app.line(20).split()[1:] for _ in range(6))
        equal(app.line(), "early")
        file = fetch.save()
        equal(counter(app, "trace_events_dropped"), 0)
        return file, {name: int(ns) / 1e6 for name, ns in waited.items()}


def near(got, want, what):
    # 2 %, and what a thread can lose between its own clock and ours on a machine of which others have half
    assert abs(got - want) < 0.02 * want + 5, (what, got, want)


@limit(60)
@parallel
def test_times_of_calls_in_go():
    file, waited = known_calls()
    for kind, callers in (("net", NET), ("syscall", CALLS)):
        got = rows(go_trace(file, kind))
        note(kind, got)
        for name, caller in callers.items():
            near(got[caller][1], waited[name], name)
        for other in {**NET, **CALLS}:
            if other not in callers and other not in ("read",):
                assert other not in got, (kind, other, got)
    # the reads that began before the trace: one ended, one did not
    got = rows(go_trace(file, "net"))
    assert got["wait_early"][1] > 300, got


SLEEPERS = {  # entry function: category, stack
    "main": ("network", ["read", "until_end", "main"]),
    "wait_cond": ("sync", ["pthread_cond_wait", "wait_cond"]),
    "wait_sem": ("sync", ["sem_wait", "wait_sem"]),
    "wait_join": ("sync", ["pthread_join", "wait_join"]),
    "wait_barrier": ("sync", ["pthread_barrier_wait", "wait_barrier"]),
    "wait_rwlock": ("sync", ["pthread_rwlock_rdlock", "wait_rwlock"]),
    "sleep_on": ("sleep", ["sleep", "sleep_on"]),
    "poll_on": ("network", ["poll", "poll_on"]),
    "read_on": ("network", ["read", "read_on"]),
}


@limit(60)
@parallel
def test_who_sleeps_all_the_time():
    """Threads that no hook sees within the window sleep in it, they do not run."""
    with App(program("blocked"), "cond", "sem", "join", "barrier", "stdio", "poll", "read", "sleep", "rwlock",
             stdin=subprocess.PIPE) as app:
        until(lambda: app.line() == "ready", "all threads have begun")
        until(lambda: "running" not in app.get("goroutine", debug=2).text, "all sleep")
        trace = perfetto_decode.parse(Fetch(app, seconds=0.5, format="perfetto").save().read_bytes())
        for entry, (category, stack) in SLEEPERS.items():
            found = [t for t in trace.threads() if t.name == entry]
            assert found, (entry, [t.name for t in trace.threads()])
            for thread in found:
                life, wait = thread.slices
                # below them only nameless functions of libc may be, where its debug file is not installed
                names = [f[0] for f in wait.stack if not f[0].startswith("libc.so.6@")]
                equal((wait.category, names, wait.end), (category, stack, None), entry)
                assert wait.start - life.start < 1e6, (entry, life, wait)
        # in a lock of stdio's, which has no hook: libc's function that was called is there
        wait = trace.thread("wait_stdio").slices[1]
        equal((wait.category, wait.stack[1][0]), ("sync", "wait_stdio"))


@limit(60)
@parallel
def test_times_of_calls_in_perfetto():
    file, waited = known_calls(format="perfetto")
    trace = perfetto_decode.parse(file.read_bytes())
    for name, caller in {**NET, **CALLS}.items():
        wait, = [s for s in trace.thread(name).slices if s.depth == 1]
        equal([f[0] for f in wait.stack[:2]], [name, caller])
        equal((wait.category, wait.name), ("network", "network") if name in NET else ("syscall", name))
        near((wait.end - wait.start) / 1e6, waited[name], name)
    # waits that do not end: one began before the trace, one in it
    first = min(s.start for t in trace.threads() for s in t.slices)
    for name in ("never", "late"):
        thread = trace.thread(name)
        life, wait = thread.slices
        equal([f[0] for f in wait.stack[:3]], ["read", "wait_for_ever", "never"], name)
        equal((life.name, wait.name, wait.end), ("never", "network", None))
        equal(wait.start - first < 1e6, name == "never", "it began with the trace")


@limit(120)
def test_calls_are_what_they_are():
    """The same results, errors, interruptions, cancellations and aborts: plain, with the agent, with a trace."""
    outputs = []
    with subprocess.Popen([program("calls")], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as plain:
        outputs.append(plain.communicate("go\n", timeout=60)[0])
    for traced in (False, True):
        with App(program("calls"), stdin=subprocess.PIPE) as app:
            equal(app.line(), "ready")
            if traced:
                fetch = Fetch(app, seconds=30)
                until(lambda: recording(app), "the trace runs")
            app.say("go")
            lines = ["ready"]
            while lines[-1] != "end":
                lines.append(app.line(60))
            outputs.append("\n".join(lines) + "\n")
    if traced:
        fetch.join()
    for other in outputs[1:]:
        for a, b in zip(outputs[0].split("\n"), other.split("\n")):
            equal(b, a)
        equal(len(other), len(outputs[0]))
    assert outputs[0].endswith("end\n") and len(outputs[0].split("\n")) > 130, outputs[0]
