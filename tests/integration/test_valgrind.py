# SPDX-License-Identifier: Apache-2.0
"""Programs of the distribution under valgrind's memcheck with the agent in them, and asked for everything: it has nothing to
complain about. (memcheck's own allocator stands before the agent's hooks: these see threads and locks, not blocks.)"""
import pathlib
import subprocess

from lib import App, BUILD, equal, limit, long, needs, note, scratch

PAGES = ("", "agent", "heap", "allocs?debug=1", "goroutine?debug=2", "threadcreate", "mutex", "block?debug=1", "cmdline", "profile?seconds=1", "wall?seconds=1",
         "trace?seconds=1", "goroutine", "symbol?0x1000")
PERL = 'my %h; sub work { $h{$_ % 500} .= chr(65 + $_ % 26) for 1..$_[0]; } work(20000); $| = 1; print "ready\n"; while (<STDIN>) { work(3000); } print scalar(keys %h), "\n";'
PYTHON = """import sys, threading
lock, done = threading.Lock(), []
def work(n):
    for i in range(n):
        with lock:
            done.append(str(i))
for t in [threading.Thread(target=work, args=(300,)) for _ in range(4)]:
    t.start()
print("ready", flush=True)
for line in sys.stdin:
    work(300)
print(len(done) % 300)
"""
SQL = "create table t(a, b); with recursive c(x) as (select 1 union all select x + 1 from c where x < 3000) insert into t select x, hex(x) from c; select 'ready';"
PROGRAMS = {
    "perl": (["-e", PERL], b"500\n"),
    "/usr/bin/python3": (["-S", "-c", PYTHON], b"0\n"),
    "sqlite3": (["-batch", ":memory:"], b"3000\n"),
}


def under_memcheck(name):
    valgrind, path = needs("valgrind", name)
    directory, (arguments, end) = scratch(), PROGRAMS[name]
    # valgrind itself is started by a shell
    with App(valgrind, "-q", "--trace-children=no", "--error-exitcode=99", f"--log-file={directory}/log", path, *arguments, stdin=subprocess.PIPE,
             seconds=120, exe=f"{pathlib.Path(name).name}*", mutexprofilefraction=1, blockprofilerate=1, env={"PYTHONMALLOC": "malloc"}) as app:
        if name == "sqlite3":
            app.say(SQL)
        equal(app.line(120), "ready")
        for page in PAGES:
            app.say("select 1;" if name == "sqlite3" else "more")
            answer = app.get(page, timeout=120)
            equal(answer.status, 200, page)
        if name == "sqlite3":
            app.say("select count(*) from t;")
        status, out, _ = app.finish(120)
        complaints = (directory / "log").read_text()
        equal((status, complaints), (0, ""), f"{name}: status and complaints")
        assert out.endswith(end), out
    note(f"{name}: {len(PAGES)} answers")


@long
@limit(900)
def test_perl():
    under_memcheck("perl")


@long
@limit(900)
def test_python():
    under_memcheck("/usr/bin/python3")


@long
@limit(900)
def test_sqlite():
    under_memcheck("sqlite3")


@long
@limit(1800)
def test_modules():
    """The unit tests that valgrind can run: those of the unwinder read stacks as it cannot know, and those of ELF images its own."""
    valgrind, unit = needs("valgrind"), BUILD / "tests/unit"
    assert unit.exists(), f"{unit} is not there: run make check-unit"
    words = ("test_locks", "test_tally", "test_unloads", "test_maps", "test_perfmap", "test_access", "test_address", "test_request", "test_http_parts",
             "test_sizeclass", "test_encode_text", "test_symtab.c:gone_names", "heap_guard", "heap_failed")
    done = subprocess.run([valgrind, "-q", "--error-exitcode=99", unit, *words], capture_output=True, text=True, env={"UNIT_SECONDS": "600", "PATH": "/usr/bin:/bin"})
    note(done.stdout.splitlines()[-1])
    equal((done.returncode, done.stderr), (0, ""), f"status and complaints ({done.stdout[-2000:]})")
