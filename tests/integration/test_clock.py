# SPDX-License-Identifier: Apache-2.0
"""Hazard E9: the clock is set, or faked, while the agent works. Durations stay what they are, nothing waits for
years, and only what says the time of day (Date, time_nanos) follows."""
import email.utils
import os
import pathlib
import signal
import subprocess
import threading
import time

import lib
from lib import App, equal, limit, needs, note, parallel, program
from pprof_decode import Profile
from stacks import View
from test_faults import Faults, library
from test_odd_lives import library as test_library

YEAR = 365 * 86400


def windows(app):
    """Everything that has a duration, asked for at once: {path: (seconds it took, duration that it says, its time)}."""
    asked = {"profile?seconds=2": 2, "wall?seconds=1": 1, "heap?seconds=1": 1, "mutex?seconds=1": 1, "trace?seconds=1": 1, "profile?seconds=1": 1}
    box = {}

    def fetch(path):
        begin = time.monotonic()
        answer = app.get(path, timeout=30)
        took = time.monotonic() - begin
        equal(answer.status, 200, path)
        profile = None if path.startswith("trace") else Profile.parse(answer.body)
        box[path] = (took, profile)

    threads = [threading.Thread(target=fetch, args=(path,)) for path in asked]
    for t in threads:
        t.start()
    return asked, box, threads


def check(asked, box, threads, what):
    for t in threads:
        t.join(60)
    equal(sorted(box), sorted(asked), f"answers {what}")
    for path, seconds in asked.items():
        took, profile = box[path]
        # a second and more for a machine that has others to serve; a clock that jumps would be off by years
        assert seconds - 0.01 <= took < seconds + 15, f"{path} {what}: took {took} s"
        if profile:
            said = profile.duration_nanos / 1e9
            assert seconds - 0.01 <= said <= took, f"{path} {what}: says {said} s, took {took} s"
    for path in asked:
        if path.startswith("profile"):
            view = View(box[path][1])
            assert 0.05e9 < view.total("cpu") <= 1.05e9 * box[path][0], f"{path} {what}: {view.total('cpu')} ns of one thread's time"
    return box


@parallel
@limit(120)
def test_clock_is_set():
    """By years, forth and back, while profiles run. The agent's own look at the clock is what is changed: the
    machine's is not ours to set."""
    faults = Faults()
    with App(program("spin"), preload=library(), env=faults.env, memprofilerate=1024, mutexprofilefraction=1) as app:
        equal(app.line(), "ready")
        # a client that says nothing is let go after 5 s by any clock
        silent = lib.socket.create_connection(app.where)
        begin = time.monotonic()
        running = windows(app)
        while any(t.is_alive() for t in running[2]):
            for years in (10, -10, 0, 30, -1):
                faults.set_clock(years * YEAR)
                time.sleep(0.02)
        check(*running, "while the clock is set")
        # and what says the time of day says that of the clock
        for years in (10, -10):
            faults.set_clock(years * YEAR)
            want = time.time() + years * YEAR
            date = email.utils.parsedate_to_datetime(app.get("").header("Date")).timestamp()
            said = Profile.parse(app.get("heap").body).time_nanos / 1e9
            assert abs(date - want) < 60 and abs(said - want) < 60, (years, date - want, said - want)
        silent.settimeout(60)
        equal(silent.recv(1), b"", "what a silent client gets")
        waited = time.monotonic() - begin
        silent.close()
        assert 4.9 < waited < 30, waited
        note(f"{faults.looks} looks at the time of day; a silent client was let go after {waited:.1f} s")
        assert faults.looks > 10, faults.looks


@parallel
@limit(120)
def test_clock_is_faked():
    """A preload whose clocks jump by years at each look, before the agent and behind it: the agent asks the kernel."""
    for order in (f"{lib.agent()} {test_library('clocks')}", f"{test_library('clocks')} {lib.agent()}"):
        with App(program("spin"), preload=order, memprofilerate=1024) as app:
            equal(app.line(), "ready")
            box = check(*windows(app), f"with {order}")
            for _, profile in box.values():
                assert not profile or abs(profile.time_nanos / 1e9 - time.time()) < 120, profile.time_nanos


@parallel
@limit(60)
def test_clock_of_a_container():
    """In a time namespace CLOCK_MONOTONIC is days ahead of the kernel's own."""
    unshare = needs("unshare")
    argv = [unshare, "--time", "--monotonic", "1000000", "--boottime", "1000000", "--fork"]
    probe = subprocess.run([*argv, "cat", "/proc/uptime"], env=lib.environment(), capture_output=True, text=True)
    if probe.returncode != 0 or float(probe.stdout.split()[0]) < 1000000:
        lib.skip(f"no time namespaces here: {probe.stderr.strip()}")
    with App(*argv, program("spin"), exe="spin") as app:
        equal(app.line(), "ready")
        check(*windows(app), "in a time namespace")
        equal(app.get("goroutine?debug=2").status, 200, "thread dump")
        # unshare itself does not end by a signal before its child has
        os.kill(int(pathlib.Path(f"/proc/{app.pid}/task/{app.pid}/children").read_text()), signal.SIGKILL)
