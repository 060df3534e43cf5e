# SPDX-License-Identifier: Apache-2.0
"""Thread dumps: what they show of threads in every state, and that no thread notices."""
import contextlib
import re
import statistics
import subprocess
import threading
import time

import lib
from lib import App, equal, limit, long, parallel, program, until

HEAD = re.compile(r'^goroutine (\d+) "((?:[^"\\]|\\.)*)" \[(.*)\]:$')


def started(*words, **settings):
    """tests/programs/blocked with these threads. (app, {what: [tids]})"""
    app = App(program("blocked"), *words, stdin=subprocess.PIPE, **settings)
    tids = {}
    while (line := app.line()) != "ready":
        what, tid = line.split()
        tids.setdefault(what, []).append(int(tid))
    return app, tids


class Shown:
    def __init__(self, lines):
        match = HEAD.match(lines[0])
        assert match, f"not the head of a thread: {lines[0]!r}"
        self.tid, self.name, self.state = int(match[1]), match[2], match[3]
        self.frames, self.created_by = [], None
        body = lines[1:]
        assert len(body) % 2 == 0, f"lines of frames come in pairs: {lines}"
        for function, place in zip(body[::2], body[1::2]):
            assert place.startswith("\t"), lines
            if function.startswith("created by "):
                self.created_by = function[11:]
            else:
                assert function.endswith("(...)"), lines
                self.frames.append(function[:-5])


def dump(app, name="goroutine", timeout=None):
    """goroutine?debug=2: {tid: Shown}."""
    answer = app.get(name, debug=2, timeout=timeout)
    equal((answer.status, answer.header("Content-Type")), (200, "text/plain; charset=utf-8"), name)
    shown = {}
    for paragraph in answer.text.rstrip("\n").split("\n\n"):
        one = Shown(paragraph.split("\n"))
        assert one.tid not in shown, f"thread {one.tid} twice"
        shown[one.tid] = one
    return shown


def asleep(app, tids):
    """Waits until the kernel shows all of these threads asleep."""
    def check():
        for tid in tids:
            with open(f"/proc/{app.pid}/task/{tid}/stat", "rb") as stat:
                if stat.read().rpartition(b")")[2].split()[0] != b"S":
                    return False
        return True
    until(check, f"threads {tids} sleep")


def all_tids(tids, *but):
    return [t for what, some in tids.items() if what not in but for t in some]


@parallel
def test_states():
    app, tids = started("poll", "read", "sleep", "cond", "sem", "join", "barrier", "spin")
    with app:
        asleep(app, all_tids(tids, "spin"))
        shown = dump(app)
        one = {what: shown[some[0]] for what, some in tids.items()}
        equal({what: one[what].state for what in ("poll", "sleep", "cond", "spin")},
              {"poll": "IO wait, poll", "sleep": "sleep, clock_nanosleep", "cond": "semacquire, condition",
               "spin": "running"}, "states")
        assert re.fullmatch(r"IO wait, read fd \d+", one["read"].state), one["read"].state
        equal(one["join"].state, f'semacquire, thread {tids["sleep"][1]} "blocked"', "join")
        for what in ("sem", "barrier"):
            assert one[what].state.startswith("semacquire, "), one[what].state
        for what, function in (("poll", "poll_on"), ("read", "read_on"), ("sleep", "sleep_on"), ("cond", "wait_cond"),
                               ("sem", "wait_sem"), ("join", "wait_join"), ("barrier", "wait_barrier"), ("spin", "spin")):
            assert function in one[what].frames, (what, one[what].frames)
            # without libc's debug symbols the root is known by its place only
            assert one[what].frames[-1] in ("clone3", "clone") or one[what].frames[-1].startswith("libc.so.6@"), one[what].frames
        equal(one["spin"].frames[0], "spin_here", "leaf of the spinning thread")
        equal(len(shown), 1 + len(all_tids(tids)), "threads shown")
        equal(shown[app.pid].created_by, None, "creator of the main thread")
        equal(one["poll"].created_by, f"start in goroutine {app.pid}", "creator")
        equal(shown[tids["sleep"][1]].created_by, f'wait_join in goroutine {tids["join"][0]}', "creator of a thread of a thread")
        assert "main" in shown[app.pid].frames, shown[app.pid].frames


@parallel
def test_all_forms_agree():
    """proto, debug=1 through go tool pprof's legacy parser, and debug=2 tell the same."""
    app, tids = started("poll", "poll", "poll", "sleep", "cond", "join")
    with app:
        asleep(app, all_tids(tids))
        profile = app.profile("goroutine")
        equal(profile.sample_types, [("goroutine", "count")], "sample types")
        equal((profile.period_type, profile.period), (("goroutine", "count"), 1), "period")
        threads = 1 + len(all_tids(tids))
        equal(sum(s.values[0] for s in profile.samples), threads, "threads in the profile")
        text = app.get("goroutine", debug=1)
        equal(text.text.split("\n")[0], f"goroutine profile: total {threads}", "first line")
        directory = lib.scratch()
        (directory / "text").write_bytes(text.body)
        (directory / "proto").write_bytes(app.get("goroutine").body)
        rows = []
        for name in ("text", "proto"):
            raw = lib.go_pprof("-raw", "-symbolize=none", directory / name).stdout
            counts = re.findall(r"^ +(\d+): ((?:\d+ ?)+)$", raw.split("Locations")[0], re.M)
            places = dict(re.findall(r"^ +(\d+): (0x[0-9a-f]+)", raw.split("Locations")[1], re.M))
            rows.append(sorted((int(n), tuple(places[i] for i in ids.split())) for n, ids in counts))
        equal(rows[0], rows[1], "stacks of debug=1 and of the profile")
        top = lib.go_pprof("-top", directory / "proto").stdout
        assert re.search(rf"\b{len(tids['poll'])} .*\bpoll_on\b", top), top
        equal(len(dump(app)), threads, "threads of debug=2")


@parallel
def test_labels():
    app, tids = started("names", "poll")
    with app:
        asleep(app, all_tids(tids))
        profile = app.profile("goroutine", labels=1)
        equal(sorted((s.label("tid"), s.label("thread")) for s in profile.samples),
              sorted(zip(map(str, [app.pid, *tids["poll"], *tids["named"]]),
                         ["blocked", "blocked", "plain name", "n\ufffdl\\b\"q", "\ufffd\ufffd\ufffdx", "grüße"])), "labels")
        equal([s.labels for s in app.profile("goroutine").samples if s.labels], [], "labels that nobody asked for")
        assert "# labels" not in app.get("goroutine", debug=1, labels=1).text


def test_labels_of_cpu_profiles():
    """With and without labels at the same time: each gets its own."""
    app, tids = started("spin", "spin")
    with app:
        profiles = {}

        def fetch(labels):
            profiles[labels] = app.profile("profile", seconds=2, labels=labels)
        both = [threading.Thread(target=fetch, args=(n,)) for n in (0, 1)]
        for one in both:
            one.start()
        for one in both:
            one.join()
        equal({s.label("tid") for s in profiles[1].samples if s.values[0] > 5}, set(map(str, tids["spin"])), "tids")
        equal({s.label("thread") for s in profiles[1].samples}, {"blocked"}, "names")
        equal([s.labels for s in profiles[0].samples if s.labels], [], "labels that nobody asked for")
        sums = [sum(s.values[1] for s in profiles[n].samples) for n in (0, 1)]
        assert abs(sums[0] - sums[1]) < 0.1 * sums[0], sums


def test_delta():
    app, _ = started("poll", "sleep")
    with app:
        answer = app.get("goroutine", seconds=1)
        equal((answer.status, answer.header("Content-Disposition")), (200, 'attachment; filename="goroutine-delta"'), "delta")
        profile = lib.decoded(answer.body)
        equal(profile.samples, [], "what changed")
        assert abs(profile.duration_nanos - 1e9) < 3e8, profile.duration_nanos
        equal(app.get("goroutine", seconds=1, debug=2).status, 400, "seconds and debug")


@parallel
def test_names():
    app, tids = started("names")
    with app:
        shown = dump(app)
        equal([shown[t].name for t in tids["named"]], ["plain name", "n\\x0al\\\\b\\\"q", "\\xff\\xfe\\x01x", "grüße"], "names")


@parallel
def test_deaf_threads():
    """Threads that block every signal: asleep they are read like all others, running they are listed."""
    app, tids = started("deaf", "deafsleep")
    with app:
        asleep(app, tids["deafsleep"])
        shown = dump(app)
        assert "deafsleep" in shown[tids["deafsleep"][0]].frames
        assert re.fullmatch(r"running, blocks signal \d+", shown[tids["deaf"][0]].state), shown[tids["deaf"][0]].state


@parallel
def test_raw_clones():
    """Threads that clone made and that share their parent's TLS."""
    app, tids = started("clone", "spinclone")
    with app:
        asleep(app, tids["clone"])
        shown = dump(app)
        assert "in_clone" in shown[tids["clone"][0]].frames, shown[tids["clone"][0]].frames
        spinning = [s for s in shown.values() if s.state == "running"]
        equal([s.frames[0] for s in spinning], ["spin_here"], "the clone that runs")
        assert "spin_in_clone" in spinning[0].frames, spinning[0].frames


@parallel
def test_main_has_ended():
    app, tids = started("poll", "spin", "spinclone", "mainend")
    with app:
        until(lambda: open(f"/proc/{app.pid}/stat").read().rpartition(")")[2].split()[0] == "Z", "main has ended")
        shown = dump(app)
        assert app.pid not in shown, "the main thread has ended"
        assert "poll_on" in shown[tids["poll"][0]].frames, shown[tids["poll"][0]].frames
        equal(shown[tids["spin"][0]].frames[0], "spin_here")
        equal(sum("spin_in_clone" in s.frames for s in shown.values()), 1, "the clone")


def records_of(app):
    """(records, threads made) as the agent tells them."""
    text = app.get("agent").text
    return tuple(int(re.search(rf"^{what}\b[ =]+(\d+)", text, re.M)[1]) for what in ("thread_records", "threads_created"))


@parallel
@limit(90)
def test_records_are_used_again():
    """Also behind the record of a main thread that has ended and stays a zombie."""
    app, _ = started("churn", "mainend")
    with app:
        until(lambda: records_of(app)[1] > 20000, "20,000 threads", 60)
        records, made = records_of(app)
        assert records < 100, f"{records} records for {made} threads"


@limit(90)
def test_short_threads():
    """The agent finds threads in /proc in the very moment in which they register themselves."""
    app, tids = started("churn", "churn")
    with app:
        end = time.monotonic() + 5
        busy = threading.Thread(target=lambda: app.profile("profile", seconds=5))
        busy.start()
        dumps = 0
        while time.monotonic() < end:
            shown = dump(app)
            assert app.pid in shown and all(t in shown for t in tids["churn"]), sorted(shown)
            assert len(shown) <= 3 + 2 * 8, f"{len(shown)} threads at once"
            dumps += 1
        busy.join()
        records, made = records_of(app)
        lib.note(f"{dumps} dumps, {made} threads, {records} records")
        assert made > 600 and records < 100, (made, records)


def agent_waited(app):
    """Seconds that the agent's thread was ready to run while others of this machine had the processors."""
    return int((lib.agent_task(app.pid) / "schedstat").read_text().split()[1]) / 1e9


def timed(app, what, seconds, function):
    """The time that it takes on a machine that is not busy with other things must be below `seconds`."""
    start, waited = time.monotonic(), agent_waited(app)
    value = function()
    took = time.monotonic() - start - (agent_waited(app) - waited)
    lib.note(f"{what}: {took * 1000:.0f} ms")
    assert took < seconds, f"{what} took {took:.3f} s, not less than {seconds}"
    return value


def test_ten_threads_fast():
    app, _ = started(*["poll"] * 9)
    with app:
        app.get("goroutine")  # reads symbol tables
        timed(app, "10 threads", 0.05, lambda: app.get("goroutine"))
        timed(app, "10 threads, debug=2", 0.05, lambda: app.get("goroutine", debug=2))


@limit(180)
def test_ten_thousand_threads():
    app, _ = started("many=10000")
    with app:
        profile = timed(app, "10,000 threads", 2, lambda: app.profile("goroutine"))
        equal(sum(s.values[0] for s in profile.samples), 10001, "threads")
        equal(len(timed(app, "10,000 threads, debug=2", 2, lambda: dump(app, timeout=60))), 10001, "threads of debug=2")
        # nobody else waits for it: others get many answers before it is ready
        took, done = [], threading.Event()
        with contextlib.closing(app.connect(60)) as connection:
            def slow_one():
                connection.request("GET", app._target("goroutine", {"debug": 2}))
                equal(connection.getresponse().read().count(b"\ngoroutine "), 10000, "dump")
                done.set()
            beside = threading.Thread(target=slow_one)
            beside.start()
            while not done.is_set() and beside.is_alive():
                start = time.monotonic()
                equal(app.get("cmdline").status, 200, "cmdline")
                took.append(time.monotonic() - start)
            beside.join()
        assert done.is_set()
        lib.note(f"{len(took)} answers to another client meanwhile, {statistics.median(took) * 1000:.0f} ms each, "
                 f"the slowest {max(took) * 1000:.0f} ms")
        assert len(took) >= 5, took


def no_eintr(seconds):
    """27 blocking calls in threads that cannot cope with EINTR; dumps, wall-clock and CPU profiles all the time."""
    app = App(program("eintr"), stdin=subprocess.PIPE)
    with app:
        equal(app.line(), "ready")
        end, dumps, walls, cpus = time.monotonic() + seconds, 0, [], []

        def wall_profiles():
            while time.monotonic() < end - 1:
                walls.append(app.get("wall", seconds=1, hz=500).status)

        def cpu_profiles():
            while time.monotonic() < end - 1:
                cpus.append(app.get("profile", seconds=1, hz=1000).status)
        beside = [threading.Thread(target=wall_profiles), threading.Thread(target=cpu_profiles)]
        for one in beside:
            one.start()
        while time.monotonic() < end:
            equal(app.get("goroutine", debug=dumps % 3).status, 200, "dump")
            dumps += 1
        for one in beside:
            one.join()
        equal((set(walls), set(cpus)), ({200}, {200}), "wall-clock and CPU profiles")
        app.process.stdin.close()
        app.process.stdin = None
        status, out, _ = app.finish()
        equal(status, 0, "exit status")
        rows = [line.split() for line in out.decode().splitlines()]
        lib.note(f"{dumps} dumps, {len(walls)} wall-clock profiles, {sum(int(r[1]) for r in rows)} calls of {len(rows)} kinds")
        assert len(rows) >= 25 and all(int(r[1]) > 1.5 * seconds for r in rows), rows
        equal([r for r in rows if r[2] != "0"], [], "calls that returned EINTR")


@parallel
@limit(120)
def test_no_eintr():
    no_eintr(10)


@long
@limit(120)
def test_no_eintr_for_half_a_minute():
    no_eintr(30)
# ---------------------------------------------------------------- wall clock

def agent_cpu(app):
    return int((lib.agent_task(app.pid) / "schedstat").read_text().split()[0]) / 1e9


def wall(app, seconds, name="wall", **query):
    profile = lib.decoded(app.get(name, seconds=seconds, labels=1, **query).body)
    equal(profile.sample_types, [("samples", "count"), ("time", "nanoseconds")], "sample types")
    equal(profile.period_type, ("wallclock", "nanoseconds"), "period type")
    times = {}
    for s in profile.samples:
        times[s.label("tid")] = times.get(s.label("tid"), 0) + s.values[1]
    for tid, ns in times.items():
        assert abs(ns - seconds * 1e9) <= 0.02 * seconds * 1e9, f"{ns / 1e9} s of thread {tid} in {seconds} s"
    return profile, times


def in_function(profile, function, column=1):
    return sum(s.values[column] for s in profile.samples if function in s.stack)


def test_wall_truth():
    app = App(program("rhythm"), stdin=subprocess.PIPE)
    with app:
        equal(app.line(), "ready")
        app.say("begin")
        app.line()
        profile, times = wall(app, 6)
        app.say("end")
        spun, slept = map(int, app.line().split())
        equal(len(times), 4, "threads")
        spin, sleep = in_function(profile, "spin_always"), in_function(profile, "sleep_always")
        assert abs(spin / sleep - 1) < 0.02, f"spinner {spin}, sleeper {sleep}"
        half_spin, half_sleep = in_function(profile, "half_spin"), in_function(profile, "half_sleep")
        looks = in_function(profile, "half_spin", 0) + in_function(profile, "half_sleep", 0)
        got, want = half_spin / (half_spin + half_sleep), spun / (spun + slept)
        lib.note(f"spinning {got:.3f} of the time by {looks} looks, {want:.3f} by its own clock")
        # 5 standard errors of the share that independent looks see, were all looks worst placed
        assert abs(got - want) < 5 * (0.25 / looks) ** 0.5, (got, want, looks)


@parallel
def test_waits_that_no_hook_sees():
    """GNU's OpenMP asks the kernel itself, stdio has locks inside libc: both are in the dump and in the wall-clock
    profile, and not in block."""
    with App(program("openmp_waits"), stdin=subprocess.PIPE, blockprofilerate=1) as app:
        if app.line() == "no OpenMP":
            lib.skip("libgomp.so.1 is not installed")

        def waiting():
            return [s for s in dump(app).values() if "waits_at_barrier" in s.frames and s.state.startswith("semacquire, futex 0x")]
        until(lambda: len(waiting()) == 3, "three threads wait at the barrier")
        profile, _ = wall(app, 1)
        assert abs(in_function(profile, "waits_at_barrier") / 3e9 - 1) < 0.02, profile.samples
        equal(app.profile("block").samples, [], "block")
    app, tids = started("stdio", blockprofilerate=1)
    with app:
        asleep(app, all_tids(tids))
        assert "wait_stdio" in dump(app)[tids["stdio"][0]].frames
        profile, _ = wall(app, 1)
        assert abs(in_function(profile, "wait_stdio") / 1e9 - 1) < 0.02, profile.samples
        equal([s for s in app.profile("block").samples if "wait_stdio" in s.stack], [], "block")


def test_fgprof():
    app, _ = started("poll", "spin")
    with app:
        profile, _ = wall(app, 1, "/debug/fgprof", hz=50)
        equal((profile.period, profile.duration_nanos), (20000000, 1000000000), "period and duration")
        equal(app.get("wall", seconds=1, hz=0).status, 400, "hz=0")


@limit(90)
def test_wall_cost():
    """500 threads, most of them asleep: below 5 % of a processor, at the asked rate or one that is told."""
    app = App(program("rhythm"), "500", stdin=subprocess.PIPE)
    with app:
        equal(app.line(), "ready")
        app.get("goroutine")
        before = agent_cpu(app)
        profile, times = wall(app, 5)
        share = (agent_cpu(app) - before) / 5
        lib.note(f"{share * 100:.1f} % of a processor for {len(times)} threads; {profile.comments}")
        equal(len(times), 504, "threads")
        assert share < 0.05, share


@parallel
def test_wall_slows_down():
    app = App(program("rhythm"), "1000", stdin=subprocess.PIPE)
    with app:
        equal(app.line(), "ready")
        profile, _ = wall(app, 3, hz=1000)
        assert any("times a second at the end, not 1000.0" in c for c in profile.comments), profile.comments
