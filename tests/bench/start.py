#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""What the agent adds to programs that live for a moment: 200 children of a shell.

    child   children of a profiled program, which holds the port: each finds it taken and passes through
    alone   nobody holds the port: each child becomes the profiled program and starts an agent
    empty   an empty library is preloaded: what any preload costs

Rounds are interleaved; printed are the median of the ratios to the plain run of the same round, and the
least time of each way. Usage: start.py BUILD [ROUNDS=31]
"""
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time

SHELL = ["/bin/sh", "-c", "i=0; while [ $i -lt 200 ]; do /bin/true; i=$((i+1)); done"]


def run(preload, addr):
    env = {k: v for k, v in os.environ.items() if not k.startswith(("LD_", "PPROF_"))}
    if preload:
        env.update(LD_PRELOAD=str(preload), PPROF_ADDR=addr or "off")
    begin = time.perf_counter()
    subprocess.run(SHELL, env=env, check=True)
    return time.perf_counter() - begin


def main():
    build = pathlib.Path(sys.argv[1]).resolve()
    rounds = int(sys.argv[2]) if len(sys.argv) > 2 else 31
    library = build / "libpprofagent.so"
    with tempfile.TemporaryDirectory() as directory:
        empty = pathlib.Path(directory) / "empty.so"
        subprocess.run([os.environ.get("CC", "cc"), "-shared", "-fPIC", "-x", "c", "/dev/null", "-o", empty], check=True)
        port = pathlib.Path(directory) / "port"
        holder = subprocess.Popen([build / "tests/programs/spin"], stdout=subprocess.DEVNULL, stdin=subprocess.DEVNULL,
                                  env={**os.environ, "LD_PRELOAD": str(library), "PPROF_ADDR": "127.0.0.1:0", "PPROF_PORT_FILE": str(port)})
        try:
            while not port.exists() or not port.read_text():
                time.sleep(0.01)
            os.kill(holder.pid, 19)  # it holds the port; its CPU time would only disturb
            ways = {"plain": (None, None), "empty": (empty, None), "child": (library, f"127.0.0.1:{port.read_text().strip()}"),
                    "alone": (library, "127.0.0.1:0")}
            times = {way: [] for way in ways}
            for _ in range(rounds):
                for way, (preload, addr) in ways.items():
                    times[way].append(run(preload, addr))
        finally:
            holder.kill()
            holder.wait()
    for way, taken in times.items():
        ratios = sorted(t / p for t, p in zip(taken, times["plain"]))
        print(f"{way:6s} least {min(taken) * 5:.2f} ms a child, ratio of least {min(taken) / min(times['plain']):.2f}, "
              f"median ratio {statistics.median(ratios):.2f} [{ratios[len(ratios) // 4]:.2f} .. {ratios[3 * len(ratios) // 4]:.2f}]")


main()
