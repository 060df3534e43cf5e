# SPDX-License-Identifier: Apache-2.0
"""Traces of all formats, profiles and heaps fetched at once, by clients some of which leave, from a program whose
threads come, go, wait, fork and exec: it goes on as if nobody looked, and each answer that ends is whole."""
import re
import subprocess
import threading
import time

import lib
import perfetto_decode
from lib import App, equal, limit, long, needs, note, parallel
from traces import go_trace

WORK = """
import os, queue, subprocess, sys, threading, time
end = time.monotonic() + float(sys.argv[1])
jobs, done, lock = queue.Queue(), [0] * 4, threading.Lock()
def worker(i):
    while time.monotonic() < end:
        with lock:
            done[i] += 1
        jobs.put(i)
        jobs.get()
        if done[i] % 50 == 0:
            t = threading.Thread(target=time.sleep, args=(.001,)); t.start(); t.join()
        if done[i] % 400 == 0:
            assert subprocess.run(["/bin/echo", str(i)], capture_output=True).stdout == b"%d\\n" % i
        if i == 0 and done[0] % 200 == 0:
            pid = os.fork()
            if not pid:
                r, w = os.pipe(); os.write(w, b"x"); os._exit(3 if os.read(r, 1) == b"x" else 4)
            assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 3
        open("/dev/null").close()
        time.sleep(.0005)
print("ready", flush=True)
threads = [threading.Thread(target=worker, args=(i,)) for i in range(4)]
[t.start() for t in threads]
[t.join() for t in threads]
print("done", min(done), flush=True)
"""


class Client(threading.Thread):
    """Fetches until the time is over; what it found is in `answers` or, if it failed, `why`."""

    def __init__(self, app, end, fetch):
        super().__init__()
        self.app, self.end, self.fetch, self.answers, self.why = app, end, fetch, [], None
        self.start()

    def run(self):
        try:
            while time.monotonic() < self.end:
                self.answers.append(self.fetch(self.app, len(self.answers)))
        except Exception as why:
            self.why = why


def trace(app, turn):
    answer = app.get("trace", seconds="0.3", format=["go1.19", "perfetto", "go1.22"][turn % 3])
    # the others' traces are in the way at times: then it says so
    assert answer.status == 200 or "tracing is already enabled" in answer.text, (answer.status, answer.body[:200])
    return answer.body if answer.status == 200 else b""


def leave(app, turn):
    connection = app.connect()
    connection.request("GET", app._target("trace", {"seconds": 50}))
    time.sleep(0.02 * (turn % 5))
    connection.close()
    time.sleep(0.2)


def profile(app, turn):
    equal(app.get("profile", seconds=1).status, 200)


def snapshot(app, turn):
    equal(app.get(["heap", "goroutine", "block", "mutex"][turn % 4]).status, 200)
    time.sleep(0.05)


def storm(seconds):
    python = needs("python3")
    with App(python, "-c", WORK, str(seconds), stdin=subprocess.DEVNULL, max_mem=64 << 20) as app:
        equal(app.line(), "ready")
        end = time.monotonic() + seconds - 1.5
        clients = [Client(app, end, fetch) for fetch in (trace, leave, profile, snapshot)]
        for client in clients:
            client.join()
        counters = app.get("agent").text
        word, least = app.line(60).split()
        equal((word, app.process.wait(60)), ("done", 0))
        for client in clients:
            assert client.why is None, (client.fetch, client.why)
    traces = [body for body in clients[0].answers if body]
    note(f"{len(traces)} traces, {[len(c.answers) for c in clients]} answers, every thread went round {least} times at least")
    assert len(traces) >= seconds / 4 and int(least) > 50, (len(traces), least)
    kinds = {"perfetto": 0, "go 1.19 trace": 0, "go 1.22 trace": 0}
    for body in traces:
        kind = body[:13].decode("latin-1")
        kinds[kind if kind in kinds else "perfetto"] += 1
        if kind == "go 1.19 trace" and kinds[kind] <= 3:
            path = lib.scratch() / "trace"
            path.write_bytes(body)
            go_trace(path, "sync")
        elif kind not in kinds:
            perfetto_decode.parse(body)
    assert len(traces) < 12 or all(kinds.values()), kinds
    dropped = int(re.search(r"^trace_events_dropped +(\d+)", counters, re.M).group(1))
    note(f"{kinds}, {dropped} events dropped")


@parallel
@limit(120)
def test_storm_of_traces():
    storm(8)


@long
@limit(240)
def test_long_storm_of_traces():
    storm(60)
