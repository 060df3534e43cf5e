# SPDX-License-Identifier: Apache-2.0
"""CPU profiles that are not alone: two at once, one beside a scraper that never stops, one behind another whose client left.
Each is right by itself: its total is what the kernel's clock of the process says of its own window."""
import concurrent.futures
import contextlib
import http.server
import re
import socket
import struct
import threading

import lib
from cpuclock import Clock, check
from lib import App, decoded, equal, go_pprof, limit, note, program, until
from stacks import View

THREADS, HZ = 3, 250


def started():
    app = App(program("spin"), THREADS - 1)
    equal(app.line(), "ready")
    return app


def right(clock, profile, what):
    """Its total, and that nothing but the program's one function is in it."""
    view = View(profile)
    said = view.total("cpu")
    least, most, slack = check(clock, profile, said, THREADS, what)
    share = view.below("spin_outer", "cpu") / max(1, said)
    assert share > 0.9, f"{what}: {100 * share:.1f} % in the program's function, {view.flat('cpu').most_common(4)}"
    return f"{said / 1e6:.0f} ms of {least / 1e6:.0f} to {most / 1e6:.0f} (+- {slack / 1e6:.0f})"


class Between(http.server.BaseHTTPRequestHandler):
    """Passes requests on and keeps the answers: the go tool itself keeps only what it made of them."""
    app, answers = None, {}

    def do_GET(self):
        answer = self.app.get(self.path, timeout=60)
        self.answers[self.path] = answer.body
        self.send_response(answer.status)
        self.send_header("Content-Length", str(len(answer.body)))
        self.end_headers()
        self.wfile.write(answer.body)

    def log_message(self, *_):
        pass


@limit(180)
def test_go_tool_subtracts_two_that_it_fetches_at_once():
    """A Go server refuses the second one, and the command fails there; here both are right, and so is the difference."""
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Between) as between, started() as app, Clock(app.pid) as clock:
        threading.Thread(target=between.serve_forever, daemon=True).start()
        Between.app = app
        urls = [f"http://127.0.0.1:{between.server_port}" + app._target("profile", {"seconds": n, "hz": HZ}) for n in (1, 3)]
        out = go_pprof("-top", "-diff_base", *urls).stdout
        between.shutdown()
    fetched = sorted((decoded(body) for body in Between.answers.values()), key=lambda profile: profile.duration_nanos)
    equal([round(profile.duration_nanos / 1e9) for profile in fetched], [1, 3], "durations")
    assert fetched[1].time_nanos < fetched[0].time_nanos + fetched[0].duration_nanos, "they were not taken at once"
    for profile in fetched:
        note(f"{profile.duration_nanos / 1e9:.0f} s:", right(clock, profile, f"profile of {profile.duration_nanos} ns"))
    (value, unit), = re.findall(r"^ *(-?[\d.]+)(m?s) .* spin_hot$", out, re.M)
    want = View(fetched[1]).flat("cpu")["spin_hot"] - View(fetched[0]).flat("cpu")["spin_hot"]
    # printed with two digits behind the point, or three in all
    got = float(value) * (1e9 if unit == "s" else 1e6)
    assert abs(got - want) <= 0.01e9, f"the tool says {value}{unit}, the files differ by {want} ns\n{out}"


@limit(120)
def test_beside_a_scraper_that_never_stops():
    with started() as app, Clock(app.pid) as clock:
        over, scraped = threading.Event(), []

        def scrape():
            while not over.is_set():
                scraped.append(app.profile(seconds=1, hz=HZ))
                for name in ("allocs", "mutex", "block", "goroutine"):
                    app.profile(name)

        with concurrent.futures.ThreadPoolExecutor() as pool:
            scraper = pool.submit(scrape)
            try:
                until(lambda: app.cpu_timers() >= THREADS, "the scraper's profile runs")
                alone = [app.profile(seconds=n, hz=HZ) for n in (1, 2)]
                until(lambda: len(scraped) >= 3 or scraper.done(), "profiles of the scraper", 60)
            finally:
                over.set()
            scraper.result(60)
    for profile in alone:
        note("asked for by hand:", right(clock, profile, "profile by hand"))
    for profile in scraped:
        right(clock, profile, "profile of the scraper")
    note(f"{len(scraped)} profiles of the scraper beside, right as well")


@limit(120)
def test_behind_one_whose_client_left():
    """At once, at the same rate and at another, which needs that the first has really ended."""
    reset = struct.pack("ii", 1, 0)
    with started() as app, Clock(app.pid) as clock:
        profiles = []
        for hz, linger in ((HZ, None), (HZ, reset), (1000, None), (HZ, reset)):
            with contextlib.closing(socket.create_connection(app.where)) as client:
                client.sendall(f"GET /debug/pprof/profile?seconds=60&hz={HZ} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
                until(lambda: app.cpu_timers() >= THREADS, "the first profile runs")
                if linger:
                    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
            profiles.append((hz, app.profile(seconds=1, hz=hz)))
            until(lambda: app.cpu_timers() == 0, "no timer is left")
    for hz, profile in profiles:
        equal(profile.period, round(1e9 / hz), "period")
        note(f"{hz} Hz:", right(clock, profile, f"profile at {hz} Hz"))
