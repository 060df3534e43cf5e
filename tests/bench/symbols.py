#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""symbols.py [MIB | --file PROGRAM] (0: stock programs only): what files, lines and inlined functions cost: time of the first answers with
and without them, memory of the symbolizer and of the program, for stock programs and for one with MIB
(200) of debug information, made here.
"""
import pathlib
import re
import subprocess
import sys
import time

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "integration"))
import lib  # noqa: E402


def run(*argv, **options):
    return subprocess.run([str(a) for a in argv], check=True, stdout=subprocess.PIPE, text=True, **options).stdout


def debug_bytes(path, texts=True):
    """Size of all sections of debug information. Linkers keep each text once."""
    return sum(int(size, 16) for name, size in re.findall(r"\] \.debug_(\w+) +\w+ +\w+ \w+ (\w+)", run("readelf", "-SW", path))
               if texts or not name.endswith("str"))


def big(directory, mib):
    """A program with at least so many MiB of DWARF: one unit linked again and again under new names."""
    first = directory / "work_0.o"
    run("g++", "-std=gnu++17", "-g", "-O0", "-c", "-o", first, HERE.parent / "lines/heavy.cc")
    copies = mib * 1024 * 1024 // debug_bytes(first, texts=False) + 1
    for i in range(1, copies):
        run("objcopy", f"--redefine-sym=work_0=work_{i}", first, directory / f"work_{i}.o")
    source = directory / "main.c"
    source.write_text("#include <unistd.h>\n" + "".join(f"unsigned work_{i}(unsigned);\n" for i in range(copies)) +
                      "static unsigned (*const all[])(unsigned) = {" + ",".join(f"work_{i}" for i in range(copies)) + "};\n"
                      f"int main(void) {{ alarm(600); for (unsigned x = 0;;) for (int i = 0; i < {copies}; i++) x += all[i](x); }}\n")
    run("gcc", "-g", "-c", "-o", directory / "main.o", source)
    path = directory / "big"
    run("g++", "-o", path, directory / "main.o", *(directory / f"work_{i}.o" for i in range(copies)))
    for i in range(copies):
        (directory / f"work_{i}.o").unlink()
    return path


def field(pid, name):
    found = re.search(rf"^{name}:\s+(\d+) kB", pathlib.Path(f"/proc/{pid}/status").read_text(), re.M)
    return int(found.group(1)) / 1024


def cpu_ms(pid):
    """CPU time that a process used so far."""
    stat = pathlib.Path(f"/proc/{pid}/stat").read_text()
    return sum(map(int, stat[stat.rindex(")") + 2:].split()[11:13])) * 10


def symbolizer(app):
    found = re.search(r"^symbolizer=pid (\d+)", app.get("agent").text, re.M)
    return int(found.group(1)) if found else None


def fetch(app, **query):
    """(seconds, profile) of one answer without a window: the goroutine profile has all threads' stacks, the
    heap profile all sampled allocations'."""
    start = time.monotonic()
    data = app.get("heap", **query).body
    return time.monotonic() - start, lib.decoded(data, names=query.get("symbolize") != "none")


def measure(name, app):
    # samples of a moment of work, so that there are addresses
    app.get("profile", seconds=2, symbolize="names")
    names, profile = fetch(app, symbolize="names")
    names, profile = fetch(app, symbolize="names")
    before = field(app.pid, "VmRSS")
    rows = []
    for _ in range(40):
        seconds, profile = fetch(app)
        rows.append(seconds)
        if not any("has them" in c for c in profile.comments):
            break
    pid = symbolizer(app)
    first = cpu_ms(pid) if pid else 0
    again, profile = fetch(app)
    known = sum(any(line.line for line in location.lines) for location in profile.locations)
    print(f"{name:8} {len(profile.locations):6} {known:6} {1000 * names:9.0f} {len(rows):8} {1000 * sum(rows):8.0f} {1000 * again:8.0f} "
          f"{first:12} {cpu_ms(pid) - first if pid else 0:8} {field(pid, 'VmHWM') if pid else 0:13.0f} "
          f"{field(app.pid, 'VmRSS') - before:+12.1f}", flush=True)


def main():
    if sys.argv[1:2] == ["--file"]:  # a program that is there already
        with lib.App(sys.argv[2], memprofilerate=4096) as app:
            time.sleep(2)
            measure("big", app)
        return
    mib = int(sys.argv[1]) if len(sys.argv) > 1 else 200
    directory = lib.scratch()
    print("program  places  lines  names ms  answers  till all  next ms  symbolizer CPU  next ms  its peak MiB  program MiB")
    programs = []
    socket = directory / "redis.sock"
    programs.append(("redis", ["redis-server", "--port", "0", "--unixsocket", socket, "--save", "", "--dir", directory]))
    programs.append(("python3", ["/usr/bin/python3", "-c", "import json,time\nkeep=[json.loads('[1,{\"a\":[2]}]') for _ in range(300000)]\ntime.sleep(60)"]))
    programs.append(("node", ["node", "-e", "const a=[];for(let i=0;i<3e5;i++)a.push({i:String(i)});setTimeout(()=>a,60000)"]))
    for name, argv in programs:
        with lib.App(*argv, memprofilerate=4096) as app:
            time.sleep(2)
            measure(name, app)
    if not mib:
        return
    path = big(directory, mib)
    print(f"{debug_bytes(path) / (1 << 20):.0f} MiB of debug information:")
    with lib.App(path, memprofilerate=4096) as app:
        time.sleep(2)
        measure("big", app)


if __name__ == "__main__":
    main()
    lib.stop_everything()
