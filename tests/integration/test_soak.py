# SPDX-License-Identifier: Apache-2.0
"""Long life (hazard H6): a program that never stops to begin threads, load and unload libraries and fork, asked for every
page without pause. What the agent uses must not grow: memory, descriptors, mappings, timers, children.
SOAK_SECONDS=n in the environment sets the length: 1200 unless given."""
import contextlib
import os
import pathlib
import re
import shutil
import statistics
import subprocess
import time

from lib import App, BUILD, equal, limit, long, note, program, scratch

PAGES = ("", "agent", "agent?format=prometheus", "allocs?debug=1", "heap", "block", "mutex", "goroutine", "goroutine?debug=2", "threadcreate",
         "cmdline", "symbol?0x1000", "ui/", "delta_heap", "leak?age=1ms", "goroutineleak", "heap?debug=1", "profile?seconds=1&hz=1000",
         "wall?seconds=1", "trace?seconds=1", "trace?seconds=1&format=go1.22", "heap?seconds=1")
LIBRARIES = 20


def figures(app):
    """What must not grow, now."""
    text = app.get("agent").text
    status = pathlib.Path(f"/proc/{app.pid}/status").read_text()
    descriptors = own = 0
    for task in pathlib.Path(f"/proc/{app.pid}/task").iterdir():
        with contextlib.suppress(OSError):
            if (task / "comm").read_text().strip() == "pprof-agent":
                descriptors = len(os.listdir(task / "fd"))
    with contextlib.suppress(OSError):
        own = len(os.listdir(f"/proc/{app.pid}/fd"))
    app.say("")
    said = dict(zip(*[iter(app.line().split())] * 2))
    return {"rss": int(re.search(r"VmRSS:\s+(\d+)", status)[1]) * 1024,
            "agent memory": int(re.search(r"^used=(\d+)", text, re.M)[1]),
            "answers": int(re.search(r"^answers=(\d+)", text, re.M)[1]),
            "stacks": int(re.search(r"^distinct_stacks=(\d+)", text, re.M)[1]),
            "records of threads": int(re.search(r"^thread_records=(\d+)", text, re.M)[1]),
            "agent's descriptors": descriptors, "program's descriptors": own,
            "mappings": len(pathlib.Path(f"/proc/{app.pid}/maps").read_text().splitlines()),
            "timers": app.cpu_timers(),
            **{name: int(said[name]) for name in ("threads", "loads")}, "forks": int(said["children"])}


def soak(seconds):
    directory = scratch()
    libraries = [shutil.copy(BUILD / "tests/libraries/inner.so", directory / f"lib{i}.so") for i in range(LIBRARIES)]
    rows, asked = [], 0
    with App(program("soak"), *libraries, stdin=subprocess.PIPE, memprofilerate=4096, mutexprofilefraction=1, blockprofilerate=1) as app:
        start = time.monotonic()
        while time.monotonic() < start + seconds:
            for page in PAGES:
                answer = app.get(page, timeout=60)
                assert answer.status == 200, f"{page}: {answer.status} {answer.body[:300]!r}"
                asked += 1
            rows.append((time.monotonic() - start, figures(app)))
        equal(app.finish(20)[0], 0, "end of the program")
    return rows, asked


def slope(series):
    """Least squares: units an hour."""
    times = [t for t, _ in series]
    values = [v for _, v in series]
    middle, mean = statistics.fmean(times), statistics.fmean(values)
    spread = sum((t - middle) ** 2 for t in times)
    return 3600 * sum((t - middle) * (v - mean) for t, v in series) / spread


# Growth from the second quarter of the time to the last that is taken for chance: what libc's heap and the agent's caches breathe.
BYTES = {"rss": 1 << 20, "agent memory": 256 << 10, "answers": 256 << 10}
# A sample inside a library that is then unloaded is a stack of its own for ever: few of the loads are hit by one.
HITS, STACK = 0.01, 2000


@long
@limit(7200)
def test_soak():
    rows, asked = soak(float(os.environ.get("SOAK_SECONDS", "1200")))
    quarter = len(rows) // 4
    assert quarter >= 2, f"only {len(rows)} rounds: give it more SOAK_SECONDS"
    note(f"{rows[-1][0]:.0f} s, {asked} requests, {len(rows)} rounds, {rows[-1][1]}")
    bad = []
    loads = rows[-1][1]["loads"]
    stacks = rows[-1][1]["stacks"] - rows[quarter][1]["stacks"]
    assert stacks <= 50 + loads * HITS, f"{stacks} more stacks behind {loads} loads"
    for what in rows[0][1]:
        series = [(t, row[what]) for t, row in rows]
        early, late = [v for _, v in series[quarter:2 * quarter]], [v for _, v in series[-quarter:]]
        if what in ("threads", "loads", "forks"):
            assert all(a[1] < b[1] for a, b in zip(series, series[1:])), f"the program stood still: {what}"
            continue
        grown = statistics.median(late) - statistics.median(early)
        note(f"{what}: {series[0][1]} at first, {statistics.median(late):.0f} at last, slope {slope(series[quarter:]):+.1f} an hour")
        if what in BYTES and grown > BYTES[what] + stacks * STACK:
            bad.append(f"{what} grew by {grown} bytes")
        # what leaks is never again as low as it was high
        if what not in BYTES and what != "stacks" and min(late) > max(early):
            bad.append(f"{what}: at least {min(late)} at the end, at most {max(early)} before")
    equal(bad, [], "what grew")
