#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""What the agent costs on locks: tests/bench/locks.c, which calls libc's own functions and the hooks in turns.

locks.py [ROUNDS] [PPROF_NAME=value...]   300 rounds unless given. Threads that want the same are compared twice: by
operations per second (1 is as fast as libc, less is slower) and by CPU time per operation (more is worse). Medians
over the rounds with their standard errors and quartiles; "itself" is the same of turns of one kind against each
other: the noise.
"""
import os
import subprocess
import sys

BUILD = os.environ.get("BUILD", "build")
PROGRAM = f"{BUILD}/tests/bench/locks"
AGENT = os.path.abspath(f"{BUILD}/libpprofagent.so")
PAIRS = ["pair", "many", "busy", "rdlock", "wrlock", "sem", "spin"]
CASES = ["contended 2", "contended 4", "contended 8", "hold 2", "hold 4", "hold 8", "pingpong 2", "readers 2", "readers 8"]


def run(case, settings):
    env = {k: v for k, v in os.environ.items() if not k.startswith(("PPROF_", "LD_"))}
    if settings is not None:
        env.update(settings, LD_PRELOAD=AGENT)
    out = subprocess.run([PROGRAM, *case], env=env, capture_output=True, check=True, text=True).stdout
    return [[float(word) for word in line.split()] for line in out.splitlines()]


def median(low, middle, high, rounds):
    """With its standard error, were the noise a normal one: 1.25 sigma / sqrt(n), the quartiles being 1.35 sigma apart."""
    error = 1.2533 * (high - low) / 1.349 / rounds ** 0.5
    return f"{middle:6.3f} +- {error:.3f} [{low:.2f} .. {high:.2f}]"


def main():
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 300
    settings = {"PPROF_ADDR": "127.0.0.1:0", **dict(word.split("=", 1) for word in sys.argv[2:])}
    print(f"{'ns per pair':16} {'libc':>9} {'agent more':>11}   quartiles     no agent")
    for name in PAIRS:
        agent, = run([name], settings)
        print(f"{name:16} {agent[0]:9.2f} {agent[2]:+11.2f}   {agent[1]:+.2f} {agent[3]:+.2f}   {run([name], None)[0][2]:+.2f}",
              flush=True)
    wide = 31
    print(f"\n{'':14} {'ns by libc':>10}   {'operations per second':{wide}} {'itself':{wide}} {'CPU ns':>8}   {'CPU time':{wide}} {'itself':{wide}}")
    for case in CASES:
        line = f"{case:14}"
        for bare, *ratios in run([*case.split(), str(rounds)], settings):
            line += f" {bare:10.1f}   {median(*ratios[:3], rounds):{wide}} {median(*ratios[3:], rounds):{wide}}"
        print(line, flush=True)


main()
