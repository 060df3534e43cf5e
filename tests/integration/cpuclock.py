# SPDX-License-Identifier: Apache-2.0
"""CPU profiles against the clock that the kernel keeps of a process, looked at from outside all the time."""
import os
import pathlib
import threading
import time

from lib import until


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
    """Looks at the program's CPU clock, less the agent's: (wall clock before the look, the look, wall clock behind it)."""

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


def check(clock, profile, said, threads, what):
    """What the program used within the profile's window, as far as looks at its clock around both edges tell. Beyond that may
    differ: 4 standard errors of the first expiries of as many threads as there are (half a period each), and 0.5 %.
    Returns (least, most, allowed beyond)."""
    least, most = clock.between(profile.time_nanos, profile.time_nanos + profile.duration_nanos)
    slack = max(0.005 * most, 4 * profile.period / 2 * threads ** 0.5)
    assert least - slack <= said <= most + slack, f"{what}: the process used {least} to {most} ns, the profile says {said} ns, allowed {slack:.0f}"
    return least, most, slack
