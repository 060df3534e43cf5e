# SPDX-License-Identifier: Apache-2.0
"""CPU profiles against what a program measures of itself (tests/programs/cpu_split.c).

All the work lies inside the profile's window: the program waits until the agent has its timers, and
says "done" before the window ends. So the profile must account for all of it and nothing else.

The law. A thread that uses CPU time T while its timer of period p has its first expiry uniformly in
(0, p] gets N = floor or ceil of T/p periods with mean T/p; the variance of N*p is f(1-f)p^2 <= p^2/4
with f the fraction of T/p. Threads are independent:

  total of n threads: sigma <= (p/2)*sqrt(n); allowed are 4 sigma, or 0.5 % of the total where that is
  more. For n <= 4 the bound 2p*sqrt(n) is not below the largest possible error n*p: it cannot fail by
  chance. For more threads the work of each is a whole number of periods and a little (its start and
  end, under 0.3 ms), so f <= 0.03 and the true sigma is p*sqrt(0.03*n): the bound is 11 of them.

  share of a function: the work is cut into k slices of random length; each slice's count errs by at
  most one step either way with variance <= s^2/4, where s = max(p, tick): the kernel fires CPU timers
  on its tick, so that a period that ends within a slice may be booked to what runs at the next tick.
  Lateness shifts both ends of a slice alike, but the two ends are drawn independently, so it adds
  another s^2/4 at most: sigma <= s*sqrt(k/2). Allowed: 6 sigma (2e-9 for the normal law that a sum of
  k >= 20 bounded terms follows) plus 0.5 % of the function's time.
"""
import math
import threading
import time

import lib
from lib import App, limit, long, note, program, until
from stacks import View

TICK_NS = int(time.clock_getres(5) * 1e9)  # CLOCK_REALTIME_COARSE advances by the kernel's tick
SLICE_NS = 15e6 / 2  # cpu_split's slices are 5 to 25 ms, each in two parts


def measured(argv, seconds, hz, timers, **query):
    """Runs cpu_split inside one profile. (rows of the program's truth, view)"""
    with App(program("cpu_split"), *argv, stdin=lib.subprocess.PIPE) as app:
        lib.equal(app.line(), "ready")
        box = []

        def fetch():
            try:
                box.append(View(app.profile(seconds=seconds, hz=hz, **query)))
            except BaseException as failure:
                box.append(failure)

        thread = threading.Thread(target=fetch)
        thread.start()
        until(lambda: app.cpu_timers() >= timers or box, f"{timers} timers", 20)
        app.say("go")
        rows = []
        while True:
            line = app.line(seconds + 60)
            if line == "done":
                break
            rows.append([int(word) for word in line.split()])
        late = bool(box)
        thread.join(seconds + 60)
        if isinstance(box[0], BaseException):
            raise box[0]
        app.say("end")
        lib.equal(app.finish()[0], 0, "status of the program")
        return None if late else (rows, box[0])


def within_window(argv, work_s, hz, timers, **query):
    """The same with a window long enough for this machine: work outside the window proves nothing."""
    for factor in (1.5, 3, 8):
        got = measured(argv, math.ceil(work_s * factor + 0.5), hz, timers, **query)
        if got:
            return got
    raise AssertionError("the machine is too busy: the work did not fit into 8 times its time")


def compare_total(view, want, hz, threads, what):
    period = 1e9 / hz
    got = view.total("cpu")
    bound = max(0.005 * want, 4 * (period / 2) * math.sqrt(threads))
    note(f"{what}: program {want / 1e6:.1f} ms, profile {got / 1e6:.1f} ms, {100 * (got - want) / want:+.3f} %, allowed {100 * bound / want:.3f} %")
    assert abs(got - want) <= bound, f"{what}: profile {got} ns, program {want} ns, off by {got - want}, allowed {bound:.0f}"


def compare_function(got, want, hz, what):
    step = max(1e9 / hz, TICK_NS)
    bound = 6 * step * math.sqrt(max(want / SLICE_NS, 20) / 2) + 0.005 * want
    note(f"{what}: program {want / 1e6:.1f} ms, profile {got / 1e6:.1f} ms, {100 * (got - want) / want:+.2f} %, allowed {100 * bound / want:.2f} %")
    assert abs(got - want) <= bound, f"{what}: profile {got} ns, program {want} ns, allowed {bound:.0f}"


NAMES = ("thread_zero", "thread_one", "thread_two", "thread_three")


def known_split(hz, mode, ms=4000):
    rows, view = within_window((mode, 4, ms), 4 * ms / 1000 / 2, hz, 5 if mode == "pool" else 1)
    lib.equal(view.profile.period, round(1e9 / hz), "period")
    lib.equal(len(rows), 4, "threads")
    compare_total(view, sum(r[2] for r in rows), hz, 4 if mode == "pool" else 5, f"{hz} Hz, {mode}")
    for name, (alpha, beta, total) in zip(NAMES, rows):
        # one thread alone: exact to one period, and 0.5 % for its start and end outside of the function
        got = view.below(name, "cpu")
        assert abs(got - total) <= 1e9 / hz + 0.005 * total, f"{name} at {hz} Hz: profile {got}, program {total}"
        compare_function(view.below(name, "cpu", "work_alpha"), alpha, hz, f"{hz} Hz, {name} alpha")
        compare_function(view.below(name, "cpu", "work_beta"), beta, hz, f"{hz} Hz, {name} beta")
    samples, cpu = view.total("samples"), view.total("cpu")
    lib.equal(cpu, samples * view.profile.period, "cpu value (samples times period)")


@limit(180)
def test_known_split_at_100_hz():
    known_split(100, "pool")


@limit(180)
def test_known_split_at_250_hz():
    known_split(250, "pool")


@limit(180)
def test_known_split_at_1000_hz():
    """Above the kernel's tick: missed expirations must be made good."""
    known_split(1000, "pool")


@limit(180)
def test_known_split_of_threads_made_during_the_profile():
    known_split(250, "new")


@limit(300)
def test_64_threads():
    for mode, timers in (("pool", 65), ("new", 1)):
        rows, view = within_window((mode, 64, 150), 64 * 0.15 / 2, 100, timers)
        compare_total(view, sum(r[2] for r in rows), 100, 64, f"64 threads, 100 Hz, {mode}")


def brief_threads(count, hz):
    """Threads of 2 ms each. With f the fraction of 2 ms in periods, sigma = p*sqrt(count*f(1-f)),
    f(1-f) <= 1/4 and where 2 ms < p exactly f(1-f) with f = 2 ms/p. Allowed: 3 % of the total, or 5.5
    sigma (4e-8) where that is more. 3 % covers what the program cannot measure of a thread: its birth
    and its end in the kernel."""
    rows, view = within_window(("many", count, 2000, 4), count * 0.002 / 2, hz, 1)
    period = 1e9 / hz
    fraction = 2e6 / period
    sigma = period * math.sqrt(count * (fraction * (1 - fraction) if fraction < 1 else 0.25))
    late = {"brief_thread", "[after last tick]"}
    want, got = rows[0][2], sum(s.values["cpu"] for s in view.samples if late & {f.name for f in s.frames})
    bound = max(0.03 * want, 5.5 * sigma)
    note(f"{count} threads of 2 ms at {hz} Hz: program {want / 1e9:.3f} s, profile {got / 1e9:.3f} s, "
         f"{100 * (got - want) / want:+.2f} %, allowed {100 * bound / want:.2f} %")
    assert abs(got - want) <= bound, f"profile {got}, program {want}, allowed {bound:.0f}"


@limit(300)
def test_5000_threads_of_2_ms():
    brief_threads(5000, 1000)


@long
@limit(900)
def test_20000_threads_of_2_ms():
    brief_threads(20000, 1000)
    brief_threads(20000, 250)
    brief_threads(20000, 100)


@limit(120)
def test_idle_program_has_an_empty_valid_profile():
    with App(program("idle"), stdin=lib.subprocess.PIPE) as app:
        lib.equal(app.line(), "ready")
        view = View(app.profile(seconds=1))
        lib.equal((view.total("cpu"), view.types), (0, ["samples", "cpu"]), "profile of an idle program")
        lib.equal(app.cpu_timers(), 0, "timers afterwards")


@limit(120)
def test_concurrent_profiles_share_a_session():
    """Two windows that overlap: each counts its own time, fully."""
    with App(program("spin")) as app:
        lib.equal(app.line(), "ready")
        box = {}

        def fetch(name, seconds):
            begin = time.clock_gettime_ns(time.CLOCK_MONOTONIC)
            before = thread_cpu(app)
            view = View(app.profile(seconds=seconds))
            box[name] = (view, thread_cpu(app) - before, time.clock_gettime_ns(time.CLOCK_MONOTONIC) - begin)

        threads = [threading.Thread(target=fetch, args=a) for a in (("long", 4), ("short", 2))]
        for t in threads:
            t.start()
        for t in threads:
            t.join(60)
        for name, seconds in (("long", 4), ("short", 2)):
            view, spent, wall = box[name]
            duration = view.profile.duration_nanos
            assert abs(duration / 1e9 - seconds) < 0.2, f"duration of the {name} one: {duration}"
            # the program's time was read around the request: what lies outside the window is not in the profile
            outside = wall - duration
            got = view.total("cpu")
            assert spent - outside - 3e7 <= got <= spent + 3e7, f"{name}: profile {got}, program {spent}, outside the window {outside}"
        # another rate meanwhile: Go's refusal
        other = threading.Thread(target=fetch, args=("third", 3))
        other.start()
        until(lambda: app.cpu_timers() > 0, "timers")
        answer = app.get("profile", seconds=1, hz=333)
        lib.equal(answer.status, 500, "status at another rate")
        assert answer.text.startswith("Could not enable CPU profiling: "), answer.text
        other.join(60)


def thread_cpu(app):
    """CPU time of the main thread in ns, read from outside."""
    fields = lib.pathlib.Path(f"/proc/{app.pid}/task/{app.pid}/schedstat").read_text().split()
    return int(fields[0])


@limit(120)
def test_client_gone_timers_gone():
    with App(program("spin"), 3) as app:
        lib.equal(app.line(), "ready")
        connection = app.connect()
        connection.request("GET", "/debug/pprof/profile?seconds=60")
        until(lambda: app.cpu_timers() >= 4, "timers of four threads")
        connection.close()
        gone = time.monotonic()
        until(lambda: app.cpu_timers() == 0, "timers gone", 5)
        note(f"timers gone after {1000 * (time.monotonic() - gone):.0f} ms")
        lib.equal(app.get("profile", seconds=1).status, 200, "the next profile")
