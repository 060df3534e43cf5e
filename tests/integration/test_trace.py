# SPDX-License-Identifier: Apache-2.0
"""/debug/pprof/trace, judged by the real `go tool trace`: its pprof outputs and its pages."""
import contextlib
import json
import re
import subprocess
import time

from lib import App, equal, limit, needs, note, parallel, program, until, waits
from traces import HEADERS, Fetch, check_wait, counter, go_trace, known_waits, pages, recording, rows

@limit(120)
def test_waiting_times():
    with known_waits() as (file, waited):
        got = rows(go_trace(file, "sync"))
        note(waited, got)
        for name, function, caller in (("mutex", "pthread_mutex_lock", "take_it"),
                                       ("cond", "pthread_cond_wait", "await_it"),
                                       ("join", "pthread_join", "join_it")):
            ms = got[function][0]
            check_wait(name, ms, waited)
            equal(got[caller][1], got[function][1], f"{function} is called by {caller}")
        rows(go_trace(file, "sched"))


@limit(120)
def test_sleeps_and_waits_for_descriptors():
    """They are no synchronization: go tool trace knows the latter as network."""
    python = needs("python3")
    code = ("import select, socket, sys, time\n"
            "a, b = socket.socketpair()\n"
            "print('ready', flush=True); sys.stdin.readline()\n"
            "poll = select.poll(); poll.register(a, 1)\n"
            "t = time.monotonic(); poll.poll(300); select.select([a], [], [], .2)\n"
            "e = select.epoll(); e.register(a, 1); e.poll(.25)\n"
            "print(time.monotonic() - t, flush=True); time.sleep(.3); sys.stdin.readline()\n")
    with App(python, "-c", code, stdin=subprocess.PIPE) as app:
        equal(app.line(), "ready")
        fetch = Fetch(app, seconds=2)
        until(lambda: recording(app), "the trace runs")
        app.say("go")
        waited = 1e3 * float(app.line())
        file = fetch.save()
        got = rows(go_trace(file, "net"))
        note(waited, got)
        total = sum(got[name][0] for name in ("poll", "select", "epoll_wait"))
        assert abs(total - waited) < 0.02 * waited, (total, waited, got)
        # the sleep is neither
        assert not any("sleep" in name for name in {**got, **rows(go_trace(file, "sync"))}), got


@parallel
@limit(120)
def test_pages():
    with known_waits() as (file, _), pages(file) as get:
        assert "Goroutine analysis" in get("/"), get("/")
        groups = get("/goroutines")
        for entry in ("main", "holder", "locker", "awaiter", "burner"):
            assert re.search(rf"\b{entry}\b", groups), (entry, groups)
        # two goroutines of one entry are one group
        assert re.search(r"locker</a></td>\s*<td>\s*N=2\b|locker.*?N=2", groups, re.S), groups
        assert "<html" in get("/trace").lower()
        events = json.loads(get("/jsontrace?start=0&end=1000000000"))["traceEvents"]
        names = {e.get("name", "") for e in events}
        for label in ("holder", "locker0", "locker1"):
            assert any(label in name for name in names), (label, sorted(names)[:80])
        # Who let them go: arrows from holder's lane to those of the lockers
        lanes = {e["tid"]: e["args"]["name"] for e in events if e.get("name") == "thread_name"}
        lane_of = {}
        for e in events:
            if e.get("ph") == "X":
                lane_of.setdefault(e["name"], set()).add(e["tid"])
        arrows = {}
        for e in events:
            if e.get("ph") in ("s", "t", "f"):
                arrows.setdefault(e["id"], {})[e["ph"]] = e["tid"]
        pairs = {(a.get("s"), a.get("t", a.get("f"))) for a in arrows.values()}
        holder = next(iter(lane_of[next(n for n in lane_of if "holder" in n)]))
        lockers = {t for n, ts in lane_of.items() if "locker" in n for t in ts}
        assert any(a == holder and b in lockers for a, b in pairs), (holder, lockers, pairs, lanes)
        # main signals the condition
        main, awaiter = (next(iter(lane_of[next(n for n in lane_of if re.match(rf"G\d+ {w}$", n))]))
                         for w in ("main", "awaiter"))
        assert (main, awaiter) in pairs, (main, awaiter, pairs)
        note(f"{len(events)} events, lanes {sorted(lanes.values())}")
        # CPU samples of burner, and waits that never end are no endless slices
        assert any("CPU profile sample" in name or "sample" in name for name in names), sorted(names)[:80]


@parallel
@limit(120)
def test_pool():
    """?procs=pool: as many lanes as threads ever ran at once, and the same waits."""
    python = needs("python3")
    code = ("import threading, time\n"
            "ring = [threading.Semaphore(0) for _ in range(12)]\n"
            "def run(i):\n"
            "    while True:\n"
            "        ring[i].acquire(); time.sleep(.002); ring[(i + 1) % 12].release()\n"
            "for i in range(12):\n"
            "    threading.Thread(target=run, args=(i,), daemon=True).start()\n"
            "ring[0].release(); print('ready', flush=True); time.sleep(100)\n")
    with App(python, "-c", code) as app:
        equal(app.line(), "ready")
        files = [Fetch(app, seconds=0.7, **query).save() for query in ({}, {"procs": "pool"})]
        lanes = []
        for file in files:
            with pages(file) as get:
                events = json.loads(get("/jsontrace?start=0&end=1000000000"))["traceEvents"]
                lanes.append(sum(e.get("name") == "thread_name" and e["args"]["name"].startswith("Proc") for e in events))
                waits = rows(go_trace(file, "sync"))
                assert any("sem_" in name or "pthread_cond" in name for name in waits), waits
        note(f"lanes: {lanes}")
        assert lanes[0] >= 12 > lanes[1], lanes


@waits
@limit(60)
def test_requests():
    with App(program("trace_waits"), stdin=subprocess.PIPE) as app:
        equal(app.line(), "ready")
        for format, head in HEADERS.items():
            start = time.monotonic()
            answer = app.get("trace", seconds="0.2", format=format)
            assert 0.2 <= time.monotonic() - start < 5
            equal(answer.status, 200)
            equal(answer.body[:16], head)
            equal(answer.header("Content-Type"), "application/octet-stream")
            equal(answer.header("Content-Disposition"), 'attachment; filename="trace"')
            equal(answer.header("X-Content-Type-Options"), "nosniff")
            assert b"main" in answer.body
        answer = app.get("trace", format="chrome")
        equal((answer.status, answer.header("X-Go-Pprof")), (400, "1"))
        equal(answer.text, 'invalid value for "format" - must be go1.19, go1.22 or perfetto\n')
        equal(app.get("trace", procs="cpu").text, 'invalid value for "procs" - must be threads or pool\n')
        equal(app.get("trace", seconds="1e9").status, 400)
        for junk in ("", "-1", "x", "0", "nan"):
            start = time.monotonic()
            equal(app.get("trace", seconds=junk).status, 200)
            assert 1 <= time.monotonic() - start < 5, junk
        fetch = Fetch(app, seconds=2)
        until(lambda: recording(app), "the trace runs")
        answer = app.get("trace")
        equal((answer.status, answer.header("X-Go-Pprof")), (500, "1"))
        equal(answer.text, "Could not enable tracing: runtime error: tracing is already enabled\n")
        equal(app.get("profile", seconds=1).status, 200)
        equal(app.get("heap").status, 200)
        fetch.save()


@limit(60)
@parallel
def test_client_gone():
    """Whoever leaves frees the trace at once, and its memory."""
    with App(program("trace_waits"), stdin=subprocess.PIPE) as app:
        equal(app.line(), "ready")
        for _ in range(3):
            connection = app.connect()
            connection.request("GET", app._target("trace", {"seconds": 50}))
            until(lambda: recording(app), "the trace runs")
            connection.close()
            until(lambda: app.get("trace", seconds=0.01).status == 200, "the next trace may run", 10)
        equal(app.cpu_timers(), 0, "timers after the trace")


@parallel
@limit(120)
def test_full():
    """Memory for few records: the trace ends early, says so and opens."""
    with App(program("waits"), "pthread_mutex_lock", 4, 200, 100000, stdin=subprocess.PIPE,
             max_mem=4 << 20) as app:
        fetch = Fetch(app, seconds=20)
        file = fetch.save()
        assert counter(app, "traces_cut") == 1
        assert b"used up" in file.read_bytes()
        rows(go_trace(file, "sync"))
        note(f"{file.stat().st_size} bytes")


@waits
@limit(120)
def test_fork_in_the_middle():
    """A child of a traced process starts with nothing of its parent's trace."""
    python = needs("python3")
    code = ("import os, sys, threading, time\n"
            "print('ready', flush=True); sys.stdin.readline()\n"
            "lock = threading.Lock(); lock.acquire()\n"
            "t = threading.Thread(target=lambda: lock.acquire()); t.start(); time.sleep(.1)\n"
            "pid = os.fork()\n"
            "if not pid:\n"
            "    t2 = threading.Thread(target=lambda: time.sleep(.1)); t2.start(); t2.join(); os._exit(7)\n"
            "print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), flush=True)\n"
            "lock.release(); t.join(); sys.stdin.readline()\n")
    with App(python, "-c", code, stdin=subprocess.PIPE) as app:
        equal(app.line(), "ready")
        fetch = Fetch(app, seconds=1.5)
        until(lambda: recording(app), "the trace runs")
        app.say("go")
        equal(app.line(), "7")
        rows(go_trace(fetch.save(), "sync"))


@parallel
@limit(120)
def test_storm_of_locks_and_forks():
    """Traces one after the other, cut by leaving clients and full memory: each that is complete opens, and the
    program's locks and children go on."""
    with App(program("lock_storm"), 6, stdin=subprocess.PIPE, blockprofilerate=1, mutexprofilefraction=1) as app:
        files = []
        for turn in range(6):
            if turn % 3 == 1:
                # threads end while their timers are made: none of these must stay
                for _ in range(15):
                    connection = app.connect()
                    connection.request("GET", app._target("trace", {"seconds": 50}))
                    until(lambda: recording(app), "the trace runs")
                    connection.close()
                    until(lambda: not recording(app), "the trace ends with its client")
                continue
            with contextlib.suppress(ConnectionError):
                files.append(Fetch(app, seconds=0.4, format=["go1.19", "go1.22"][turn % 2]).save())
        status, out, _ = app.finish()
        equal(status, 0)
        assert b"done" in out, out
        opened = 0
        for file in files:
            if file.read_bytes()[:16] == HEADERS["go1.19"]:
                rows(go_trace(file, "sync"))
                opened += 1
        assert opened >= 2, [f.stat().st_size for f in files]
        note([f.stat().st_size for f in files])
