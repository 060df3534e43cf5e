#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""What the agent costs on locks: tests/bench/locks.c.

locks.py [ROUNDS] [PPROF_NAME=value...]   Pairs without contention are compared with libc's own functions
inside one process; the rest bare and under the agent in turns: medians, and the ratio with its
quartiles. Ratios of bare runs against each other are shown too: they are the noise.
"""
import os
import statistics
import subprocess
import sys

BUILD = os.environ.get("BUILD", "build")
PROGRAM = f"{BUILD}/tests/bench/locks"
AGENT = os.path.abspath(f"{BUILD}/libpprofagent.so")
PAIRS = ["pair", "many", "rdlock", "wrlock", "sem", "spin"]
CASES = [("contended", "2"), ("contended", "4"), ("contended", "8"), ("hold", "2"),
         ("hold", "4"), ("hold", "8"), ("pingpong",), ("readers", "2"), ("readers", "8")]


def run(case, settings):
    env = {k: v for k, v in os.environ.items() if not k.startswith(("PPROF_", "LD_"))}
    if settings is not None:
        env.update(settings, LD_PRELOAD=AGENT)
    out = subprocess.run([PROGRAM, *case], env=env, capture_output=True, check=True, text=True).stdout
    return [float(word) for word in out.split()]


def main():
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 9
    settings = {"PPROF_ADDR": "127.0.0.1:0", **dict(word.split("=", 1) for word in sys.argv[2:])}
    print(f"{'ns per pair':16} {'libc':>9} {'agent more':>11}   quartiles     no agent")
    for name in PAIRS:
        agent = run([name], settings)
        print(f"{name:16} {agent[0]:9.2f} {agent[2]:+11.2f}   {agent[1]:+.2f} {agent[3]:+.2f}   {run([name], None)[2]:+.2f}",
              flush=True)
    print(f"\n{'ns per operation':16} {'bare':>9} {'agent':>9} {'ratio':>7}   quartiles     bare/bare  | CPU: bare     agent   ratio   quartiles"
          "     bare/bare")
    for case in CASES:
        bare, again, agent = [], [], []
        for _ in range(rounds):
            bare.append(run(case, None))
            agent.append(run(case, settings))
            again.append(run(case, None))
        line = f"{' '.join(case):16}"
        for which in (0, 1):
            a, b, c = ([row[which] for row in rows] for rows in (bare, agent, again))
            ratios = [2 * y / (x + z) for x, y, z in zip(a, b, c)]
            low, middle, high = statistics.quantiles(ratios, n=4)
            noise = statistics.median(x / z for x, z in zip(a, c))
            line += (f" {statistics.median(a + c):9.2f} {statistics.median(b):9.2f} {middle:7.3f}   {low:.3f}-{high:.3f}   "
                     f"{noise:.3f}     ")
        print(line, flush=True)


main()
