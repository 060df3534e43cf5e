# SPDX-License-Identifier: Apache-2.0
"""What heap profiles may take: memory, and time within one call."""
import math
import re
import subprocess

import lib
from lib import App, equal, limit, long, note, parallel, program
from stacks import View
from test_heap import LIVE_B, LIVE_N


def bounded(blocks, mib, seconds):
    """Every block from a stack of its own, all at rate 1, more than fit: the rate doubles, the profile says so, and sums are right."""
    size = 48
    with App(program("heap_shapes"), "live", blocks, size, stdin=subprocess.PIPE, memprofilerate=1,
             max_mem=mib << 20, seed=9) as app:
        equal(app.line(seconds), "ready")
        profile = app.profile("heap")
        comments = "\n".join(profile.comments)
        assert "PPROF_MAX_MEM was reached" in comments, comments
        rate = int(re.search(r"one sample in (\d+) bytes", comments)[1])
        view = View(profile)
        for kind, unit in ((LIVE_N, 1), (LIVE_B, size)):
            got, truth = view.total(kind), blocks * unit
            note(kind, got, "true", truth, "rate", rate)
            # those kept at the rate's last value, at worst: p = size/rate
            sigma = unit * math.sqrt(blocks * rate / size)
            assert abs(got - truth) <= 6 * sigma + 20000 * unit / 48
        # the program's own start-up allocations are in the totals too: hence the last term
        agent = app.get("agent").text
        equal(re.search(r"^buckets_full\s+(\d+)", agent, re.M)[1], "0", "samples lost")
        used = int(re.search(r"^used=(\d+)", agent, re.M)[1])
        assert used <= mib << 20, used


@parallel
@limit(120)
def test_memory_stays_within_its_bound_and_sums_right():
    bounded(400000, 4, 60)
    for mib in (8, 12, 16):  # which of the tables is full first depends on it
        bounded(150000, mib, 60)


@long
@limit(600)
def test_ten_million_blocks_and_stacks_in_the_default_memory():
    bounded(10_000_000, 32, 500)


def pauses(blocks, runs):
    """Nearly all that is deterministic about a hook's time: the map's growth at rate 1. Of each window of calls the longest one,
    and of that the least of all runs: what the machine did to one run is not in it, what our own code does at this call is."""
    env = lib.environment(preload=lib.agent(), memprofilerate=1, max_mem=256 << 20, addr="127.0.0.1:0")
    rows, first = [], None
    for _ in range(runs):
        words = subprocess.run([program("heap_pause"), str(blocks)], env=env, stdin=subprocess.DEVNULL, capture_output=True,
                               text=True, check=True).stdout.split()
        first = first or words
        equal(words[:2], first[:2], "the same addresses in every run")
        rows.append([int(word) for word in words[2:]])
    longest = max(min(window) for window in zip(*rows))
    note(f"longest call that comes again: {longest / 1000:.0f} us of CPU time; of single runs: "
         f"{[max(row) // 1000 for row in rows]} us")
    assert longest < 200_000, f"a call takes {longest} ns every time"


@limit(120)
def test_no_call_takes_long():
    pauses(100000, 4)


@long
@limit(600)
def test_no_call_takes_long_with_millions():
    pauses(1500000, 4)
