# SPDX-License-Identifier: Apache-2.0
"""Paths, statuses and headers of everything below /debug/pprof/, as net/http/pprof gives them."""
import socket
import subprocess
import time

import lib
from lib import App, equal, limit, parallel, program, waits

PROTO = "application/octet-stream"
TEXT = "text/plain; charset=utf-8"
NAMED = ("allocs", "block", "goroutine", "heap", "mutex", "threadcreate")


def started(**settings):
    app = App(program("spin"), **settings)
    equal(app.line(), "ready")
    return app


def error(answer, status, text):
    equal((answer.status, answer.header("Content-Type"), answer.header("X-Content-Type-Options"), answer.header("X-Go-Pprof"),
           answer.header("Content-Disposition")), (status, TEXT, "nosniff", "1", None), f"headers of the error {answer.body!r}")
    if text is not None:
        equal(answer.text, text + "\n", "text of the error")


@parallel
def test_index():
    with started() as app:
        answer = app.get("")
        equal((answer.status, answer.header("Content-Type"), answer.header("X-Content-Type-Options")),
              (200, "text/html; charset=utf-8", "nosniff"), "index")
        for name in ("profile", "cmdline", "symbol"):
            assert name in answer.text, name
        moved = app.get("/debug/pprof")
        equal((moved.status, moved.header("Location")), (301, "/debug/pprof/"), "/debug/pprof")


@parallel
def test_profile_headers():
    with started() as app:
        begin = time.monotonic_ns()
        answer = app.get("profile", seconds=1)
        took = time.monotonic_ns() - begin
        equal((answer.status, answer.header("Content-Type"), answer.header("Content-Disposition"), answer.header("X-Content-Type-Options"),
               answer.header("Content-Encoding")), (200, PROTO, 'attachment; filename="profile"', "nosniff", None), "profile")
        equal(answer.body[:2], b"\x1f\x8b", "first bytes")
        assert answer.header("Date"), "no Date"
        profile = lib.decoded(answer.body)
        equal(profile.sample_types, [("samples", "count"), ("cpu", "nanoseconds")], "sample types")
        equal((profile.period_type, profile.period), (("cpu", "nanoseconds"), 10000000), "period")
        assert 1e9 <= profile.duration_nanos <= took, (profile.duration_nanos, took)
        assert abs(profile.time_nanos - time.time_ns()) < 60e9, profile.time_nanos
        equal(profile.mappings[0].filename, program("spin"), "first mapping")


@parallel
def test_cmdline():
    with started() as app:
        answer = app.get("cmdline")
        equal((answer.status, answer.header("Content-Type"), answer.header("X-Content-Type-Options"), answer.body.rstrip(b"\0")),
              (200, TEXT, "nosniff", program("spin").encode()), "cmdline")
    with started(cmdline=0) as app:
        equal(app.get("cmdline").status, 404, "cmdline when switched off")


@parallel
def test_symbol():
    with started() as app:
        profile = app.profile(seconds=1)
        location = next(l for l in profile.locations if "spin_hot" in l.names)
        address = f"0x{location.address:x}"
        equal(app.get("symbol").text, "num_symbols: 1\n", "symbol without a body")
        for answer in (app.get("symbol", method="POST", body=f"{address}+0x1"), app.get(f"symbol?{address}+0x1")):
            equal((answer.status, answer.header("Content-Type"), answer.header("X-Content-Type-Options")), (200, TEXT, "nosniff"), "symbol")
            lines = answer.text.splitlines()
            equal(lines[0], "num_symbols: 1", "first line")
            assert f"{address} spin_hot" in lines, lines


@parallel
def test_agent_page():
    with started(log="info") as app:
        answer = app.get("agent")
        equal((answer.status, answer.header("Content-Type")), (200, TEXT), "agent page")
        for word in ("PPROF_ADDR", "cpu_samples"):
            assert word in answer.text, f"{word} is not on the agent page:\n{answer.text}"


@parallel
@limit(120)
def test_what_is_not_there():
    with started() as app:
        error(app.get("nosuch"), 404, "Unknown profile")
        error(app.get("nosuch?seconds=1"), 404, "Unknown profile")
        error(app.get("heap/"), 404, "Unknown profile")
        answer = app.get("/")
        equal((answer.status, answer.header("Content-Type"), answer.text), (404, TEXT, "404 page not found\n"), "/")
        for name in NAMED + ("trace",):
            answer = app.get(name, seconds=1) if name == "trace" else app.get(name)
            if answer.status == 200:
                equal(answer.header("Content-Disposition"), f'attachment; filename="{name}"', name)
                if name != "trace":
                    lib.decoded(answer.body)
                continue
            error(answer, 501, None)
            # One honest line that says what is missing.
            line = answer.text
            assert line.count("\n") == 1 and (name in line or "Could not enable tracing: " in line), line


@parallel
def test_methods():
    with started() as app:
        head = app.get("profile", method="HEAD", seconds=1)
        equal((head.status, head.body), (200, b""), "HEAD")
        for method in ("POST", "PUT", "DELETE", "OPTIONS"):
            for path in ("", "profile", "cmdline"):
                answer = app.get(path, method=method, body="" if method != "OPTIONS" else None)
                equal((answer.status, answer.header("Allow"), answer.text), (405, "GET, HEAD", "Method Not Allowed\n"), f"{method} {path}")
        answer = app.get("symbol", method="PUT", body="")
        equal(answer.status, 405, "PUT symbol")
        assert "POST" in answer.header("Allow"), answer.header("Allow")


@waits
@limit(150)
def test_odd_seconds_mean_30():
    """0, -1, x and 1.5 are no durations: 30 s, all four at once."""
    import threading
    with App(program("idle"), stdin=subprocess.PIPE) as app:
        took = {}

        def fetch(word):
            begin = time.monotonic()
            profile = app.profile(seconds=word, timeout=60)
            took[word] = (time.monotonic() - begin, profile.duration_nanos / 1e9)

        threads = [threading.Thread(target=fetch, args=(word,)) for word in ("0", "-1", "x", "1.5")]
        for t in threads:
            t.start()
        for t in threads:
            t.join(90)
        equal(sorted(took), ["-1", "0", "1.5", "x"], "answers")
        for word, (wall, duration) in took.items():
            assert 30 <= duration <= wall < 40, f"seconds={word}: {wall} s, duration {duration} s"


@parallel
def test_too_many_seconds_name_the_setting():
    with started(max_seconds=5) as app:
        answer = app.get("profile", seconds=6, timeout=30)
        error(answer, 400, None)
        assert "PPROF_MAX_SECONDS" in answer.text, answer.text


@parallel
@limit(120)
def test_aborted_profile_frees_the_slot():
    with started() as app:
        with socket.create_connection(app.where) as client:
            client.sendall(b"GET /debug/pprof/profile?seconds=20 HTTP/1.1\r\nHost: localhost\r\n\r\n")
            lib.until(lambda: app.cpu_timers() > 0, "the first profile runs")
        equal(app.get("profile", seconds=1, hz=50).status, 200, "a profile of another rate right after the client left")


@parallel
@limit(120)
def test_rates():
    with started() as app:
        for hz, period in ((1, 10**9), (50, 20000000), (1000, 1000000)):
            equal(app.profile(seconds=1, hz=hz).period, period, f"period at {hz} Hz")
    with started(cpuprofilerate=200) as app:
        equal(app.profile(seconds=1).period, 5000000, "period with PPROF_CPUPROFILERATE=200")


@parallel
def test_unix_socket():
    with started(unix=True) as app:
        equal(app.get("").status, 200, "index over a unix socket")
        assert app.profile(seconds=1).samples, "no samples over a unix socket"


@parallel
def test_strangers_are_refused():
    """DNS rebinding: a browser that was led here names another host."""
    with started() as app:
        answer = app.get("profile", seconds=1, headers={"Host": "evil.example:6060"})
        equal((answer.status, answer.header("X-Go-Pprof")), (403, "1"), "foreign Host")
        assert "add it to PPROF_HOSTS" in answer.text, answer.text
        equal(app.get("", headers={"Host": "localhost:1"}).status, 200, "localhost")
        equal(app.get("", headers={"Origin": "http://evil.example"}).status, 403, "foreign Origin")
    with started(hosts="good.example") as app:
        equal(app.get("", headers={"Host": "good.example"}).status, 200, "Host of PPROF_HOSTS")


@parallel
def test_token():
    with started(token="secret") as app:
        equal(app.get("").status, 401, "without token")
        equal(app.get("", headers={"Authorization": "Bearer wrong"}).status, 401, "wrong token")
        equal(app.get("", headers={"Authorization": "Bearer secret"}).status, 200, "right token")
        host, port = app.where
        done = lib.go_pprof("-top", f"http://x:secret@{host}:{port}/debug/pprof/profile?seconds=1")
        assert "spin_hot" in done.stdout, done.stdout
