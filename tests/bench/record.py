#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""What it costs to record every allocation, against heaptrack: record.py [ROUNDS]

PPROF_MEMPROFILERATE=1 on programs that do little but allocate. Run at the same time on the same core: the program alone,
under the agent, under heaptrack (with its interpreter, without which there are no stacks and no live blocks), under
heaptrack's recorder alone, and alone again. Per program: CPU time that each adds, over what heaptrack adds: medians
over the rounds with their quartiles.
"""
import os
import pathlib
import shutil
import statistics
import sys
import tempfile

import real

RECORDER = pathlib.Path("/usr/lib/heaptrack/libheaptrack_preload.so")
JSON = real.JSON.replace("range(200)", "range(40)")
SQL = real.SQL.replace("600000", "200000")
PROGRAMS = [
    ("C++, maps of strings", [f"{real.WORK}/churn_cc", "10"], "", {}),
    ("Rust, maps of strings", [f"{real.WORK}/churn_rs", "10"], "", {}),
    ("python3, JSON, malloc", ["/usr/bin/python3", "-c", JSON], "", {"PYTHONMALLOC": "malloc"}),
    ("sqlite3", ["sqlite3", ":memory:"], SQL, {}),
]


def added(argv, text, extra, directory):
    """CPU seconds that the agent, heaptrack and its recorder add."""
    plain = real.environment("plain", extra)
    agent = real.environment("agent", {**extra, "PPROF_MEMPROFILERATE": "1"})
    recorder = {**plain, "LD_PRELOAD": str(RECORDER), "DUMP_HEAPTRACK_OUTPUT": f"{directory}/alone"}
    first, *others, second = real.together([
        (argv, plain), (argv, agent), (["heaptrack", "-o", f"{directory}/whole", *argv], plain), (argv, recorder), (argv, plain)], text)
    return [cpu - (first + second) / 2 for cpu in others]


def main():
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 9
    if not shutil.which("heaptrack") or not RECORDER.exists():
        sys.exit("heaptrack is not installed")
    print(f"{'added CPU time / heaptrack:':28}{'agent':>26}{'its recorder alone':>26}{'heaptrack, seconds':>20}")
    for name, argv, text, extra in PROGRAMS:
        rows = []
        for _ in range(rounds):
            with tempfile.TemporaryDirectory() as directory:
                rows.append(added(argv, text, extra, directory))
        row = f"{name:28}"
        for k in (0, 2):
            low, middle, high = statistics.quantiles([r[k] / r[1] for r in rows], n=4)
            row += f"  {middle:.3f} [{low:.3f} .. {high:.3f}]"
        print(row + f"{statistics.median(r[1] for r in rows):20.2f}", flush=True)


if __name__ == "__main__":
    main()
