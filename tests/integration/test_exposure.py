# SPDX-License-Identifier: Apache-2.0
"""Hazards K4, K6, K8: what the agent never says, whoever asks; and what it does not do for anybody."""
import concurrent.futures
import gzip
import subprocess

import lib
from lib import App, equal, parallel, program

ALL = ("", "agent", "agent?format=prometheus", "allocs", "allocs?debug=1", "block", "block?debug=1", "cmdline", "goroutine", "goroutine?debug=1", "goroutine?debug=2",
       "goroutineleak", "heap", "heap?debug=1", "leak", "mutex", "mutex?debug=1", "nosuch", "peakheap", "profile?seconds=1", "symbol",
       "threadcreate", "threadcreate?debug=1", "trace?seconds=0.2", "ui/", "ui/heap", "ui/pprof.js", "wall?seconds=1", "/", "/debug/fgprof?seconds=1")
ENVIRONMENT, ARGUMENT, TOKEN = "hunter2-of-the-environment", "hunter3-of-the-arguments", "hunter4-of-the-token"


def said(app, path, headers):
    answer = app.get(path, headers=headers)
    assert answer.status in (200, 400, 401, 404), f"{path}: {answer.status} {answer.body[:100]}"
    body = answer.body
    if body[:2] == b"\x1f\x8b":
        body = gzip.decompress(body)
    return answer.status, str(answer.headers).encode() + body


@parallel
def test_no_secret_in_any_answer():
    """On all addresses, without a token and with one: no environment, no token, and arguments only for who may have them."""
    for token in (None, TOKEN):
        port = lib.free_port()
        with App(program("spin"), "0", f"--password={ARGUMENT}", env={"SECRET": ENVIRONMENT}, addr=f"0.0.0.0:{port}", token=token, log="info",
                 memprofilerate=1) as app:
            equal(app.line(), "ready")
            asks = [{}] if not token else [{}, {"Authorization": "Bearer wrong"}, {"Authorization": f"Bearer {token}"}]
            for headers in asks:
                allowed = token is not None and headers is asks[-1]
                with concurrent.futures.ThreadPoolExecutor(8) as pool:
                    answers = list(pool.map(lambda path: said(app, path, headers), ALL))
                for path, (status, text) in zip(ALL, answers):
                    for secret in (ENVIRONMENT, TOKEN):
                        assert secret.encode() not in text, f"{path} says {secret}"
                    shows = allowed and path == "cmdline"
                    equal(ARGUMENT.encode() in text, shows, f"{path} with {headers} shows the arguments")
                    if path == "cmdline":
                        equal(status, 200 if allowed else 401 if token else 404, "status of cmdline")
                    elif token and not allowed:
                        equal(status, 401, path)
    done = subprocess.run([program("exit_ways"), "return"], env=lib.environment(None, lib.agent(), addr=f"0.0.0.0:{lib.free_port()}", token=TOKEN), capture_output=True,
                          timeout=30)
    assert TOKEN.encode() not in done.stdout + done.stderr, done


@parallel
def test_no_rate_beyond_1000():
    with App(program("spin")) as app:
        equal(app.line(), "ready")
        for hz in (1001, 10000, 10**9, 10**20):
            answer = app.get("profile", seconds=1, hz=hz)
            if answer.status == 200:
                assert lib.decoded(answer.body).period >= 1000000, f"hz={hz}: a period of {lib.decoded(answer.body).period} ns"
            else:
                equal((answer.status, answer.header("X-Go-Pprof")), (400, "1"), f"hz={hz}")
                assert "hz" in answer.text and "1000" in answer.text, answer.text
