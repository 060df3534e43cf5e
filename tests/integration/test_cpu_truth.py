# SPDX-License-Identifier: Apache-2.0
"""CPU profiles against what a program measures of itself (tests/programs/cpu_split.c).

All the work lies inside the profile's window: the program waits until the agent has its timers, is
told to stop well before the end, and says "done" before it. So the profile must account for all of it
and nothing else, on a busy machine too: there the work is merely less.

The law. A thread that uses CPU time T while its timer of period p has its first expiry uniformly in
(0, p] gets N = floor or ceil of T/p periods with mean T/p; the variance of N*p is f(1-f)p^2 <= p^2/4
with f the fraction of T/p. Threads are independent:

  total of n threads: sigma <= (p/2)*sqrt(n); allowed are 4 sigma, or 0.5 % of the total where that is
  more. With 4 threads and main the bound is 2p*sqrt(5) = 4.5p, and only if all five erred by more
  than 0.9p in one direction would it be passed: (0.1)^5/60 at most. For 64 threads f is uniform,
  so sigma is p*sqrt(n/6) and the bound 4.9 of them: a chance of 1e-6.

  share of a function: the work is cut into parts of random length between which the function changes.
  At each change, the CPU time since the last sample is booked to whatever the next sample hits. That
  time has the mean s = CPU time / samples, which is max(p, tick) where all ticks hit the thread, since
  the kernel fires CPU timers on its tick, and more where other programs' wake-ups take ticks from it;
  it is uniform in (0, s) on a machine of our own, and exponential at the worst, when the ticks that hit
  the thread are random. (s is measured: the agent counts its samples.) A function gains it at the start of a part and loses it at the
  end, so the mean is 0 and the variance at most 2*s^2 for each of its k parts. Allowed: 6 sigma =
  6*s*sqrt(2*(k + 1)) and 0.5 % of the function's time.
"""
import math
import re
import threading
import time

import lib
from lib import App, limit, long, note, parallel, program, until, waits
from stacks import View

TICK_NS = int(time.clock_getres(5) * 1e9)  # CLOCK_REALTIME_COARSE advances by the kernel's tick
STOP_AT = 0.75  # share of the window after which the work is told to end


def measured(argv, seconds, hz, timers, **query):
    """Runs cpu_split inside one profile. (rows of the program's truth, view); view.signals: deliveries."""
    with App(program("cpu_split"), *argv, stdin=lib.subprocess.PIPE) as app:
        lib.equal(app.line(), "ready")
        box = []

        def fetch():
            try:
                box.append(View(app.profile(seconds=seconds, hz=hz, **query)))
            except BaseException as failure:
                box.append(failure)

        thread = threading.Thread(target=fetch)
        begin = time.monotonic()
        thread.start()
        until(lambda: app.cpu_timers() >= timers or box, f"{timers} timers", 20)
        app.say("go")
        rows, line, told = [], None, False
        while line != "done":
            if not told and (app.readable(begin + STOP_AT * seconds - time.monotonic()) is False):
                app.say("stop")
                told = True
            line = app.line(60)
            if line != "done":
                rows.append([int(word) for word in line.split()])
        assert not box, f"the program stopped after the end of the window: {box}"
        if not told:
            app.say("stop")
        thread.join(seconds + 60)
        if isinstance(box[0], BaseException):
            raise box[0]
        counters = app.get("agent").body.decode()
        box[0].signals = int(re.search(r"^cpu_samples +(\d+)", counters, re.M).group(1))
        app.say("end")
        lib.equal(app.finish()[0], 0, "status of the program")
        return rows, box[0]


def compare_total(view, want, hz, threads, what):
    period = 1e9 / hz
    got = view.total("cpu")
    bound = max(0.005 * want, 4 * (period / 2) * math.sqrt(threads))
    note(f"{what}: program {want / 1e6:.1f} ms, profile {got / 1e6:.1f} ms, {100 * (got - want) / want:+.3f} %, allowed {100 * bound / want:.3f} %")
    assert abs(got - want) <= bound, f"{what}: profile {got} ns, program {want} ns, off by {got - want}, allowed {bound:.0f}"


def compare_function(view, got, want, parts, hz, what):
    step = max(1e9 / hz, TICK_NS, view.total("cpu") / max(1, view.signals))
    bound = 6 * step * math.sqrt(2 * (parts + 1)) + 0.005 * want
    note(f"{what}: program {want / 1e6:.1f} ms in {parts} parts, profile {got / 1e6:.1f} ms, off {(got - want) / 1e6:+.1f} ms, allowed {bound / 1e6:.1f} ms (samples {step / 1e6:.1f} ms apart)")
    assert abs(got - want) <= bound, f"{what}: profile {got} ns, program {want} ns, allowed {bound:.0f}"


NAMES = ("thread_zero", "thread_one", "thread_two", "thread_three")


def known_split(hz, mode, seconds=6):
    rows, view = measured((mode, 4, 1000000), seconds, hz, 5 if mode == "pool" else 1)
    lib.equal(view.profile.period, round(1e9 / hz), "period")
    lib.equal(len(rows), 5, "threads, main among them")
    compare_total(view, sum(r[2] for r in rows), hz, 5, f"{hz} Hz, {mode}")
    for name, (alpha, beta, total, alphas, betas) in zip(NAMES, rows):
        # one thread alone: exact to one period, and 0.5 % for its start and end outside of the function
        got = view.below(name, "cpu")
        assert abs(got - total) <= 1e9 / hz + 0.005 * total, f"{name} at {hz} Hz: profile {got}, program {total}"
        compare_function(view, view.below(name, "cpu", "work_alpha"), alpha, alphas, hz, f"{hz} Hz, {name} alpha")
        compare_function(view, view.below(name, "cpu", "work_beta"), beta, betas, hz, f"{hz} Hz, {name} beta")
    samples, cpu = view.total("samples"), view.total("cpu")
    lib.equal(cpu, samples * view.profile.period, "cpu value (samples times period)")


@limit(120)
def test_known_split_at_100_hz():
    known_split(100, "pool")


@limit(120)
def test_known_split_at_250_hz():
    known_split(250, "pool")


@limit(120)
def test_known_split_at_1000_hz():
    """Above the kernel's tick: missed expirations must be made good."""
    known_split(1000, "pool")


@limit(120)
def test_known_split_of_threads_made_during_the_profile():
    known_split(250, "new")


@limit(300)
def test_64_threads():
    for mode, timers in (("pool", 65), ("new", 1)):
        rows, view = measured((mode, 64, 1000000), 5, 100, timers)
        compare_total(view, sum(r[2] for r in rows), 100, 65, f"64 threads, 100 Hz, {mode}")


def brief_threads(hz, seconds, at_least):
    """Threads of 2 ms each, as many as the window allows. With f = the fraction of 2 ms in periods,
    sigma = p*sqrt(n*f(1-f)); f(1-f) <= 1/4, and where 2 ms < p it is that of 2 ms/p. Allowed: 3 % of
    the total, or 5.5 sigma (4e-8) where that is more. 3 % covers what the program cannot measure of a thread: its birth and its end in
    the kernel."""
    rows, view = measured(("many", at_least or 1000000, 2000, 4), seconds, hz, 1)
    count, _, want = rows[0]
    want += rows[1][2]  # main, which makes them
    assert count >= (at_least or 100), f"only {count} threads ran in the window: the machine is too busy"
    period = 1e9 / hz
    fraction = 2e6 / period
    sigma = period * math.sqrt(count * (fraction * (1 - fraction) if fraction < 1 else 0.25))
    # Of the whole program: of a thread this short, a part that counts is spent before and behind its own function, some of
    # it in the agent, which shows it as [pprof agent].
    got = view.total("cpu")
    bound = max(0.03 * want, 5.5 * sigma)
    agent_ns = sum(s.values["cpu"] for s in view.samples if s.frames[0].name == "[pprof agent]")
    note(f"{count} threads of 2 ms at {hz} Hz, {agent_ns / count / 1e3:.1f} us of each in the agent: program {want / 1e9:.3f} s, profile {got / 1e9:.3f} s, "
         f"{100 * (got - want) / want:+.2f} %, allowed {100 * bound / want:.2f} %")
    assert abs(got - want) <= bound, f"profile {got}, program {want}, allowed {bound:.0f}"


@limit(120)
def test_threads_of_2_ms():
    brief_threads(1000, 6, None)


@long
@limit(900)
def test_20000_threads_of_2_ms():
    for hz in (1000, 250, 100):
        brief_threads(hz, 120, 20000)


@waits
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

        threads = [threading.Thread(target=fetch, args=a) for a in (("long", 3), ("short", 1))]
        for t in threads:
            t.start()
        for t in threads:
            t.join(60)
        for name, seconds in (("long", 3), ("short", 1)):
            view, spent, wall = box[name]
            duration = view.profile.duration_nanos
            assert abs(duration / 1e9 - seconds) < 0.2, f"duration of the {name} one: {duration}"
            # the program's time was read around the request: what lies outside the window is not in the profile
            outside = wall - duration
            got = view.total("cpu")
            assert spent - outside - 3e7 <= got <= spent + 3e7, f"{name}: profile {got}, program {spent}, outside the window {outside}"
        # another rate meanwhile: Go's refusal
        other = threading.Thread(target=fetch, args=("third", 2))
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


@parallel
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
