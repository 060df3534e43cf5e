# SPDX-License-Identifier: Apache-2.0
"""What the waits of languages and libraries look like in profiles: golden_waits.txt, line by line."""
import pathlib
import re
import subprocess
import time

import lib
from lib import App, equal, limit, parallel, program
from stacks import View

GOLDEN = pathlib.Path(__file__).with_name("golden_waits.txt")
PYTHON = """
import sys, threading
def work():
    for i in range(2000000): pass
threads = [threading.Thread(target=work) for i in range(3)]
for t in threads: t.start()
for t in threads: t.join()
print("done", flush=True)
sys.stdin.readline()
"""


def golden(what):
    """{profile: [(leaf, callers)]} of one program."""
    found = {}
    for line in GOLDEN.read_text().splitlines():
        if line and not line.startswith("#"):
            name, profile, leaf, *callers = line.split()
            if name == what:
                found.setdefault(profile, []).append((leaf, callers))
    assert found, what
    return found


def matches(names, leaf, callers):
    """The callers are in the stack in this order, others may be between them."""
    rest = iter(names[1:])
    return re.fullmatch(leaf, names[0]) and all(any(re.search(c, name) for name in rest) for c in callers)


def missing(app, what):
    out = []
    for profile, lines in golden(what).items():
        stacks = [[f.name for f in s.frames] for s in View(app.profile(profile)).samples if s.values["delay"] >= 10e6]
        out += [(profile, leaf, callers, stacks) for leaf, callers in lines if not any(matches(s, leaf, callers) for s in stacks)]
    return out


def compare(app, what):
    """On a busy machine the first answer may lack lines, and with them inlined functions: then a later one has them."""
    end = time.monotonic() + 30
    while (left := missing(app, what)) and time.monotonic() < end:
        time.sleep(0.5)
    equal([line[:3] for line in left], [], f"lines without a stack; the stacks are {left[0][3] if left else ''}")


@limit(90)
@parallel
def test_names_of_cpp():
    with App(program("cpp_locks"), stdin=subprocess.PIPE, blockprofilerate=1, mutexprofilefraction=1) as app:
        equal(app.line(), "done")
        compare(app, "cpp_locks")
        threads = View(app.profile("threadcreate"))
        equal(threads.total("threadcreate"), 11)
        equal(threads.flat("threadcreate"), {"pthread_create": 11})
        equal(threads.below("waits_for_thread", "threadcreate"), 1)
        text = app.get("threadcreate", debug=1).text
        if not text.startswith("threadcreate profile: total 11\n") or "# ended 11\n" not in text:
            raise AssertionError(text)


@limit(90)
@parallel
def test_names_of_rust():
    lib.needs("rustc")
    with App(program("rust_locks"), stdin=subprocess.PIPE, blockprofilerate=1, mutexprofilefraction=1) as app:
        equal(app.line(), "done")
        compare(app, "rust_locks")
        equal(View(app.profile("mutex")).total("contentions"), 1)  # conditions and channels are nobody's fault


@limit(90)
@parallel
def test_names_of_glib():
    with App(program("glib_locks"), stdin=subprocess.PIPE, blockprofilerate=1, mutexprofilefraction=1) as app:
        if app.line() == "no glib":
            lib.skip("libglib-2.0.so.0 is not installed")
        compare(app, "glib_locks")
        # nobody else is to blame for more than moments
        blamed = [s for s in View(app.profile("mutex")).samples if s.values["delay"] >= 10e6]
        equal(len(blamed), 4, [[f.name for f in s.frames] for s in blamed])


@limit(90)
@parallel
def test_python_threads_fight_for_the_interpreter():
    with App(lib.needs("python3"), "-c", PYTHON, stdin=subprocess.PIPE, blockprofilerate=1) as app:
        equal(app.line(60), "done")
        compare(app, "python")
