# SPDX-License-Identifier: Apache-2.0
"""CPU profiles against the clock that the kernel keeps of a process, looked at from outside all the time."""
import threading
import time

from lib import agent_task, until


def process_ns(pid):
    """The CPU clock of a process of others: clock_getcpuclockid(3)."""
    return time.clock_gettime_ns((~pid << 3) | 2)


TICK_NS = int(time.clock_getres(5) * 1e9)  # CLOCK_REALTIME_COARSE advances by the kernel's tick


class Clock:
    """Looks at the program's CPU clock, less the agent's, all the time: (wall clock before the look, the least and the most that
    it can have been, wall clock behind it). What the kernel says of a thread that runs is up to a tick old."""

    def __init__(self, pid):
        self.pid, self.looks, self.on = pid, [], True
        self.agent = agent_task(pid)
        self.thread = threading.Thread(target=self._look)

    def _agent(self):
        """(its CPU time, whether it stood still)"""
        state = (self.agent / "stat").read_text().rsplit(") ", 1)[1][0]
        return int((self.agent / "schedstat").read_text().split()[0]), state != "R"

    def _look(self):
        while self.on:
            before = time.time_ns()
            first = self._agent()
            process = process_ns(self.pid)
            second = self._agent()
            still = first == second and first[1]
            self.looks.append((before, process - second[0] - (0 if still else TICK_NS), process - first[0], time.time_ns()))
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
        most = (min(high for before, _, high, _ in self.looks if before >= end) -
                max(low for _, low, _, behind in self.looks if behind <= start))
        least = (max(low for _, low, _, behind in self.looks if behind <= end) -
                 min(high for before, _, high, _ in self.looks if before >= start))
        return least, most


def check(clock, profile, said, threads, what):
    """What the program used within the profile's window, as far as looks at its clock around both edges tell. Beyond that may
    differ: 4 standard errors of the first expiries of as many threads as there are (half a period each), and 0.5 %.
    Returns (least, most, allowed beyond)."""
    least, most = clock.between(profile.time_nanos, profile.time_nanos + profile.duration_nanos)
    slack = max(0.005 * most, 4 * profile.period / 2 * threads ** 0.5)
    assert least - slack <= said <= most + slack, f"{what}: the process used {least} to {most} ns, the profile says {said} ns, allowed {slack:.0f}"
    return least, most, slack
