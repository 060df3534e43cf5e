#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""run.py [WORD]: switches off one rule at a time and sees that the test which guards it fails.

A mutant is a file tests/mutants/NAME.txt: lines "rule: ID", "file: PATH", "test: WORD" (a test of
tests/integration), then "---", the text to look for, "+++", and the text in its place. The text must be
found exactly once: a mutant that no longer fits is an error. The tree is copied to BUILD/mutants first.
"""
import os
import pathlib
import shutil
import subprocess
import sys

TOP = pathlib.Path(__file__).resolve().parents[2]
BUILD = TOP / os.environ.get("BUILD", "build")
COPY = BUILD / "mutants/tree"


def read(path):
    head, rest = path.read_text().split("---\n", 1)
    old, new = rest.split("+++\n", 1)
    fields = dict(line.split(": ", 1) for line in head.splitlines())
    return fields["rule"], COPY / fields["file"], fields["test"], old.removesuffix("\n"), new.removesuffix("\n")


def make():
    done = subprocess.run(["make", "-s", "-j2", "all", "WERROR="], cwd=COPY, capture_output=True, text=True,
                          env={k: v for k, v in os.environ.items() if k not in ("BUILD", "MAKEFLAGS", "MAKELEVEL")})
    if done.returncode != 0:
        sys.exit(f"mutants: the copy does not build:\n{done.stderr[-3000:]}")


def test(word):
    """True when all tests of that word pass, with the copy's library and this tree's programs."""
    env = {**os.environ, "BUILD": str(BUILD), "PPROF_TEST_AGENT": str(COPY / "build/libpprofagent.so")}
    done = subprocess.run([sys.executable, str(TOP / "tests/integration/run.py"), str(TOP / "tests/integration"), "-k", word],
                          env=env, capture_output=True, text=True)
    if "0 passed, 0 failed" in done.stdout:
        sys.exit(f"mutants: no test is called {word}")
    return done.returncode == 0


def main():
    mutants = sorted(path for path in pathlib.Path(__file__).parent.glob("*.txt") if len(sys.argv) < 2 or sys.argv[1] in path.stem)
    shutil.rmtree(COPY, ignore_errors=True)
    COPY.mkdir(parents=True)
    files = subprocess.run(["git", "ls-files"], cwd=TOP, check=True, capture_output=True, text=True).stdout.split("\n")
    for name in filter(None, files):
        (COPY / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(TOP / name, COPY / name)
    make()
    passed = failed = 0
    for path in mutants:
        rule, file, word, old, new = read(path)
        source = file.read_text()
        if source.count(old) != 1:
            result = f"its text is {source.count(old)} times in {file.relative_to(COPY)}"
        else:
            file.write_text(source.replace(old, new))
            make()
            result = f"{word} passes without the rule" if test(word) else ""
            file.write_text(source)
            os.utime(file)
        print(f"not ok - {path.stem} ({rule}): {result}" if result else f"ok - {path.stem} ({rule}): {word} fails", flush=True)
        failed += bool(result)
        passed += not result
    print(f"mutants: {passed} passed, {failed} failed, 0 skipped")
    return 1 if failed or not passed else 0


sys.exit(main())
