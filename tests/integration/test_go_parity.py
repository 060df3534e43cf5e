# SPDX-License-Identifier: Apache-2.0
"""The agent against a real Go server: the table of go_parity.py, and what needs two requests at once."""
import concurrent.futures
import os
import subprocess
import threading
import time

import go_parity
from lib import App, BUILD, TOP, limit, needs, note, program, scratch, waits


class GoServer:
    def __init__(self):
        go = needs("go")
        binary = scratch() / "go-server"
        env = {**os.environ, "GO111MODULE": "off", "GOCACHE": str(BUILD / "tests/go-cache"), "GOFLAGS": "",
               "GOTOOLCHAIN": "local"}
        subprocess.run([go, "build", "-o", binary, TOP / "tests/go/server.go"], env=env, check=True)
        self.process = subprocess.Popen([binary], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                        stderr=subprocess.DEVNULL, text=True)
        self.base = self.process.stdout.readline().strip()

    def close(self):
        self.process.stdin.close()
        self.process.wait()


@waits
@limit(300)
def test_same_answers():
    go = GoServer()
    app = App(program("idle"), stdin=subprocess.PIPE)
    results = go_parity.compare_all(go.base, app.base)
    go.close()
    note(go_parity.summary(results))
    wrong = [f"{r.row.title}: {p}" for r in results for p in r.problems]
    assert not wrong, f"{len(wrong)} differences from Go:\n" + "\n".join(wrong)
    assert len(results) >= 150


@limit(120)
def test_same_times():
    """How long an answer takes: within 0.3 s of Go's, for every spelling of seconds."""
    go = GoServer()
    app = App(program("idle"), stdin=subprocess.PIPE)
    named = [("heap?seconds=1", 1), ("allocs?seconds=2", 2), ("heap?seconds=%2B1", 1),
             ("heap?seconds=", 0), ("heap?seconds=x", 0), ("nosuch?seconds=2", 0)]
    cpu = [("profile?seconds=1", 1), ("profile?seconds=2&debug=1", 2)]  # Go has one at a time

    def took(base, path):
        start = time.monotonic()
        go_parity.ask(base, go_parity.Row(go_parity.P + path))
        return time.monotonic() - start

    def check(rows):
        for path, want in rows:
            for who, base in (("Go", go.base), ("the agent", app.base)):
                seconds = took(base, path)
                assert want <= seconds < want + 0.6, f"{path}: {who} took {seconds:.2f} s"

    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        for done in [pool.submit(check, rows) for rows in (named[:1], named[1:2], named[2:], cpu)]:
            done.result()
    go.close()


@waits
@limit(120)
def test_two_at_once():
    """Go refuses a second CPU profile; the agent serves both, which no client can be hurt by."""
    go = GoServer()
    app = App(program("idle"), stdin=subprocess.PIPE)
    for base, want in ((go.base, [200, 500]), (app.base, [200, 200])):
        row = go_parity.Row(go_parity.P + "profile?seconds=1", body_is="text")
        got = []
        threads = [threading.Thread(target=lambda: got.append(go_parity.ask(base, row))) for _ in range(2)]
        for t in threads:
            t.start()
        for t in threads:
            t.join()
        assert sorted(g.status for g in got) == want, [g.status for g in got]
        for g in got:
            if g.status == 500:
                assert g.body == b"Could not enable CPU profiling: cpu profiling already in use\n"
                assert g.headers["X-Go-Pprof"] == "1"
    go.close()
