# SPDX-License-Identifier: Apache-2.0
"""Hazard B3: signal handlers that allocate, or that leave by siglongjmp, in the middle of hooks. Nothing hangs, and what is
recorded afterwards is what it is in any program."""
import re
import subprocess
import threading

import lib
from lib import App, agent, equal, limit, note, parallel, program, until
from stacks import View
from test_odd_lives import library


def counters(app):
    return {m[1]: int(m[2]) for m in re.finditer(r"^(\w+) +(\d+)  ", app.get("agent").text, re.M)}


class Storms:
    """Storms of signals under all profiles and a trace, each as long as the program likes."""

    def __init__(self, kind, preload=None):
        self.app = App(program("reentry"), kind, "1", preload=preload, stdin=subprocess.PIPE, memprofilerate=1, mutexprofilefraction=1,
                       blockprofilerate=1, max_mem=256 << 20)
        equal(self.app.line(), "ready")

    def one(self):
        """(signals, allocations or jumps) so far."""
        asked = [threading.Thread(target=self.app.get, args=(name,)) for name in ("profile?seconds=1", "trace?seconds=1", "heap")]
        for t in asked:
            t.start()
        self.app.say("")
        word, *numbers = self.app.line(60).split()
        equal(word, "done")
        for t in asked:
            t.join(60)
        return list(map(int, numbers))

    def works_afterwards(self, what):
        """The program's own function is in all profiles, and the agent's own code is not."""
        view = View(self.app.profile(seconds=1))
        while view.total("samples") < 50:
            view.samples += View(self.app.profile(seconds=1)).samples
        share = view.below("reentry_after", "samples") / view.total("samples")
        note(f"{what}: {100 * share:.1f} % of {view.total('samples')} samples in the function that runs")
        assert share > 0.8, view.flat("samples").most_common(5)
        recorded = lambda: View(self.app.profile("heap")).below("reentry_after", "alloc_objects")
        before = until(recorded, f"{what}: allocations are recorded")
        until(lambda: recorded() > before, f"{what}: more allocations are recorded than {before}", 30, 0.1)

    def ends(self):
        self.app.process.stdin.close()
        self.app.process.stdin = None
        equal(self.app.finish()[:1], (0,), "end")


@parallel
@limit(120)
def test_handlers_that_allocate():
    storms = Storms("alloc", f"{agent()} {library('bump')}")
    signals, allocated = storms.one()
    seen = counters(storms.app)
    recorded = View(storms.app.profile("heap")).below("in_handler", "alloc_objects")
    note(f"{allocated} allocations in {signals} signals: {recorded} recorded, {seen['heap_samples_busy']} counted as missing")
    assert allocated > 100 and recorded > 0, (allocated, recorded)
    # one that comes between a countdown and its setting anew is neither
    assert recorded + seen["heap_samples_busy"] <= allocated, seen
    equal(seen["agent_code_left"], 0, "guards taken for left")
    storms.works_afterwards("handlers that allocate")
    storms.ends()


@parallel
@limit(120)
def test_handlers_that_jump():
    """Out of calls that POSIX lets a handler leave. The agent's own code is left too, again and again."""
    storms = Storms("jump")
    for n in range(20):
        signals, jumps = storms.one()
        left = counters(storms.app)["agent_code_left"]
        if left >= 10:
            break
    note(f"{jumps} jumps, {left} of them out of the agent's code")
    assert left >= 10, f"{jumps} jumps in {signals} signals, {left} out of the agent's code"
    storms.works_afterwards("handlers that jump")
    storms.ends()
