# SPDX-License-Identifier: Apache-2.0
"""Threads that can never go on: goroutineleak tells why, and programs of that kind still answer."""
import re
import subprocess

import lib
from lib import App, equal, parallel, program
from test_threads import Shown, all_tids, asleep, dump, started, timed


def words(answer):
    """The lines of a text form that are not pprof's: what the deadlock is."""
    return [line for line in answer.text.splitlines() if line.startswith(("# ", "#\tthread"))]


@parallel
def test_no_leaks():
    """Waits that end some day: for a time limit, a condition, another thread's work."""
    app, tids = started("cond", "sem", "join", "barrier", "poll", "rwlock")
    with app:
        asleep(app, all_tids(tids))
        equal(app.profile("goroutineleak").samples, [], "threads that never go on")
        equal(app.get("goroutineleak", debug=1).text, "goroutineleak profile: total 0\n", "debug=1")


@parallel
def test_leaks():
    app, tids = started("abba", "chain", "self", "orphan", "poll", "timed")
    with app:
        asleep(app, all_tids(tids))
        leaked = all_tids(tids, "poll", "timed")
        first, second, chain, alone, orphan = (tids[w][0] for w in ("abba_first", "abba_second", "chain", "self", "orphan"))
        profile = app.profile("goroutineleak")
        equal(profile.sample_types, [("goroutineleak", "count")], "sample types")
        equal(sum(s.values[0] for s in profile.samples), len(leaked), "threads that never go on")
        for function in ("abba_first", "abba_second", "chain", "self_lock", "orphan"):
            equal(sum(function in s.stack for s in profile.samples), 1, function)
        answer = app.get("goroutineleak", debug=1)
        equal(answer.text.split("\n")[0], f"goroutineleak profile: total {len(leaked)}", "first line")
        told = [re.sub(r" 0x[0-9a-f]+", "", line) for line in words(answer)]
        order = [first, second] if first < second else [second, first]
        equal(told, ["# deadlock of 2 threads, each waits for the next:",
                     f'#\tthread {order[0]} "blocked" waits for mutex held by {order[1]} "blocked"',
                     f'#\tthread {order[1]} "blocked" waits for mutex held by {order[0]} "blocked"',
                     "# deadlock of a thread with itself:",
                     f'#\tthread {alone} "blocked" waits for mutex held by {alone} "blocked"',
                     "# locks whose owner has ended without unlocking them:",
                     told[6],
                     "# threads that wait behind those:",
                     f'#\tthread {chain} "blocked" waits for mutex held by {first} "blocked"'], "what debug=1 tells")
        assert re.fullmatch(rf'#\tthread {orphan} "blocked" waits for mutex held by \d+, which has ended', told[6]), told[6]
        text = app.get("goroutineleak", debug=2)
        equal([re.sub(r" 0x[0-9a-f]+", "", line) for line in words(text)], told, "what debug=2 tells")
        heads = [Shown([line]) for line in text.text.splitlines() if line.startswith("goroutine ")]
        equal({h.tid for h in heads}, set(leaked), "threads of debug=2")
        assert all(h.state.endswith(", leaked") for h in heads), [h.state for h in heads]
        directory = lib.scratch()
        (directory / "leak").write_bytes(answer.body)
        raw = lib.go_pprof("-raw", "-symbolize=none", directory / "leak").stdout
        equal(sum(map(int, re.findall(r"^ +(\d+): (?:\d+ ?)+$", raw.split("Locations")[0], re.M))), len(leaked), "legacy parser")


@parallel
def test_held_locks_are_named():
    app, tids = started("robust", "pi", "rwlock")
    with app:
        asleep(app, all_tids(tids))
        shown = dump(app)
        for what, kind in (("robust", "mutex"), ("pi", "mutex"), ("rwlock", "rwlock")):
            assert re.fullmatch(rf'semacquire, {kind} 0x[0-9a-f]+ held by {app.pid} "blocked"', shown[tids[what][0]].state), shown[tids[what][0]].state


def test_deadlocked_program_answers():
    """With libc's own locks in the hands of threads that wait for ever or have ended, too."""
    app, tids = started("abba", "stdio", "orphan")
    with app:
        asleep(app, all_tids(tids))
        timed(app, "first dump of a deadlocked program", 1, lambda: dump(app))
        told = timed(app, "goroutineleak", 1, lambda: app.get("goroutineleak", debug=1).text)
        assert "# deadlock of 2 threads, each waits for the next:" in told, told
        assert "wait_stdio" in dump(app)[tids["stdio"][0]].frames


def test_malloc_lock_held_by_a_dead_thread():
    app = App(program("malloc_lock"), stdin=subprocess.PIPE)
    with app:
        tid = int(app.line().split()[1])
        asleep(app, [tid])
        shown = timed(app, "dump with malloc's lock held", 1, lambda: dump(app))
        assert "wait_for_malloc" in shown[tid].frames, shown[tid].frames
        equal(app.get("profile", seconds=1).status, 200, "CPU profile")
