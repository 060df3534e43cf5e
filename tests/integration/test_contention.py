# SPDX-License-Identifier: Apache-2.0
"""block, mutex and threadcreate against what programs measure of themselves (tests/programs/waits.c).

At rate 1 and fraction 1 nothing is left to chance: block is within 2 % of the waiters' own clocks, which
include the agent's work behind each wait, and mutex within 1 % of block.

At other rates r and n, from the sampling law; truth are the durations d of single waits:
  block, d < r: a wait is kept with probability d/r and counts r ns and r/d waits.
      variance of the time = sum of d*(r-d), of the count = sum of (r/d - 1)
  mutex: kept with probability 1/n, counts n-fold.
      variance of the time = (n-1) * sum of d^2, of the count = (n-1) * number of waits
Allowed are 5 standard errors of the sum over all seeds (6e-7 for the normal law).
"""
import os
import math
import select
import subprocess
import time

import lib
from lib import App, equal, limit, long, note, parallel, program, waits
from stacks import View

# name in tests/programs/waits_ways.h -> (what block shows, what mutex shows; None: nobody is to blame)
WAYS = {
    "pthread_mutex_lock": ("pthread_mutex_lock", "pthread_mutex_unlock"),
    "pthread_mutex_timedlock": ("pthread_mutex_timedlock", "pthread_mutex_unlock"),
    "pthread_mutex_clocklock": ("pthread_mutex_clocklock", "pthread_mutex_unlock"),
    "recursive": ("pthread_mutex_lock", "pthread_mutex_unlock"),
    "errorcheck": ("pthread_mutex_lock", "pthread_mutex_unlock"),
    "adaptive": ("pthread_mutex_lock", "pthread_mutex_unlock"),
    "robust": ("pthread_mutex_lock", "pthread_mutex_unlock"),
    "inherit": ("pthread_mutex_lock", "pthread_mutex_unlock"),
    "pthread_rwlock_rdlock": ("pthread_rwlock_rdlock", "pthread_rwlock_unlock"),
    "pthread_rwlock_wrlock": ("pthread_rwlock_wrlock", "pthread_rwlock_unlock"),
    "wrlock_by_reader": ("pthread_rwlock_wrlock", "pthread_rwlock_unlock"),
    "pthread_rwlock_timedrdlock": ("pthread_rwlock_timedrdlock", "pthread_rwlock_unlock"),
    "pthread_rwlock_timedwrlock": ("pthread_rwlock_timedwrlock", "pthread_rwlock_unlock"),
    "pthread_rwlock_clockrdlock": ("pthread_rwlock_clockrdlock", "pthread_rwlock_unlock"),
    "pthread_rwlock_clockwrlock": ("pthread_rwlock_clockwrlock", "pthread_rwlock_unlock"),
    "pthread_spin_lock": ("pthread_spin_lock", "pthread_spin_unlock"),
    "mtx_lock": ("mtx_lock", "mtx_unlock"),
    "mtx_timedlock": ("mtx_timedlock", "mtx_unlock"),
    "futex_lock": ("syscall", "syscall"),
    "futex_event": ("syscall", None),
    "pthread_cond_wait": ("pthread_cond_wait", None),
    "pthread_cond_timedwait": ("pthread_cond_timedwait", None),
    "pthread_cond_clockwait": ("pthread_cond_clockwait", None),
    "cnd_wait": ("cnd_wait", None),
    "cnd_timedwait": ("cnd_timedwait", None),
    "sem_wait": ("sem_wait", None),
    "sem_timedwait": ("sem_timedwait", None),
    "sem_clockwait": ("sem_clockwait", None),
    "pthread_barrier_wait": ("pthread_barrier_wait", None),
    "pthread_join": ("pthread_join", None),
    "pthread_timedjoin_np": ("pthread_timedjoin_np", None),
    "pthread_clockjoin_np": ("pthread_clockjoin_np", None),
    "thrd_join": ("thrd_join", None),
}
# libc has these under one address: an address has only one name
TWINS = {"pthread_spin_init": "pthread_spin_unlock"}


def measured(way, waiters, us, rounds, rate=1, fraction=1, **settings):
    """(waited ns, calls, ns of it without a processor, the program's sums, block view, mutex view)"""
    settings = {"blockprofilerate": rate, "mutexprofilefraction": fraction, **settings}
    with App(program("waits"), way, waiters, us, rounds, rate, stdin=subprocess.PIPE, **settings) as app:
        _, ns, calls, ready, *sums = app.line(120).split()
        return int(ns), int(calls), int(ready), list(map(float, sums)), View(app.profile("block")), View(app.profile("mutex"))


def of_waiters(view):
    """Only what the measured calls did: leading the threads may wait a little, too."""
    rows = [s for s in view.samples if any(f.name == "waiter_calls" for f in s.frames)]
    return (sum(s.values["delay"] for s in rows), sum(s.values["contentions"] for s in rows),
            {s.frames[0].name for s in rows})


def compare(way, waiters, us, rounds):
    waiting, blamed = WAYS[way]
    ns, calls, ready, _, block, mutex = measured(way, waiters, us, rounds)
    delay, count, leaves = of_waiters(block)
    what = f"{way}, {waiters} waiters, {us} us, {rounds} rounds"
    equal(leaves, {waiting}, what)
    equal(count, calls, f"{what}: contentions in block")
    # The waiter's two looks at the clock enclose ours. What lies between is a few instructions, and, on a busy machine,
    # the time in which the thread was preempted there: at most all the time that it was ready without a processor in
    # those calls during which it was preempted at all.
    if not 0.98 * ns - ready <= delay <= ns:
        raise AssertionError(f"{what}: block says {delay} ns, the waiters {ns} ns ({ready} without a processor): {delay / ns:.4f}")
    if blamed is None:
        # the mutex of a condition is a lock of its own, held for moments: a wait for it may end between our look at
        # it and the wait
        equal({s.frames[0].name for s in mutex.samples} - {"pthread_mutex_unlock", "mtx_unlock", waiting,
                                                           "[unlock not seen]"}, set(), what)
        return
    total = mutex.total("delay")
    if abs(total / block.total("delay") - 1) > 0.01:
        raise AssertionError(f"{what}: mutex says {total} ns, block {block.total('delay')} ns")
    equal(mutex.total("contentions"), block.total("contentions"), f"{what}: contentions in mutex")
    leaves = {TWINS.get(s.frames[0].name, s.frames[0].name) for s in mutex.samples}
    equal(leaves, {blamed}, f"{what}: leaves in mutex")
    # the longest part is the holder's, who is main
    holder = mutex.below("main", "delay")
    if way != "futex_lock" and holder < min(0.9, 1 - 0.2 * waiters / 32) * min(total, waiters * us * 1000 * rounds):
        raise AssertionError(f"{what}: main held the lock and is charged with {holder} of {total} ns")


@limit(60)
def test_who_is_woken_before_the_unlocker_is_done():
    """On one processor the kernel often gives it to whom an unlock woke, there and then: the holder is to blame nevertheless."""
    allowed = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(allowed)})
    try:
        for way in ("pthread_mutex_lock", "pthread_rwlock_wrlock", "mtx_lock", "futex_lock"):
            *_, block, mutex = measured(way, 4, 4000, 50)
            held, total = mutex.below("main", "delay"), mutex.total("delay")
            note(f"{way}: main is charged with {held / 1e6:.0f} of {total / 1e6:.0f} ms")
            assert held > 0.97 * total > 0.97 * 4 * 4e6 * 50, f"{way}: main held the lock and is charged with {held} of {total} ns"
            assert abs(total / block.total("delay") - 1) < 0.01, f"{way}: mutex says {total}, block {block.total('delay')} ns"
            equal(mutex.total("contentions"), block.total("contentions"), f"{way}: contentions")
    finally:
        os.sched_setaffinity(0, allowed)


@limit(240)
def test_every_function():
    equal(set(subprocess.check_output([program("waits"), "list"], text=True).split()), set(WAYS))
    for way in WAYS:
        # spinning waiters need the processors themselves
        compare(way, 2 if way == "pthread_spin_lock" else 4, 3000, 5)


@limit(180)
def test_from_100_us_to_2_s_and_1_to_32_waiters():
    for way in ("pthread_mutex_lock", "pthread_rwlock_wrlock", "pthread_rwlock_rdlock", "pthread_cond_wait", "sem_wait",
                "futex_lock"):
        for waiters, us, rounds in ((1, 100, 200), (32, 100, 30), (32, 20000, 2), (2, 200000, 1)):
            compare(way, waiters, us, rounds)
    compare("pthread_mutex_lock", 32, 2000000, 1)


@long
@limit(900)
def test_every_function_from_100_us_to_2_s_and_1_to_32_waiters():
    for way in WAYS:
        crowd = 2 if way == "pthread_spin_lock" else 32
        for waiters, us, rounds in ((1, 100, 100), (crowd, 100, 20), (crowd // 2, 20000, 2), (1, 2000000, 1), (crowd, 2000000, 1)):
            compare(way, waiters, us, rounds)


@limit(60)
def test_five_waiters_for_one_second_are_five_seconds():
    ns, _, _, _, _, mutex = measured("pthread_mutex_lock", 5, 1000000, 1)
    charged = mutex.below("release_mutex", "delay")
    if not 4.95e9 <= charged <= 5.2e9:
        raise AssertionError(f"the holder is charged with {charged / 1e9:.3f} s, the waiters lost {ns / 1e9:.3f} s")


def unbiased(seeds, rate, fraction, rounds, **settings):
    """The sums over so many seeds are the truth within what chance allows."""
    truth = calls = 0
    block_time = block_count = mutex_time = mutex_count = 0
    block_time_variance = mutex_time_variance = block_count_variance = 0
    for seed in range(1, seeds + 1):
        ns, n, _, sums, block, mutex = measured("pthread_mutex_lock", 4, 150, rounds, rate, fraction, seed=seed, **settings)
        delay, count, _ = of_waiters(block)
        truth += ns
        calls += n
        block_time += delay
        block_count += count
        mutex_time += mutex.total("delay")
        mutex_count += mutex.total("contentions")
        block_time_variance += sums[1]
        block_count_variance += sums[2]
        mutex_time_variance += (fraction - 1) * sums[0]
    for what, got, want, variance in (
            ("block delay", block_time, truth, block_time_variance),
            ("block contentions", block_count, calls, block_count_variance),
            ("mutex delay", mutex_time, truth, mutex_time_variance),
            ("mutex contentions", mutex_count, calls, (fraction - 1) * calls)):
        error = math.sqrt(variance)
        off = f"{(got - want) / error:+.2f} standard errors of {error / want:.4f}" if error else "nothing left to chance"
        note(f"{what}: {got / want:.4f} of the truth, {off}")
        # the agent's own work behind a wait is in the waiters' clocks: up to 2 %
        if not -5 * error - 0.02 * want <= got - want <= 5 * error:
            raise AssertionError(f"{what}: {got}, not {want}: {off}")


@limit(180)
def test_sampling_is_unbiased():
    unbiased(30, 2000000, 10, 40)


@long
@limit(300)
def test_sampling_is_unbiased_at_the_default_rates():
    """The program is told what they are; the agent is not."""
    unbiased(60, 10000, 10, 100, blockprofilerate=None, mutexprofilefraction=None)


@parallel
def test_off_is_an_empty_valid_profile():
    with App(program("waits"), "pthread_mutex_lock", 4, 1000, 5, stdin=subprocess.PIPE, blockprofilerate=0,
             mutexprofilefraction=0) as app:
        app.line()
        for name in ("block", "mutex"):
            profile = app.profile(name)
            equal(len(profile.samples), 0, name)
            equal([t[0] for t in profile.sample_types], ["contentions", "delay"], name)
            equal(app.get(name, debug=1).status, 200, name)


@parallel
def test_one_without_the_other():
    with App(program("waits"), "pthread_mutex_lock", 4, 1000, 5, stdin=subprocess.PIPE, blockprofilerate=0,
             mutexprofilefraction=1) as app:
        _, ns, *_ = app.line().split()
        equal(len(app.profile("block").samples), 0)
        total = View(app.profile("mutex")).total("delay")
        if not 0.98 <= total / int(ns) <= 1:
            raise AssertionError(f"mutex alone says {total} ns of {ns}")
    with App(program("waits"), "pthread_mutex_lock", 4, 1000, 5, stdin=subprocess.PIPE, blockprofilerate=1,
             mutexprofilefraction=0) as app:
        app.line()
        equal(len(app.profile("mutex").samples), 0)
        equal(View(app.profile("block")).total("contentions"), 20)


def same_with_and_without(name, stdin=b"\n", **settings):
    """The program's output does not depend on the agent, whatever it records."""
    plain, under = lib.plain_and_under([program(name)], stdin=stdin, blockprofilerate=1, mutexprofilefraction=1, **settings)
    equal(under, plain, name)
    if plain[0] != 0:
        raise AssertionError(f"{name}: status {plain[0]}: {plain[1]} {plain[2]}")
    return plain[1].decode()


@parallel
@limit(90)
def test_semantics_of_every_kind_of_lock():
    lines = same_with_and_without("lock_kinds").splitlines()
    if len(lines) < 400:
        raise AssertionError(f"only {len(lines)} lines")


@parallel
@limit(90)
def test_locks_between_processes():
    lines = same_with_and_without("shared_locks").splitlines()
    equal(len(lines), 16 + 5 + 1, lines)
    equal(sum(" owner-dead 130 " in line for line in lines), 8, lines)
    with App(program("shared_locks"), "say", stdin=subprocess.PIPE, blockprofilerate=1, mutexprofilefraction=1) as app:
        while not (line := app.line()).startswith("waited"):
            pass
        ns, waits = map(int, line.split()[1:])
        rows = [s for s in View(app.profile("block")).samples if any(f.name == "main" for f in s.frames)]
        delay, count = (sum(s.values[kind] for s in rows) for kind in ("delay", "contentions"))
        if count < waits or not 0.98 * ns <= delay <= ns + 5e6:
            raise AssertionError(f"block says {delay} ns of {count} waits, the program {ns} ns of {waits}")
        # whoever unlocked is another process
        blamed = View(app.profile("mutex")).flat("delay")
        equal(max(blamed, key=blamed.get), "[unlock not seen]", blamed)


@limit(90)
def test_cancellation_and_destructors():
    text = same_with_and_without("cancel_waits")
    equal(text.count("destroyed 1"), 19, text)


@parallel
def test_old_condition_variables_keep_their_canary():
    equal(same_with_and_without("old_cond"), "intact\n")


@parallel
@limit(90)
def test_waits_that_never_came_back():
    with App(program("cancel_waits"), stdin=subprocess.PIPE, blockprofilerate=1, mutexprofilefraction=1) as app:
        for line in iter(lambda: app.line(30), "jumped: locks 0"):
            if not line:
                raise AssertionError("no last line")
        left = next(line.split()[1] for line in app.get("agent").text.splitlines() if line.startswith("lock_waits_left"))
        if int(left) < 5:  # four cancelled, one jumped
            raise AssertionError(f"lock_waits_left is {left}")
        # the wait behind the jump took 50 ms and is charged to main; the one that was left is no wait of minutes
        view = View(app.profile("mutex"))
        if not 20e6 <= view.below("main", "delay") <= 5e9:
            raise AssertionError(f"main is charged with {view.below('main', 'delay')} ns")


def rows(view, kind="delay"):
    return [(s.values[kind], [f.name for f in s.frames]) for s in view.samples]


@waits
def test_window_and_text_forms():
    with App(program("idle"), stdin=subprocess.PIPE, blockprofilerate=1, mutexprofilefraction=1) as app:
        for name in ("block", "mutex", "threadcreate"):
            profile = app.profile(name, seconds=1)
            if not 0.9e9 < profile.duration_nanos < 3e9:
                raise AssertionError(f"{name}?seconds=1 says {profile.duration_nanos} ns")
            equal(app.get(name, debug=1, seconds=1).status, 400)
        equal(app.get("block", debug=1).text.splitlines()[:2], ["--- contention:", "cycles/second=1000000000"])
        equal(app.get("mutex", debug=1).text.splitlines()[:3],
              ["--- mutex:", "cycles/second=1000000000", "sampling period=1"])


@parallel
def test_go_tool_reads_both_forms_alike():
    with App(program("waits"), "pthread_mutex_lock", 4, 20000, 3, stdin=subprocess.PIPE, blockprofilerate=1,
             mutexprofilefraction=1) as app:
        app.line()
        for name in ("block", "mutex"):
            url = f"http://127.0.0.1:{app.where[1]}/debug/pprof/{name}"
            for sample in ("delay", "contentions"):
                tops = []
                for form in ("", "?debug=1"):
                    out = lib.go_pprof("-top", "-nodecount=5", f"-sample_index={sample}", "-unit=ns", url + form).stdout
                    tops.append([line.split()[:4] + line.split()[5:] for line in out.splitlines() if "pthread_mutex" in line])
                if not tops[0] or tops[0][0][0] != tops[1][0][0]:
                    raise AssertionError(f"{name} {sample}: {tops}")


def test_child_counts_from_its_birth():
    code = r"""
import ctypes, os, sys, threading, time
lock = threading.Lock()
def wait():
    lock.acquire(); t = threading.Thread(target=lambda: (time.sleep(0.05), lock.release())); t.start(); lock.acquire(); lock.release(); t.join()
wait()
if os.fork() == 0:
    os.setsid()
    print("child", os.getpid(), flush=True)
    sys.stdin.readline()
    os._exit(0)
sys.stdin.readline()
"""
    python = lib.needs("python3")
    with App(python, "-c", code, unix=True, stdin=subprocess.PIPE, blockprofilerate=1, mutexprofilefraction=1) as app:
        pid = int(app.line().split()[1])
        if View(app.profile("block")).total("delay") < 50e6:
            raise AssertionError("the parent waited")
        lib.until(lambda: app.get(f"child/{pid}/block").status == 200, "the child answers", 10)
        child = View(lib.decoded(app.get(f"child/{pid}/block").body))
        if child.total("delay") > 20e6:
            raise AssertionError(f"the child has its parent's waits: {rows(child)}")


def storm(seconds):
    with App(program("lock_storm"), seconds, stdin=subprocess.PIPE, blockprofilerate=1, mutexprofilefraction=1,
             memprofilerate=4096) as app:
        end = time.monotonic() + 2 * seconds + 30  # it counts its turns, which take longer on a busy machine
        while not select.select([app.process.stdout], [], [], 0.2)[0]:
            if time.monotonic() > end:
                raise AssertionError("the storm does not end")
            for name in ("block", "mutex", "threadcreate"):
                app.profile(name)
        line = app.line(10)
        if not line.startswith("done"):
            raise AssertionError(f"{line}: {app.process.stderr.read()}")
        block, mutex = View(app.profile("block")), View(app.profile("mutex"))
        locks = sum(v for leaf, v in block.flat("delay").items() if "mutex" in leaf or "rwlock" in leaf or "spin" in leaf)
        unseen = mutex.flat("delay")["[unlock not seen]"] / mutex.total("delay")
        note(line, f"block of locks {locks / 1e9:.2f} s, mutex {mutex.total('delay') / 1e9:.2f} s, unlock not seen {unseen:.4f}")
        if abs(mutex.total("delay") / locks - 1) > 0.01:
            raise AssertionError(f"mutex says {mutex.total('delay')} ns, block {locks} ns")
        return app.get("agent").text


@parallel
@limit(90)
def test_storm_of_locks_forks_and_vanishing_mutexes():
    text = storm(6)
    for line in text.splitlines():
        if line.startswith("lock_waits_full"):
            equal(line.split()[1], "0", line)


@long
@limit(330)
def test_long_storm():
    storm(120)
