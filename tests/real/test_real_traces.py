# SPDX-License-Identifier: Apache-2.0
"""Execution traces of stock programs at work: all pages of `go tool trace` answer with content, threads carry
their names, and wait where programs of their kind wait, called by whom and let go by whom they should be."""
import json
import re
import shutil
import subprocess
import sys

import lib
import perfetto_decode
from lib import App, equal, limit, needs, note, parallel, program, until
from traces import pages

PPROF = ("block", "io", "syscall", "sched")  # -pprof=sync, net, syscall and sched as pages


def open_pages(data):
    """Every page of go tool trace; the names of the slices in its timeline."""
    file = lib.scratch() / "trace"
    file.write_bytes(data)
    with pages(file) as get:
        assert "Goroutine analysis" in get("/")
        groups = get("/goroutines")
        assert re.search(r"/goroutine\?id=", groups), groups
        link = re.search(r'href="(/goroutine\?id=[^"]+)"', groups).group(1)
        assert re.search(r"/trace\?goid=\d+", get(link.replace("&amp;", "&"))), link
        section = re.search(r'href="/trace\?start=(\d+)&(?:amp;)?end=(\d+)"', get("/"))
        start, end = section.groups() if section else (0, 1000000000000)
        assert "<html" in get("/trace").lower()
        events = json.loads(get(f"/jsontrace?start={start}&end={end}"))["traceEvents"]
        for page in PPROF:
            equal(get(f"/{page}?raw=1", raw=True)[:2], b"\x1f\x8b", f"{page}: a profile")
        if shutil.which("dot"):
            assert "<svg" in get("/sched")
    return {e.get("name", "") for e in events if e.get("ph") == "X"}


def look(get, what, needed, seconds=1):
    """Two traces: one for go, one for a look inside. needed: {thread: [(category, function called, some caller)]},
    a thread being a word that its name or its entry begins with."""
    answer = get("trace", seconds=seconds)
    equal(answer.status, 200, answer.body[:200])
    slices = open_pages(answer.body)
    answer = get("trace", seconds=seconds, format="perfetto")
    equal(answer.status, 200, answer.body[:200])
    trace = perfetto_decode.parse(answer.body)
    names = sorted(t.name for t in trace.threads())
    waits = {}
    for thread in trace.threads():
        for s in thread.slices[1:]:
            stack = [f[0] for f in s.stack]
            waits.setdefault(thread.name, []).append((s.category, stack))
    note(f"{what}: threads {names}, {sum(len(w) for w in waits.values())} waits, {len(trace.arrows)} arrows, "
         f"{len(slices)} slice names in go")
    for word, wanted in needed.items():
        thread = [n for n in names if n.startswith(word)]
        assert thread, (what, word, names)
        assert any(word in name for name in slices), (what, word, sorted(slices)[:50])
        mine = [w for n in thread for w in waits.get(n, [])]
        for category, function, caller in wanted:
            assert any(c == category and re.fullmatch(function, stack[0]) and any(re.search(caller, f) for f in stack[1:])
                       for c, stack in mine), (what, word, category, function, caller, mine[:5])
    return trace


@limit(120)
@parallel
def test_redis():
    server = needs("redis-server")
    needs("redis-benchmark")
    directory = lib.scratch()
    path = directory / "redis"
    with App(server, "--port", "0", "--unixsocket", path, "--save", "", "--appendonly", "no", "--dir", directory,
             stdout=subprocess.DEVNULL) as app:
        until(path.exists, "redis listens")
        lib.background(["redis-benchmark", "-s", path, "-l", "-q", "-c", "5", "-t", "get,set"], stdout=subprocess.DEVNULL)
        look(app.get, "redis", {"main": [("network", "epoll_wait", "aeMain|aeApiPoll")],
                                "bio_": [("sync", "pthread_cond_wait", "bioProcessBackgroundJobs")]}, seconds=0.4)


@limit(120)
@parallel
def test_cpp_pool():
    with App(program("cpp_pool"), stdin=subprocess.PIPE) as app:
        equal(app.line(), "ready")
        trace = look(app.get, "C++ pool", {"pool-0": [("sync", "pthread_cond_wait", "work::Pool::run")],
                                           "pool-3": [("sync", "pthread_cond_wait", "work::Pool::run")],
                                           "main": [("network", "poll", "main")]})
        # main's notify_one lets the pool go
        woken = {(a.track.name, b.track.name) for a, b in trace.arrows.values() if b and a.name == "wakes"}
        assert any(a == "main" and b.startswith("pool-") for a, b in woken), woken
        callers = [f[0] for a, b in trace.arrows.values() if b and a.track.name == "main" for f in a.stack]
        assert "work::Pool::add" in callers, set(callers)


@limit(120)
@parallel
def test_python_threads():
    python = needs("python3")
    code = ("import queue, threading, time\n"
            "q = queue.Queue()\n"
            "def worker():\n"
            "    while True: q.get(); sum(range(2000))\n"
            "for _ in range(3): threading.Thread(target=worker, daemon=True).start()\n"
            "print('ready', flush=True)\n"
            "while True:\n"
            "    q.put(1); time.sleep(.005)\n")
    with App(python, "-c", code) as app:
        equal(app.line(), "ready")
        look(app.get, "python3", {"main": [("sleep", "clock_nanosleep", "time|Py")],
                                  "": [("sync", "sem_(clock)?wait|pthread_cond_.*wait", "lock|Py")]})


@limit(120)
@parallel
def test_node():
    node = needs("node")
    code = ("const crypto = require('crypto'); console.log('ready');\n"
            "setInterval(() => crypto.pbkdf2('a', 'b', 2000, 64, 'sha512', () => {}), 10);\n")
    with App(node, "-e", code) as app:
        equal(app.line(), "ready")
        look(app.get, "node", {"main": [("network", "epoll_p?wait2?", "uv__io_poll|uv_run")],
                               "": [("sync", "pthread_cond_wait", "uv_cond_wait")]})


@limit(120)
@parallel
def test_xz():
    xz = needs("xz")
    with open("/dev/urandom", "rb") as endless, App(xz, "-T4", "-3", "--block-size=1MiB", stdin=endless, stdout=subprocess.DEVNULL) as app:
        trace = look(app.get, "xz", {"main": [("sync", "pthread_cond_(timed|clock)?wait", "lzma|xz")]})
        assert len(trace.threads()) >= 5, trace.threads()


LOAD = """
import http.client, sys
c = http.client.HTTPConnection("127.0.0.1", int(sys.argv[1]))
while True:
    c.request("GET", "/file.txt")
    c.getresponse().read()
"""


@limit(120)
def test_nginx():
    nginx = needs("nginx")
    directory = lib.scratch()
    directory.chmod(0o755)
    port = lib.free_port()
    (directory / "file.txt").write_text("text\n" * 1000)
    (directory / "nginx.conf").write_text(f"""
daemon off; master_process off; pid {directory}/pid; error_log {directory}/error.log;
events {{ worker_connections 64; }}
http {{
    access_log off; client_body_temp_path {directory}/a; proxy_temp_path {directory}/b;
    fastcgi_temp_path {directory}/c; uwsgi_temp_path {directory}/d; scgi_temp_path {directory}/e;
    server {{ listen 127.0.0.1:{port}; root {directory}; }}
}}
""")
    with App(nginx, "-p", directory, "-c", directory / "nginx.conf") as app:
        until(lambda: app.get("").status == 200, "nginx runs")
        lib.background([sys.executable, "-c", LOAD, str(port)])
        look(app.get, "nginx", {"main": [("network", "epoll_wait", "ngx_|nginx|main")]})
