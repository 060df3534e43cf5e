#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""How long a newcomer waits for the first flame graph: a fresh clone, what is missing installed, make, a program
started under the launcher, five seconds of its CPU time drawn by a real browser (chromium, where there is one; else
the same bytes fetched). Prints a table of the steps.

With --root the clone, the installation, make and the program are in that root directory, which can be an empty Debian
(debootstrap --variant=minbase bookworm DIRECTORY; as root): then it is a machine on which nothing is installed. The
browser stays outside.

Usage: first_graph.py [--root DIRECTORY] [program arguments...]      default: a busy perl, which every Debian has
"""
import os
import pathlib
import re
import resource
import subprocess
import sys
import tempfile
import time

TOP = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(TOP / "tests/integration"))
os.environ.setdefault("BUILD", str(TOP / "build"))
BUSY = ["/usr/bin/perl", "-e", "sub busy { my $sum = 0; $sum += $_ * $_ for 1 .. 10000 } busy() while 1"]
rows = []
root = pathlib.Path("/")


def processor():
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def step(what, action):
    begin, used = time.monotonic(), processor()
    result = action()
    rows.append((what, time.monotonic() - begin, processor() - used))
    return result


def inside(path):
    """Its name for who has the root directory as his own."""
    return "/" + str(path.relative_to(root))


def enter(argv, cwd):
    """The command line that runs argv in cwd, within the root directory."""
    argv = [inside(a) if isinstance(a, pathlib.Path) else a for a in argv]
    if root == pathlib.Path("/"):
        return ["env", "-C", inside(cwd), *argv]
    return ["chroot", root, "env", "-C", inside(cwd), *argv]


def run(*argv, cwd):
    done = subprocess.run(enter(argv, cwd), stdin=subprocess.DEVNULL, capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"{' '.join(map(str, argv))} failed:\n{done.stdout[-2000:]}{done.stderr[-2000:]}")


def start(clone, argv):
    """The program, and the address that the launcher's line tells."""
    process = subprocess.Popen(enter([clone / "scripts/pprofagent", "--port", "auto", *argv], clone),
                               stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    for line in process.stderr:
        found = re.search(r"listening on (http://\S+)", line)
        if found:
            return process, found.group(1)
    sys.exit("the program ended before it listened")


def draw(address):
    import shutil
    import urllib.request
    if not shutil.which("chromium"):
        urllib.request.urlopen(address + "profile?seconds=5").read()
        return "fetched: there is no chromium to draw it"
    from browser import Browser
    browser = Browser()
    browser.open(address + "ui/profile?seconds=5")
    browser.until("page.profile !== null && page.abort === null && page.elements.size > 3", "a flame graph", 60)
    return "drawn by chromium"


def main():
    global root
    argv = sys.argv[1:]
    if argv[:1] == ["--root"]:
        root = pathlib.Path(argv[1]).resolve()
        argv = argv[2:]
    argv = argv or BUSY
    with tempfile.TemporaryDirectory(dir=root / "tmp") as directory:
        clone = pathlib.Path(directory) / "clone"
        step("git clone", lambda: subprocess.run(["git", "clone", "-q", TOP, clone], check=True))
        step("scripts/install-deps --build", lambda: run("scripts/install-deps", "--build", cwd=clone))
        step("make", lambda: run("make", f"-j{os.cpu_count()}", f"BUILD={inside(clone)}/build", cwd=clone))
        process, address = step("scripts/pprofagent ./program: it listens", lambda: start(clone, argv))
        try:
            how = step("five seconds of CPU time as a flame graph", lambda: draw(address))
        finally:
            process.kill()
            process.wait()
    print("| step | seconds | of processor time |\n| --- | --- | --- |")
    for what, seconds, used in rows:
        print(f"| {what} | {seconds:.1f} | {used:.1f} |")
    print(f"| all ({how}) | {sum(row[1] for row in rows):.1f} | |")


if __name__ == "__main__":
    try:
        main()
    finally:
        if "lib" in sys.modules:
            sys.modules["lib"].stop_everything()
