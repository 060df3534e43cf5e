# SPDX-License-Identifier: Apache-2.0
"""PPROF_OUTPUT: profiles of programs that end before anybody asks; and that their ends stay their own."""
import os
import pathlib
import re
import resource
import signal
import subprocess
import time

from lib import (agent, background, decoded, environment, equal, go_pprof, limit, long, needs, note, parallel, program,
                 scratch, until)

KINDS = {"cpu", "heap", "allocs", "mutex", "block"}


def run(argv, directory, seconds=60, preexec=None, cwd=None, stdin=None, **settings):
    """(status, stdout, stderr) under the agent, writing to `directory`."""
    settings.setdefault("addr", "off")
    done = subprocess.run([str(a) for a in argv], env=environment(None, agent(), output=directory, **settings),
                          input=stdin, capture_output=True, timeout=seconds, preexec_fn=preexec, cwd=cwd)
    return done.returncode, done.stdout, done.stderr


def plain(argv, seconds=60):
    done = subprocess.run([str(a) for a in argv], env=environment(), capture_output=True, timeout=seconds)
    return done.returncode, done.stdout, done.stderr


def sets(directory):
    """{(program, pid and more): {kind: path}}; nothing else may lie there."""
    found = {}
    for path in pathlib.Path(directory).iterdir():
        assert path.name.endswith(".pb.gz"), f"{path.name} was left behind"
        base, kind = path.name[:-len(".pb.gz")].rsplit(".", 1)
        name, _, rest = base.partition(".")
        found.setdefault((name, rest), {})[kind] = path
    return found


def one_set(directory, name):
    mine = [files for (who, _), files in sets(directory).items() if who == name]
    equal(len(mine), 1, f"sets of {name} in {os.listdir(directory)}")
    equal(set(mine[0]), KINDS, f"profiles of {name}")
    return {kind: decoded(path.read_bytes()) for kind, path in mine[0].items()}


def share(profile, function, sample_type="cpu"):
    total = profile.total(sample_type)
    return profile.cumulative(sample_type).get(function, 0) / total if total else 0


@parallel
@limit(120)
def test_a_program_that_ends_by_itself():
    """All five profiles, from start to end, with the program's own status and output; the go tool opens them."""
    out = scratch() / "made" / "for it"
    argv = [program("ends"), "burn", 0.5, 7]
    equal(run(argv, out), plain(argv), "status and output")
    got = one_set(out, "ends")
    cpu = got["cpu"].total("cpu")
    # the program burns 0.5 s of one thread: four half periods of 10 ms, and what it does besides
    assert 0.46e9 <= cpu <= 0.75e9, cpu
    assert share(got["cpu"], "burn_here") > 0.8, got["cpu"].cumulative("cpu")
    assert got["cpu"].duration_nanos >= 0.5e9, got["cpu"].duration_nanos
    # 10 MB at one sample in 512 KiB: 19 samples, a standard error of a quarter
    assert 2e6 < got["heap"].total("inuse_space") < 40e6, got["heap"].total("inuse_space")
    assert share(got["heap"], "work", "inuse_space") > 0.5
    assert "work" in got["block"].cumulative("delay"), got["block"].cumulative("delay")
    assert any("written at exit" in c for c in got["cpu"].comments), got["cpu"].comments
    for path in sets(out).popitem()[1].values():
        go_pprof("-top", str(path))


@parallel
@limit(180)
def test_every_way_to_end():
    """The file set is there whichever way it ends, and the end is the program's own."""
    for way, written in (("return", 1), ("exit", 1), ("_exit", 1), ("quick_exit", 1), ("main_first", 1), ("main_last", 1),
                         ("abort", 0), ("kill", 0), ("segv", 0)):
        out = scratch()
        argv = [program("exit_ways"), way]
        equal(run(argv, out), plain(argv), f"exit by {way}")
        equal(len(sets(out)), written, f"sets written by exit by {way}")


@parallel
@limit(180)
def test_ends_at_the_worst_moment():
    """A signal handler that exits in the middle of malloc, locks held for ever, two threads at once: it ends, in
    time, with its own status, and nothing half-written stays."""
    for argv, status in ((["handler", "exit"], 9), (["handler", "_exit"], 9), (["locked", "exit"], 9),
                         (["locked", "_exit"], 9), (["both"], 11)):
        for _ in range(8):
            out = scratch()
            got = run([program("ends"), *argv], out, seconds=30, memprofilerate=1, mutexprofilefraction=1)
            equal(got, (status, b"", b""), f"ends {argv}")
            equal(set(one_set(out, "ends")), KINDS, f"profiles of ends {argv}")


@long
@limit(1800)
def test_ends_at_the_worst_moment_many_times():
    for n in range(1000):
        out = scratch()
        equal(run([program("ends"), "handler", ("exit", "_exit")[n % 2]], out, seconds=30, memprofilerate=1, mutexprofilefraction=1),
              (9, b"", b""), f"run {n}")
        one_set(out, "ends")


@parallel
@limit(120)
def test_deaths_by_signals():
    """The default death comes after the profiles, and by the same signal."""
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGPIPE, signal.SIGALRM, signal.SIGQUIT):
        out = scratch()
        no_core = lambda: resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        equal(run([program("ends"), "raise", 0.1, int(number)], out, preexec=no_core), (-number, b"", b""), f"death by {number!r}")
        assert share(one_set(out, "ends")["cpu"], "burn_here") > 0.8


@parallel
@limit(60)
def test_what_the_program_sees_of_its_signals():
    for number in (signal.SIGTERM, signal.SIGALRM, signal.SIGUSR1):
        argv = [program("ends"), "views", int(number)]
        equal(run(argv, scratch(), dump_signal="RTMIN+5"), plain(argv), f"views of {number!r}")
    # as the dump signal it no longer kills, but what is seen of it is the same
    process = background([program("ends"), "views", int(signal.SIGUSR2)], stdout=subprocess.PIPE,
                         env=environment(None, agent(), addr="off", output=(out := scratch()), dump_signal="USR2"))
    until(lambda: len(sets_if_whole(out)) == 1, "the dump that the program asked itself for")
    process.kill()
    seen = process.stdout.read()
    equal(seen, plain([program("ends"), "views", int(signal.SIGUSR2)])[1], "views of the dump signal")


def sets_if_whole(directory):
    """As sets(), while files are still being written: only sets that have all their files."""
    names = [n for n in os.listdir(directory) if n.endswith(".pb.gz")]
    bases = {n.rsplit(".", 3)[0] for n in names}
    return [b for b in bases if sum(n.rsplit(".", 3)[0] == b for n in names) == len(KINDS)]


def ready(directory, *argv, **settings):
    settings.setdefault("addr", "off")
    process = background([program("ends"), *map(str, argv)], stdout=subprocess.PIPE,
                         env=environment(None, agent(), output=directory, **settings))
    equal(process.stdout.readline(), b"ready\n", "first line")
    return process


@parallel
@limit(120)
def test_dump_signal():
    """Numbered sets while it runs, with and without the agent's thread; a program's own handler stays its own."""
    for settings in ({}, {"addr": "127.0.0.1:0", "port_file": scratch() / "port"}):
        out = scratch()
        process = ready(out, "wait", dump_signal="SIGUSR1", **settings)
        for n in (1, 2):
            process.send_signal(signal.SIGUSR1)
            until(lambda: f"ends.{process.pid}.{n}" in sets_if_whole(out), f"set number {n}")
        equal(process.poll(), None, "status of the program")
        process.terminate()
        equal(process.wait(20), -signal.SIGTERM, "status")
        equal({rest for _, rest in sets(out)}, {f"{process.pid}.1", f"{process.pid}.2", f"{process.pid}"}, "sets")
    process = ready(out := scratch(), "handled", int(signal.SIGUSR1), dump_signal="USR1")
    process.send_signal(signal.SIGUSR1)
    equal((process.wait(20), process.stdout.read()), (0, b"handled\n"), "a program with a handler")


@parallel
@limit(120)
def test_the_go_tool_adds_lines():
    """The files have functions only; with the program at hand its lines are one option away, as docs/limits.md says."""
    needs("go", "addr2line")
    run([program("ends"), "burn", 0.5, 0], out := scratch())
    path, = out.glob("ends.*.cpu.pb.gz")
    assert "ends.c:" not in go_pprof("-top", "-lines", path).stdout
    assert re.search(r"%  .*ends\.c:[1-9]", go_pprof("-symbolize=local:force", "-top", "-lines", path).stdout)
    assert re.search(r"^ +\d+m?s +\d+m?s +\d+:", go_pprof("-symbolize=local:force", "-list", "burn", path).stdout, re.M)


@parallel
@limit(60)
def test_written_while_it_runs():
    process = ready(out := scratch(), "wait", output_every=1, addr="127.0.0.1:0", port_file=scratch() / "port")
    cpu = out / f"ends.{process.pid}.cpu.pb.gz"
    until(cpu.exists, "the profiles after a second")
    first = cpu.stat().st_ino
    until(lambda: cpu.stat().st_ino != first, "the profiles are written again")
    decoded(cpu.read_bytes())
    process.kill()


@parallel
@limit(120)
def test_exec_and_fork():
    """Both programs of an exec have their set; so has a forked child; an exec that fails harms nothing."""
    out = scratch()
    equal(run([program("ends"), "exec", program("ends"), "burn", 0.1, 3], out)[:2], (3, b"unflushed"), "exec")
    equal(len(sets(out)), 2, f"sets of the two programs {os.listdir(out)}")  # one process: the second is PID.2
    argv = [program("ends"), "noexec"]
    equal(run(argv, out := scratch()), plain(argv), "an exec that fails")
    assert one_set(out, "ends")["cpu"].total("cpu") > 0.15e9
    run([program("ends"), "fork", 0.4], out := scratch())
    totals = sorted(decoded(files["cpu"].read_bytes()).total("cpu") / 1e9 for files in sets(out).values())
    equal(len(totals), 2, "sets of parent and child")
    assert 0.15 < totals[0] < 0.3 and 0.35 < totals[1] < 0.6, totals


@parallel
@limit(120)
def test_a_whole_build():
    """make, its shells and what they run: who worked has a set; who only passed by has none, unless a sample hit it.
    At 10 Hz that is one `true` in 50 that takes 2 ms: more than 6 of 12 come once in 10^9."""
    needs("make")
    work = scratch()
    ends = program("ends")
    idle = "/bin/true; /bin/true; "
    (work / "Makefile").write_text(f"all: a b c\n\t@true\na b c:\n\t@{idle}{ends} burn 0.3 > $@; {idle}\n")
    status, _, error = run(["make", "-j2"], work / "out", cwd=work, cpuprofilerate=10)
    equal((status, error), (0, b""), "make")
    found = sets(work / "out")
    names = [name for name, _ in found]
    equal(names.count("ends"), 3, f"sets of the three that worked: {names}")
    equal(names.count("make"), 1, f"sets of the one that was started by hand: {names}")
    hit = [files for (name, _), files in found.items() if name == "true"]
    assert len(hit) <= 6, f"sets of those that did nothing: {names}"
    for files in hit:
        assert any(decoded(path.read_bytes()).samples for path in files.values()), "a set of `true` without a sample"


@limit(120)
def test_short_children_are_cheap():
    """A process that lives a moment must not pay tens of ms. Processor time, least of five, so that a busy machine
    does not matter much; the limit is far above the cost (about 0.5 ms) and far below what writing a set costs."""
    loop = ["sh", "-c", "i=0; while [ $i -lt 100 ]; do /bin/true; i=$((i+1)); done"]
    cost = {}
    for name, env in (("plain", environment()), ("under", environment(None, agent(), addr="off", output=scratch()))):
        least = None
        for _ in range(5):
            before = resource.getrusage(resource.RUSAGE_CHILDREN)
            subprocess.run(loop, env=env, check=True, timeout=60)
            after = resource.getrusage(resource.RUSAGE_CHILDREN)
            used = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
            least = used if least is None else min(least, used)
        cost[name] = least * 10  # ms for each of 100
    note(f"a short child costs {cost['plain']:.2f} ms, with PPROF_OUTPUT {cost['under']:.2f} ms")
    assert cost["under"] - cost["plain"] < 5, cost


@parallel
@limit(60)
def test_nowhere_to_write():
    """One line before main at most, and the program runs as ever."""
    file = scratch() / "file"
    file.write_text("")
    argv = [program("ends"), "burn", 0.1, 2]
    status, out, error = run(argv, file / "below")
    equal((status, out), (2, b"unflushed"), "status and output")
    equal(len(error.splitlines()), 1, f"lines: {error}")
    assert b"PPROF_OUTPUT" in error, error
    # a write beyond the limit would kill it by SIGXFSZ
    equal(run(argv, out := scratch(), preexec=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (100, 100))), (2, b"unflushed", b""),
          "with a limit for file sizes")
    equal(sets(out), {}, "sets")
    # a directory that goes away
    process = ready(gone := scratch() / "d", "wait")
    gone.rmdir()
    process.terminate()
    equal(process.wait(20), -signal.SIGTERM, "status when the directory is gone")


@parallel
@limit(60)
def test_progress_is_said_only_when_asked_for():
    argv = [program("ends"), "burn", 0.1]
    equal(run(argv, scratch())[2], b"", "stderr")
    error = run(argv, out := scratch(), output_progress=1)[2].decode()
    assert error.startswith("pprofagent: 5 profiles of ends written at exit: ") and str(out) in error and error.count("\n") == 1, error
    # descriptor 2 may be another file by then
    done = subprocess.run(["sh", "-c", f'exec "$0" "$@" 2>&1', program("closes_all")], capture_output=True, timeout=60, stdin=subprocess.DEVNULL,
                          env=environment(None, agent(), addr="off", output=scratch(), output_progress=1))
    bare = subprocess.run([program("closes_all")], capture_output=True, timeout=60, stdin=subprocess.DEVNULL, env=environment())
    equal(done.returncode, bare.returncode, "status")


@parallel
@limit(60)
def test_names():
    """%p and %e in the directory; a second program of the same process does not write over the first's."""
    top = scratch()
    status, _, _ = run([program("ends"), "burn", 0.1], str(top / "%e" / "of %p %%"))
    equal(status, 0, "status")
    (inner,) = (top / "ends").iterdir()
    name, pid = inner.name.split()[0:2]
    equal((name, inner.name.endswith(" %")), ("of", True), "directory")
    equal({k for k in one_set(inner, "ends")}, KINDS, "kinds")
    assert next(inner.iterdir()).name.startswith(f"ends.{pid}."), os.listdir(inner)
