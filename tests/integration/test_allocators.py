# SPDX-License-Identifier: Apache-2.0
"""Programs with an allocator that is not libc's: preloaded behind the agent or before it, or linked. At rate 1 a heap profile is
exact, or it says that it cannot see the heap and why; and the program's output is what it is without the agent."""
import re
import subprocess

import lib
from lib import App, equal, limit, parallel
from stacks import View
from test_heap import ALLOC_N, KINDS, LIVE_B, PYTHON, SITES, SQL, by_site, command, heap, known

ALLOCATORS = ["libjemalloc.so.2", "libtcmalloc_minimal.so.4", "libmimalloc.so.2"]


def allocators():
    listed = subprocess.run(["/sbin/ldconfig", "-p"], capture_output=True, text=True).stdout
    found = [m[1] for m in (re.search(rf"{re.escape(name)} .*=> (\S+)", listed) for name in ALLOCATORS) if m]
    return found or lib.skip("none of these is installed: " + " ".join(ALLOCATORS))


def exact(app, truth, what):
    with app:
        view = heap(app)
        for kind in KINDS:
            equal(by_site(view, kind), {s: truth[s][kind] for s in SITES}, f"{what}: {kind}")
        command(app, "free", "freed")
        equal(by_site(heap(app), LIVE_B), dict.fromkeys(SITES, 0), what)


@parallel
@limit(90)
def test_allocator_behind_the_agent_is_seen():
    for library in allocators():
        exact(*known(2, 100, 1, preload=f"{lib.agent()} {library}", max_mem=128 << 20), library)


@parallel
@limit(90)
def test_allocator_that_is_linked_is_seen():
    source = lib.TOP / "tests/programs/heap_sites.c"
    for library in allocators():
        program = lib.scratch() / "linked"
        subprocess.run([lib.needs("cc"), "-D_GNU_SOURCE", "-fno-builtin", "-O1", "-g", "-o", program, source, library,
                        "-lpthread"], check=True)
        exact(*known(2, 100, 1, binary=program, max_mem=128 << 20), f"linked with {library}")


@parallel
@limit(90)
def test_allocator_before_the_agent_is_said():
    for library in allocators():
        app, _ = known(2, 100, 1, preload=f"{library} {lib.agent()}")
        with app:
            profile = app.profile("heap")
            equal(sum(by_site(View(profile), ALLOC_N).values()), 0, f"{library}: nothing can be seen")
            said = "this program's malloc is that of "
            name = library.rsplit("/", 1)[1].split(".")[0]
            assert any(said in c and name in c for c in profile.comments), profile.comments
            assert said in app.get("heap", debug=1).text


@parallel
@limit(120)
def test_programs_do_not_notice():
    commands = [([lib.needs("python3"), "-c", PYTHON], None, {"PYTHONMALLOC": "malloc"}),
                ([lib.needs("sqlite3"), ":memory:"], SQL.encode(), {})]
    for argv, stdin, env in commands:
        for library in allocators():
            for preload in (library, f"{lib.agent()} {library}", f"{library} {lib.agent()}"):
                done = subprocess.run(argv, env=lib.environment(env, preload, addr="127.0.0.1:0", memprofilerate=64), input=stdin,
                                      capture_output=True, timeout=60)
                said = (done.returncode, done.stdout, done.stderr)
                if preload == library:
                    alone = said
                equal(said, alone, f"{argv[0]} with {preload}")
        assert alone[0] == 0 and alone[1], alone
