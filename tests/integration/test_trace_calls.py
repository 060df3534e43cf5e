# SPDX-License-Identifier: Apache-2.0
"""System calls in traces: they show how long they lasted, and are what they are without us."""
import subprocess

import perfetto_decode
from lib import App, equal, limit, note, program, until
from traces import Fetch, counter, go_trace, recording, rows

NET = {"read": "from_pipe", "recv": "from_socket", "accept": "from_server"}
CALLS = {"flock": "for_file", "waitpid": "for_child", "open": "for_fifo"}


def known_calls(**query):
    """A trace of tests/programs/call_waits.c: the file, the ms of each wait, and the whole window in ms."""
    with App(program("call_waits"), stdin=subprocess.PIPE) as app:
        equal(app.line(), "ready")
        fetch = Fetch(app, seconds=2, **query)
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


@limit(60)
def test_times_of_calls_in_perfetto():
    file, waited = known_calls(format="perfetto")
    trace = perfetto_decode.parse(file.read_bytes())
    for name, caller in {**NET, **CALLS}.items():
        wait, = [s for s in trace.thread(name).slices if s.depth == 1]
        equal([f[0] for f in wait.stack[:2]], [name, caller])
        equal((wait.category, wait.name), ("network", "network") if name in NET else ("syscall", name))
        near((wait.end - wait.start) / 1e6, waited[name], name)


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
