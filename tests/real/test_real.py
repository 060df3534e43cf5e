# SPDX-License-Identifier: Apache-2.0
"""Stock programs, and a C++ and a Rust one, with a function that is known to be hot: 500
samples each (2,000 in the long form), stacks that reach a root, names everywhere, the right function on top."""
import re
import shutil
import socket
import subprocess
import sys
import time

import lib
from lib import App, equal, go_pprof, limit, long, needs, note, parallel, program, until
from stacks import View, bare

SHORT, LONG = 500, 2000
INCOMPLETE_AT_MOST = 0.005


def judge(view, want, what, hottest, at_least):
    """The rules for every real program. hottest: names one of which must be on top with that share."""
    samples = view.total("samples")
    share, causes = view.incomplete()
    name, top = view.hottest("samples")
    note(f"{what}: {samples} samples, {100 * share:.3f} % incomplete, hottest {name} {100 * top:.1f} %")
    for cause, count in causes.most_common(5):
        note(f"  incomplete: {count} {cause}")
    assert samples >= want, f"{samples} samples"
    assert share <= INCOMPLETE_AT_MOST, f"{100 * share:.2f} % of the samples do not reach a root: {causes.most_common(10)}"
    equal(bare(view), set(), "names that are none")
    assert name in hottest, f"hottest function is {name} ({100 * top:.1f} %), not one of {hottest}: {view.flat('samples').most_common(5)}"
    assert top >= at_least, f"{name} has {100 * top:.1f} %, expected at least {100 * at_least:.0f} %"


def long_enough(app, want, hz=500, **query):
    """Profiles one after the other until there are enough samples, as one view: a busy machine takes longer."""
    end, seconds = time.monotonic() + 120, 4 if want >= LONG else 2
    view = View(app.profile(seconds=seconds, hz=hz, **query))
    while view.total("samples") < want and time.monotonic() < end:
        view.samples += View(app.profile(seconds=seconds, hz=hz, **query)).samples
    return view


def cpp(want):
    with App(program("hot_cpp")) as app:
        equal(app.line(), "ready")
        view = long_enough(app, want)
        judge(view, want, "C++", ("planted::Hot<int>::churn", "planted::Hot::churn"), 0.8)
        names = {f.name: f.system_name for s in view.samples for f in s.frames}
        churn = view.hottest("samples")[0]
        assert names[churn].startswith("_ZN7planted3Hot"), f"system_name of {churn} is {names[churn]}"
        for name in ("planted::Derived::step", "main"):
            assert name in names, f"{name} is in no stack: {sorted(names)}"
        top = go_pprof("-top", app.url("profile", seconds=1)).stdout
        assert re.search(r"% +planted::Hot(<.*>)?::churn$", top, re.M), top


def rust(want):
    with App(program("hot_rust")) as app:
        equal(app.line(), "ready")
        # with lines, the time is that of <u64>::wrapping_mul and the like, inlined into it
        view = long_enough(app, want, symbolize="names")
        name, _ = view.hottest("samples")
        assert re.fullmatch(r"hot_rust::planted::Mill(<.*>)?::churn", name), name
        judge(view, want, "Rust", (name,), 0.8)
        names = {f.name: f.system_name for s in view.samples for f in s.frames}
        assert names[name].startswith(("_ZN", "_R")), names[name]
        assert any("hot_rust::run" in n for n in names), sorted(names)
        assert "::h" not in "".join(names), "hashes in Rust names"


PYTHON = """
import sys, threading
def hot(n):
    x = 1
    for i in range(n):
        x = (x * 31 + i) & 0xffff
    return x
print("ready", flush=True)
while True:
    hot(100000)
"""


def python(want):
    python = "/usr/bin/python3" if shutil.which("/usr/bin/python3") else sys.executable
    with App(python, "-c", PYTHON) as app:
        equal(app.line(), "ready")
        view = long_enough(app, want)
        # The interpreter's loop is on top; how much of the time is its own and how much its arithmetic's,
        # which it calls, depends on the build. Below it is everything.
        judge(view, want, "python3", ("_PyEval_EvalFrameDefault",), 0)
        below = view.below("_PyEval_EvalFrameDefault", "samples") / view.total("samples")
        assert below >= 0.95, f"{100 * below:.1f} % of the samples are below the interpreter's loop"
        assert view.below("Py_RunMain", "samples") + view.below("Py_BytesMain", "samples") > 0


def redis(**settings):
    """A stock redis-server on a unix socket of its own. It cannot find a free port by itself."""
    server = needs("redis-server")
    needs("redis-benchmark", "redis-cli")
    directory = lib.scratch()
    app = App(server, "--port", "0", "--unixsocket", directory / "redis", "--save", "", "--appendonly", "no", "--dir", directory,
              "--io-threads", "1", stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, **settings)
    path = str(directory / "redis")
    until(lambda: pings(path), "redis answers")
    return app, path


def pings(path):
    try:
        with socket.socket(socket.AF_UNIX) as s:
            s.settimeout(5)
            s.connect(path)
            s.sendall(b"PING\r\n")
            return s.recv(100) == b"+PONG\r\n"
    except OSError:
        return False


def redis_planted(want):
    """BITCOUNT of a large string under redis-benchmark: redisPopcount is where the time goes. The string is
    10 MB, about a millisecond's counting, so that reading and answering requests is nothing beside it."""
    app, path = redis()
    with app:
        cli = ["redis-cli", "-s", path]
        subprocess.run([*cli, "SETBIT", "bits", "80000000", "1"], env=lib.environment(), check=True, capture_output=True)
        lib.background(["redis-benchmark", "-s", path, "-l", "-q", "-c", "10", "BITCOUNT", "bits"])
        until(lambda: View(app.profile(seconds=1)).below("redisPopcount", "samples") > 3, "the load works", 60)
        judge(long_enough(app, want), want, "redis, BITCOUNT", ("redisPopcount",), 0.9)


def redis_under_its_benchmark(want):
    """The usual mix; the whole of it below main."""
    app, path = redis()
    with app:
        lib.background(["redis-benchmark", "-s", path, "-l", "-q", "-c", "20", "-P", "8", "-n", "100000", "-t", "set,get,lpush,lrange_100"])
        until(lambda: View(app.profile(seconds=1)).total("samples") > 3, "the load works", 60)
        view = long_enough(app, want)
        share, causes = view.incomplete()
        samples = view.total("samples")
        note(f"redis, mix: {samples} samples, {100 * share:.3f} % incomplete; {[(n, c) for n, c in view.flat('samples').most_common(6)]}")
        assert samples >= want and share <= INCOMPLETE_AT_MOST, causes.most_common(10)
        equal(bare(view), set(), "names that are none")
        assert view.below("aeMain", "samples") > 0.9 * samples, "the event loop is not in the stacks"
        done = go_pprof("-top", app.url("profile", seconds=2))
        assert "redis" in done.stdout.splitlines()[0] and "aeMain" in done.stdout, done.stdout
        before = time.monotonic()
        interactive = go_pprof(app.url("profile", seconds=1), stdin="top 10\n")
        assert "flat%" in interactive.stdout, interactive.stdout
        assert time.monotonic() - before < 60


@limit(240)
def test_redis_agrees_with_perf():
    """An independent profiler sees the same hot functions, where perf is installed and allowed."""
    perf = needs("perf")
    app, path = redis()
    with app:
        data = lib.scratch() / "perf.data"
        lib.background(["redis-benchmark", "-s", path, "-l", "-q", "-c", "10", "-P", "32", "-n", "100000", "-t", "lrange_300,sadd,zadd"])
        until(lambda: View(app.profile(seconds=1)).total("samples") > 3, "the load works", 60)
        record = lib.background([perf, "record", "-q", "-e", "cpu-clock:u", "-F", "499", "-o", data, "-p", str(app.pid), "--", "sleep", "6"],
                                stderr=subprocess.PIPE)
        view = View(app.profile(seconds=6, hz=500))
        said = record.stderr.read().decode()
        if record.wait(60) != 0:
            lib.skip(f"perf cannot record here: {said.strip().splitlines()[-1] if said.strip() else 'no message'}")
        report = subprocess.run([perf, "report", "-i", data, "--stdio", "-F", "overhead,symbol", "--percent-limit", "0.5"], env=lib.environment(),
                                capture_output=True, text=True, timeout=60).stdout
        theirs = {name: float(value) / 100 for value, name in re.findall(r"^\s*([\d.]+)%\s+\[\.\]\s+(\S+)", report, re.M)}
        named = {n: v for n, v in theirs.items() if not n.startswith("0x")}
        if len(named) < 3:
            lib.skip("perf names too few functions here")
        # perf with :u sees user code only: compare shares among the functions that both name.
        flat = view.flat("samples")
        common = [n for n in named if flat.get(n)]
        mine, other = sum(flat[n] for n in common), sum(named[n] for n in common)
        note(f"perf and agent name {len(common)} common functions, {100 * other:.0f} % of perf's samples")
        assert other >= 0.5 * sum(named.values()), f"perf sees {sorted(named, key=named.get)[-8:]}, the profile {flat.most_common(8)}"
        n = min(mine, view.total("samples"))
        for name in sorted(common, key=named.get)[-5:]:
            a, b = flat[name] / mine, named[name] / other
            # Two independent samplings of the same load in the same seconds: 6 standard errors of the
            # difference of two shares, and 3 % for code that one of them books to a neighbour.
            bound = 6 * ((a * (1 - a) + b * (1 - b)) / max(n, 1)) ** 0.5 + 0.03
            note(f"  {name}: agent {100 * a:.1f} %, perf {100 * b:.1f} %")
            assert abs(a - b) <= bound, f"{name}: agent {100 * a:.1f} %, perf {100 * b:.1f} %, allowed {100 * bound:.1f}"


def sqlite(want):
    sqlite = needs("sqlite3")
    text = "select 'ready';\nwith recursive n(i) as (select 1 union all select i + 1 from n) select sum(i) from n;\n"
    with App(sqlite, ":memory:", stdin=subprocess.PIPE) as app:
        app.say(text.splitlines()[0])
        equal(app.line(), "ready")
        app.say(text.splitlines()[1])
        view = long_enough(app, want)
        share, causes = view.incomplete()
        note(f"sqlite3: {view.total('samples')} samples, {100 * share:.3f} % incomplete, {view.flat('samples').most_common(4)}")
        assert view.total("samples") >= want and share <= INCOMPLETE_AT_MOST, causes.most_common(10)
        equal(bare(view), set(), "names that are none")


# ---------------------------------------------------------------- each of them

@parallel
@limit(240)
def test_cpp():
    cpp(SHORT)


@parallel
@limit(240)
def test_rust():
    rust(SHORT)


@parallel
@limit(240)
def test_python():
    python(SHORT)


@parallel
@limit(240)
def test_redis_planted():
    redis_planted(SHORT)


@parallel
@limit(240)
def test_redis_under_its_benchmark():
    redis_under_its_benchmark(SHORT)


@parallel
@limit(240)
def test_sqlite():
    sqlite(SHORT)


@long
@limit(900)
def test_2000_samples_of_each():
    for one in (cpp, rust, python, redis_planted, redis_under_its_benchmark, sqlite):
        one(LONG)
