# SPDX-License-Identifier: Apache-2.0
"""Fetching execution traces, and looking at them with `go tool trace`."""
import contextlib
import http.client
import re
import subprocess
import threading
import urllib.request

import lib
from lib import App, equal, go_environment, go_pprof, needs, program, until

HEADERS = {"go1.19": b"go 1.19 trace\0\0\0", "go1.22": b"go 1.22 trace\0\0\0"}


def go_trace(file, kind):
    """What `go tool trace -pprof=kind` makes of a file: rows of {function: (flat ms, cumulated ms)}."""
    go = needs("go")
    home = lib.scratch()
    done = subprocess.run([go, "tool", "trace", f"-pprof={kind}", str(file)], env=go_environment(home),
                          capture_output=True, timeout=120)
    equal(done.returncode, 0, f"go tool trace -pprof={kind}: {done.stderr.decode()[:500]}")
    out = home / "profile"
    out.write_bytes(done.stdout)
    return out


def rows(profile):
    out = go_pprof("-top", "-unit=ms", "-nodecount=1000", "-nodefraction=0", profile).stdout
    found = re.findall(r"^ *([\d.]+)(?:ms)? +\S+% +\S+% +([\d.]+)(?:ms)? +\S+% +(\S.*?)(?: \(inline\))?$", out, re.M)
    return {name: (float(flat), float(cum)) for flat, cum, name in found}


@contextlib.contextmanager
def pages(file):
    """`go tool trace` as a web server: a function that fetches a page, as text or (raw) as it is."""
    go = needs("go")
    home = lib.scratch()
    log = open(home / "log", "wb")
    env = dict(go_environment(home), BROWSER="true", DISPLAY="")
    # the tool itself, not its wrapper: so that stopping ends it
    tool = subprocess.run([go, "tool", "-n", "trace"], env=env, capture_output=True, text=True, check=True).stdout.strip()
    server = lib.background([tool, "-http=127.0.0.1:0", str(file)], env=env, stdout=log, stderr=log)

    def address():
        text = (home / "log").read_text()
        assert server.poll() is None, text
        return re.search(r"listening on (http://\S+)", text)

    base = until(address, "go tool trace listens", 60).group(1)

    def get(path, raw=False):
        with urllib.request.urlopen(base + path, timeout=60) as answer:
            equal(answer.status, 200, path)
            return answer.read() if raw else answer.read().decode()

    get.base = base
    yield get
    server.terminate()
    server.wait(10)


def check_wait(name, ms, waited):
    """Within 2 % of what the program waited by its own clock."""
    least, most = waited[name]
    assert 0.98 * least < ms < 1.02 * most, (name, ms, waited)


class Fetch(threading.Thread):
    """A trace being fetched while the test goes on."""

    def __init__(self, app, **query):
        super().__init__()
        self.app, self.query, self.answer, self.lost = app, query, None, None
        self.start()

    def run(self):
        try:
            self.answer = self.app.get("trace", **self.query)
        except (OSError, http.client.HTTPException) as why:
            self.lost = why

    def save(self):
        self.join()
        if self.lost:
            raise ConnectionError("no answer, or not all of it") from self.lost
        equal(self.answer.status, 200, self.answer.body[:200])
        path = lib.scratch() / "trace"
        path.write_bytes(self.answer.body)
        return path


def counter(app, name):
    return int(re.search(rf"^{name} +(\d+)", app.get("agent").text, re.M).group(1))


def recording(app):
    """The trace has begun: its threads have CPU timers."""
    return app.cpu_timers() > 0


@contextlib.contextmanager
def known_waits(**query):
    """A trace file of tests/programs/trace_waits.c, and the ms that it waited by its own clock: until it was let go
    and until it went on."""
    with App(program("trace_waits"), stdin=subprocess.PIPE) as app:
        equal(app.line(), "ready")
        fetch = Fetch(app, seconds=4, **query)
        until(lambda: recording(app), "the trace runs")
        app.say("go")
        lines = [app.line(20).split()[1:] for _ in range(3)]
        file = fetch.save()
        equal(counter(app, "trace_events_dropped"), 0)
        yield file, {name: (int(least) / 1e6, int(most) / 1e6) for name, least, most in lines}
