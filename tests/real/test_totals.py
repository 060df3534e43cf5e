# SPDX-License-Identifier: Apache-2.0
"""CPU profiles of stock programs at 1000 Hz against the clock that the kernel keeps of each process."""
import os
import pathlib
import threading
import time

import lib
import stock
from lib import limit, long, note, until
from stacks import View
from test_real import redis

SECONDS = 4


def process_ns(pid):
    """The CPU clock of a process of others: clock_getcpuclockid(3)."""
    return time.clock_gettime_ns((~pid << 3) | 2)


def agent_ns(pid):
    for task in os.listdir(f"/proc/{pid}/task"):
        directory = pathlib.Path(f"/proc/{pid}/task/{task}")
        if (directory / "comm").read_text() == "pprof-agent\n":
            return int((directory / "schedstat").read_text().split()[0])
    raise AssertionError("no thread of the agent")


class Clock:
    """Looks at the program's CPU clock, less the agent's, all the time: (wall clock before the look, the
    look, wall clock behind it)."""

    def __init__(self, pid):
        self.pid, self.looks, self.on = pid, [], True
        self.thread = threading.Thread(target=self._look)

    def _look(self):
        while self.on:
            before = time.time_ns()
            cpu = process_ns(self.pid) - agent_ns(self.pid)
            self.looks.append((before, cpu, time.time_ns()))
            time.sleep(0.002)

    def __enter__(self):
        self.thread.start()
        until(lambda: self.looks, "the first look")
        return self

    def __exit__(self, *_):
        last = len(self.looks)
        until(lambda: len(self.looks) > last + 1 or not self.thread.is_alive(), "the last look")
        self.on = False
        self.thread.join()

    def between(self, start, end):
        """The least and the most that the program can have used between two times."""
        outer = max(c for _, c, behind in self.looks if behind <= start), min(c for before, c, _ in self.looks if before >= end)
        inner = min(c for before, c, _ in self.looks if before >= start), max(c for _, c, behind in self.looks if behind <= end)
        return inner[1] - inner[0], outer[1] - outer[0]


def totals(app, what):
    """What the program used within the profile's window, as far as looks at its clock around both edges tell.
    Beyond that may differ: 4 standard errors of the first expiries of as many threads as there are (a quarter of a
    period squared each), and 0.5 %."""
    until(lambda: View(app.profile(seconds=1)).total("samples") > 5, "the load works", 90)
    threads = len(os.listdir(f"/proc/{app.pid}/task")) - 1
    with Clock(app.pid) as clock:
        profile = app.profile(seconds=SECONDS, hz=1000)
    said = View(profile).total("cpu")
    least, most = clock.between(profile.time_nanos, profile.time_nanos + profile.duration_nanos)
    slack = max(0.005 * most, 4 * 0.5e6 * threads ** 0.5)
    note(f"{what}: process {least / 1e6:.1f} to {most / 1e6:.1f} ms, profile {said / 1e6:.1f} ms "
         f"({100 * (2 * said / (least + most) - 1):+.2f} %), {threads} threads, allowed {slack / 1e6:.1f} ms beyond")
    assert most > 0.1e9, f"{what} used {most / 1e6:.0f} ms only"
    assert least - slack <= said <= most + slack, f"{what}: the process used {least} to {most} ns, the profile says {said} ns"


@long
@limit(180)
def test_totals_of_redis():
    app, path = redis()
    with app:
        lib.background(["redis-benchmark", "-s", path, "-l", "-q", "-c", "10", "-P", "16", "-n", "100000", "-t", "lrange_300"])
        totals(app, "redis")


@limit(180)
def test_totals_of_php():
    with stock.php() as app:
        totals(app, "php")


@long
@limit(180)
def test_totals_of_nginx():
    with stock.nginx() as app:
        totals(app, "nginx")


@long
@limit(180)
def test_totals_of_node():
    with stock.node() as app:
        totals(app, "node")


@long
@limit(180)
def test_totals_of_java():
    with stock.java() as app:
        totals(app, "java")
