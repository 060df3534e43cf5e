#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""What sampling the heap costs, each on the allocator that it is made for: peers.py [ROUNDS]

The agent at its defaults over libc's malloc; jemalloc with its profiler (a sample in 512 KiB) over jemalloc without;
tcmalloc with sampling (the same) over tcmalloc without. All six run at the same time on the same core, with a second
plain one for the noise: own CPU time, medians over the rounds with their quartiles. Peers that are not installed are
left out.
"""
import pathlib
import sys

import real

LIBRARIES = pathlib.Path("/usr/lib/x86_64-linux-gnu")
JEMALLOC, TCMALLOC = LIBRARIES / "libjemalloc.so.2", LIBRARIES / "libtcmalloc.so.4"
PROGRAMS = [
    ("C++, maps of strings", [f"{real.WORK}/churn_cc", "20"], "", {}),
    ("Rust, maps of strings", [f"{real.WORK}/churn_rs", "20"], "", {}),
    ("python3, JSON, malloc", ["/usr/bin/python3", "-c", real.JSON], "", {"PYTHONMALLOC": "malloc"}),
    ("sqlite3", ["sqlite3", ":memory:"], real.SQL, {}),
]


def main():
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 9
    pairs = [("agent", {}, None)]
    if JEMALLOC.exists():
        pairs.append(("jemalloc prof", {"LD_PRELOAD": str(JEMALLOC)}, {"MALLOC_CONF": "prof:true,lg_prof_sample:19"}))
    if TCMALLOC.exists():
        pairs.append(("tcmalloc sampled", {"LD_PRELOAD": str(TCMALLOC)}, {"TCMALLOC_SAMPLE_PARAMETER": "524288"}))
    print(f"{'CPU time with / without':28}" + "".join(f"{name:>26}" for name, *_ in pairs) + f"{'plain / plain':>26}")
    for name, argv, text, extra in PROGRAMS:
        commands = [(argv, real.environment("plain", extra))]
        for _, base, sampled in pairs:
            plain = {**real.environment("plain", extra), **base}
            commands += [(argv, plain), (argv, {**plain, **sampled} if sampled else real.environment("agent", extra))]
        columns = [[] for _ in range(len(pairs) + 1)]
        for _ in range(rounds):
            noise, *cpu = real.together(commands, text)
            for column, without, with_it in zip(columns, cpu[::2], cpu[1::2]):
                column.append(with_it / without)
            columns[-1].append(noise / cpu[0])
        real.print_row(name, columns)


if __name__ == "__main__":
    main()
