# SPDX-License-Identifier: Apache-2.0
"""delta_heap, delta_block and delta_mutex: what came since the previous request, as scrapers ask for it."""
import subprocess
import sys

from lib import App, decoded, equal, parallel

PYTHON = """
import sys
kept = [bytearray(50000) for _ in range(20)]
print("ready", flush=True)
for line in sys.stdin:
    kept += [bytearray(50000) for _ in range(int(line))]
    print("done", flush=True)
"""


def sums(profile):
    return [sum(s.values[column] for s in profile.samples) for column in range(4)]


@parallel
def test_delta_heap():
    """Allocations since the last answer, at rate 1 exact; what is in use stays absolute."""
    with App(sys.executable, "-c", PYTHON, stdin=subprocess.PIPE, memprofilerate=1, env={"PYTHONMALLOC": "malloc"}) as app:
        equal(app.line(), "ready")
        first = app.get("delta_heap")
        equal(first.headers["Content-Disposition"], 'attachment; filename="heap.pprof.gz"')
        whole = sums(decoded(first.body))
        assert whole[1] >= 20 * 50000 and whole[3] >= 20 * 50000, whole
        app.say("10")
        equal(app.line(), "done")
        second = decoded(app.get("delta_heap").body)
        now = sums(app.profile("heap"))
        alloc_objects, alloc_space, inuse_objects, inuse_space = sums(second)
        assert 10 * 50000 <= alloc_space < 20 * 50000, f"{alloc_space} bytes were allocated since the first answer"
        assert alloc_objects >= 10
        equal([inuse_objects, inuse_space], now[2:], "what is in use")
        third = sums(decoded(app.get("delta_heap").body))
        equal(third[:2], [0, 0], "allocations while nothing happened")


@parallel
def test_delta_of_waits():
    with App(sys.executable, "-c", PYTHON, stdin=subprocess.PIPE, blockprofilerate=1, mutexprofilefraction=1) as app:
        equal(app.line(), "ready")
        for name in ("block", "mutex"):
            answer = app.get(f"delta_{name}")
            equal(answer.headers["Content-Disposition"], f'attachment; filename="{name}.pprof.gz"')
            equal([kind for kind, _ in decoded(answer.body).sample_types], ["contentions", "delay"])
            equal(app.profile(f"delta_{name}").samples, [], f"delta_{name} while nothing happened")
