#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""run.py [--name SUITE] [--long] [--jobs N] [--list] PLACE... [-k WORD]...

Runs every function test_* of every test_*.py (or the files given) in a process of its own, with a
time limit, and prints one TAP-like line for each, the output of those that failed, the list of those
that were skipped, and the line "SUITE: N passed, N failed, N skipped". Exit status 1 when one failed
or none ran.

Marks come from lib.py: @parallel (--jobs of them run at a time, two for each core: they wait half the time),
@waits (needs hardly any CPU: as many again run beside those), @long (only with --long), @limit(seconds) (default 120). Tests without
the first two run one by one, behind the others. A test skips itself with lib.skip("why").

Each test has a TMPDIR of its own, which goes with it.
"""
import argparse
import ast
import concurrent.futures
import contextlib
import ctypes
import importlib.util
import os
import pathlib
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
import traceback

# Orphans of a test become children of its process, and of this runner when that is gone: whatever a
# test started, in whatever session it hides, is found and killed behind it.
PR_SET_CHILD_SUBREAPER = 36
HERE = pathlib.Path(__file__).resolve().parent
SKIPPED = 77
LIMIT = 120
CPU = "cpu seconds: "


class Test:
    def __init__(self, path, node):
        self.path = path
        self.name = node.name
        self.parallel = self.waits = self.long = False
        self.limit = LIMIT
        for mark in node.decorator_list:
            call = mark if isinstance(mark, ast.Call) else None
            target = call.func if call else mark
            word = target.attr if isinstance(target, ast.Attribute) else getattr(target, "id", "")
            if word in ("parallel", "waits", "long"):
                setattr(self, word, True)
            elif word == "limit":
                self.limit = float(ast.literal_eval(call.args[0]))

    @property
    def title(self):
        return f"{self.path.stem}.{self.name}"


def discover(places):
    """The tests of all places in the order of the files; read, not imported."""
    files = []
    for place in map(pathlib.Path, places):
        if place.is_file():
            files.append(place)
        elif place.is_dir():
            files += sorted(place.glob("test_*.py"))
        else:
            sys.exit(f"run.py: {place} does not exist")
    tests = []
    for path in files:
        for node in ast.parse(path.read_text(), str(path)).body:
            if isinstance(node, ast.FunctionDef) and node.name.startswith("test_"):
                tests.append(Test(path, node))
    return tests


def adopt_orphans():
    ctypes.CDLL(None, use_errno=True).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def children_of(pid):
    found = []
    try:
        for task in os.listdir(f"/proc/{pid}/task"):
            with open(f"/proc/{pid}/task/{task}/children", encoding="ascii") as file:
                found += [int(word) for word in file.read().split()]
    except OSError:
        pass
    return found


def kill_tree(pid):
    """Kills a process and what descends from it, the ancestors first: they make no new ones then."""
    try:
        os.kill(pid, signal.SIGSTOP)
    except OSError:
        return
    below = children_of(pid)
    for child in below:
        kill_tree(child)
    try:
        os.kill(pid, signal.SIGKILL)
    except OSError:
        pass


def kill_children(spare=()):
    """Kills all descendants of this process but those in `spare`, and reaps them. How many there were."""
    killed = 0
    for _ in range(100):
        left = [pid for pid in children_of("self") if pid not in spare]
        if not left:
            break
        for pid in left:
            kill_tree(pid)
            try:
                os.waitpid(pid, 0)
            except ChildProcessError:
                pass
            killed += 1
    return killed


def usual_signals():
    """A shell's job in the background, or nohup, ignores some; what we start would inherit that."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    for number in (signal.SIGHUP, signal.SIGQUIT, signal.SIGTERM):
        signal.signal(number, signal.SIG_DFL)


def cpu_seconds():
    """Of this process and of those below it that are gone."""
    spent = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(s.ru_utime + s.ru_stime for s in spent)


def run_here(path, name):
    """The child's side: imports the file, calls the function, says by its exit status how it went, and in its last
    line what it cost."""
    adopt_orphans()
    usual_signals()
    sys.path[:0] = [str(HERE), str(pathlib.Path(path).resolve().parent)]
    spec = importlib.util.spec_from_file_location(pathlib.Path(path).stem, path)
    module = importlib.util.module_from_spec(spec)
    status = 1
    try:
        spec.loader.exec_module(module)
        getattr(module, name)()
        status = 0
    except SystemExit as left:
        status = left.code if isinstance(left.code, int) else 1
        if status == 0:
            print("the test called exit(0)")
            status = 1
    except BaseException:
        traceback.print_exc()
    finally:
        try:
            import lib
            lib.stop_everything()
        except BaseException:
            traceback.print_exc()
            status = 1
        kill_children()
    print(f"{CPU}{cpu_seconds():.1f}")
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)


running = set()  # processes of the tests that run now
family = threading.Lock()  # between the birth of a test and its entry there no orphans are looked for


@contextlib.contextmanager
def own_directory():
    """Where a test and what it starts put their files: browsers and killed programs leave some behind. Other
    users may enter it, as they may enter /tmp."""
    path = tempfile.mkdtemp(prefix="pprof-")
    os.chmod(path, 0o755)
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)


def run_apart(test):
    """(status, output, seconds) of one test in a session of its own, killed as a whole at its limit."""
    begin = time.monotonic()
    with tempfile.TemporaryFile() as out, own_directory() as directory:
        with family:
            child = subprocess.Popen([sys.executable, str(HERE / "run.py"), "--one", str(test.path), test.name],
                                     stdin=subprocess.DEVNULL, stdout=out, stderr=subprocess.STDOUT,
                                     env={**os.environ, "TMPDIR": directory}, start_new_session=True)
            running.add(child.pid)
        try:
            status = child.wait(test.limit)
        except subprocess.TimeoutExpired:
            os.killpg(child.pid, signal.SIGTERM)  # lib.py stops what it started, then dies
            try:
                child.wait(10)
            except subprocess.TimeoutExpired:
                os.killpg(child.pid, signal.SIGKILL)
                child.wait()
            status = "time"
        with family:
            running.discard(child.pid)
            kill_children(spare=running)
        out.seek(0)
        text = out.read().decode(errors="replace")
    return status, text, time.monotonic() - begin


class Report:
    def __init__(self, name):
        self.name = name
        self.passed = self.failed = 0
        self.skipped = []
        self.lost = []

    def add(self, test, status, text, seconds):
        text, _, cpu = text.rpartition(CPU) if CPU in text else (text, "", "? ")
        took = f"{seconds:.1f} s, {cpu.strip()} s of CPU"
        if status == 0:
            self.passed += 1
            print(f"ok - {test.title} ({took})", flush=True)
            notes = [line for line in text.splitlines() if line.startswith("# ")]
        elif status == SKIPPED:
            why = text.strip().splitlines()[-1] if text.strip() else "no reason given"
            self.skipped.append((test.title, why))
            print(f"ok - {test.title} # SKIP {why}", flush=True)
            return
        else:
            self.failed += 1
            self.lost.append(test.title)
            how = f"took more than {test.limit:.0f} s" if status == "time" else f"exit status {status}"
            print(f"not ok - {test.title} ({how}, {took})", flush=True)
            notes = ["  " + line for line in text.splitlines()]
        for line in notes:
            print(line, flush=True)

    def end(self):
        for title, why in self.skipped:
            print(f"skipped: {title}: {why}")
        for title in self.lost:
            print(f"failed: {title}")
        print(f"{self.name}: {self.passed} passed, {self.failed} failed, {len(self.skipped)} skipped", flush=True)
        return 1 if self.failed or self.passed + len(self.skipped) == 0 else 0


def main():
    if len(sys.argv) == 4 and sys.argv[1] == "--one":
        run_here(sys.argv[2], sys.argv[3])
    parser = argparse.ArgumentParser()
    parser.add_argument("--name", default="tests")
    parser.add_argument("--long", action="store_true")
    parser.add_argument("--jobs", type=int, default=2 * min(4, os.cpu_count()))
    parser.add_argument("--list", action="store_true")
    parser.add_argument("-k", action="append", default=[], metavar="WORD")
    parser.add_argument("places", nargs="+")
    args = parser.parse_args()
    tests = [t for t in discover(args.places)
             if (args.long or not t.long) and (not args.k or any(k in t.title for k in args.k))]
    if args.list:
        for test in tests:
            print(test.title, f"{test.limit:.0f} s", *(mark for mark in ("parallel", "waits", "long") if getattr(test, mark)))
        return 0
    adopt_orphans()
    report = Report(args.name)
    jobs = max(1, args.jobs)
    with concurrent.futures.ThreadPoolExecutor(jobs) as cores, concurrent.futures.ThreadPoolExecutor(jobs) as others:
        beside = {(others if t.waits else cores).submit(run_apart, t): t for t in tests if t.waits or t.parallel}
        for done in concurrent.futures.as_completed(beside):
            report.add(beside[done], *done.result())
    for test in tests:
        if not test.parallel and not test.waits:
            report.add(test, *run_apart(test))
    return report.end()


if __name__ == "__main__":
    sys.exit(main())
