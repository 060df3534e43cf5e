#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""run.py [WORD]: switches off one rule at a time and sees that the test which guards it fails.

A mutant is a file tests/mutants/NAME.txt: lines "rule: ID", "file: PATH", "test: ...", perhaps "touch: PATH" (a
file to be compiled anew when a makefile is changed), then "---", the text to look for, "+++", and the text in its
place. The text must be found exactly once: a mutant that no longer fits is an error. The tree is copied to
BUILD/mutants first. The test is one of
  WORD                 of tests/integration or tests/real
  http WORD            of tests/http
  static WORD          of tests/static
  unit WORD
  script NAME ARGS...  of scripts/
"""
import os
import pathlib
import shutil
import subprocess
import sys
import time

TOP = pathlib.Path(__file__).resolve().parents[2]
BUILD = TOP / os.environ.get("BUILD", "build")
COPY = BUILD / "mutants/tree"
PLAIN = {k: v for k, v in os.environ.items() if k not in ("BUILD", "MAKEFLAGS", "MAKELEVEL", "MFLAGS")}


def read(path):
    head, rest = path.read_text().split("---\n", 1)
    old, new = rest.split("+++\n", 1)
    fields = dict(line.split(": ", 1) for line in head.splitlines())
    return fields, old.removesuffix("\n"), new.removesuffix("\n")


def run(*argv, **env):
    return subprocess.run([str(a) for a in argv], cwd=COPY, capture_output=True, text=True, env={**PLAIN, **env}, stdin=subprocess.DEVNULL)


def make(*targets):
    done = run("make", "-s", "-j2", "WERROR=", *targets)
    if done.returncode != 0:
        raise AssertionError(f"the copy does not build:\n{done.stderr[-3000:]}")


def passes(test):
    """True when the test passes with the copy's code (and this tree's programs)."""
    kind, _, rest = test.partition(" ")
    if kind == "unit":
        make("build/tests/unit")
        done = run("build/tests/unit", rest)
    elif kind == "script":
        name, *arguments = rest.split()
        make("all")
        done = run(f"scripts/{name}", *arguments)
    elif kind == "http":
        make("build/tests/http/serve")
        done = run(sys.executable, "tests/http/run.py", "build/tests/http/serve", "-k", rest)
    elif kind == "static":
        done = run(sys.executable, "tests/integration/run.py", "tests/static", "-k", rest)
    else:
        make("all", *(["build/tests/libpprofagent-faults.so"] if "failures" in test else []))
        done = run(sys.executable, TOP / "tests/integration/run.py", "--long", *(TOP / "tests" / d for d in ("integration", "real")), "-k", test,
                   BUILD=str(BUILD), PPROF_TEST_AGENT=str(COPY / "build/libpprofagent.so"), PPROF_TEST_FAULTS=str(COPY / "build/tests/libpprofagent-faults.so"),
                   PPROF_TEST_LAUNCHER=str(COPY / "scripts/pprofagent"))
    assert ": 0 passed, 0 failed, 0 skipped" not in done.stdout, f"no test is called {test}"
    return done.returncode == 0


def copy_tree():
    shutil.rmtree(COPY, ignore_errors=True)
    COPY.mkdir(parents=True)
    files = subprocess.run(["git", "ls-files"], cwd=TOP, check=True, capture_output=True, text=True).stdout.split("\n")
    for name in filter(None, files):
        if (TOP / name).exists():
            (COPY / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(TOP / name, COPY / name)
    make("all")


def one(path):
    """Why the mutant is bad, or an empty text."""
    fields, old, new = read(path)
    file, again = COPY / fields["file"], COPY / fields.get("touch", fields["file"])
    source = file.read_text()
    if source.count(old) != 1:
        return f"its text is {source.count(old)} times in {fields['file']}"
    file.write_text(source.replace(old, new))
    os.utime(again)
    try:
        survived = passes(fields["test"])
    except AssertionError as why:
        return str(why)
    finally:
        file.write_text(source)
        os.utime(file)
        os.utime(again)
    return f"{fields['test']} passes without the rule" if survived else ""


def main():
    mutants = sorted(path for path in pathlib.Path(__file__).parent.glob("*.txt") if len(sys.argv) < 2 or any(w in path.stem for w in sys.argv[1:]))
    copy_tree()
    passed = failed = 0
    for path in mutants:
        fields, start = read(path)[0], time.monotonic()
        bad = one(path)
        took = f"({time.monotonic() - start:.0f} s)"
        print(f"not ok - {path.stem} ({fields['rule']}): {bad} {took}" if bad else f"ok - {path.stem} ({fields['rule']}): {fields['test']} fails {took}",
              flush=True)
        failed += bool(bad)
        passed += not bad
    print(f"mutants: {passed} passed, {failed} failed, 0 skipped")
    return 1 if failed or not passed else 0


sys.exit(main())
