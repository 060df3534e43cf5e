# SPDX-License-Identifier: Apache-2.0
"""`go tool pprof` on block, mutex, goroutine, threadcreate and goroutineleak: all its ways of looking, the text form
through its legacy parser with the same numbers, differences; what Go's own library and our validator say of each."""
import concurrent.futures
import re
import subprocess

import lib
from lib import App, decoded, equal, go_pprof, limit, note, parallel, program
from test_fleet import google_parse

TYPES = {"block": ["contentions/count", "delay/nanoseconds"], "mutex": ["contentions/count", "delay/nanoseconds"],
         "goroutine": ["goroutine/count"], "threadcreate": ["threadcreate/count"], "goroutineleak": ["goroutineleak/count"]}
# a function of the program that must be in each, and the program: one that waits for mutexes, one that has a deadlock
SHOWN = {"block": "waiter_calls", "mutex": "release_mutex", "goroutine": "poll_on", "threadcreate": "start",
         "goroutineleak": "abba_first"}
DEADLOCK = ("abba", "chain", "self", "poll", "poll", "sleep")


def stacks(file):
    """What -raw says: {(addresses): values}."""
    head, rest = go_pprof("-raw", "-symbolize=none", file).stdout.split("Locations\n")
    places = dict(re.findall(r"^ +(\d+): 0x([0-9a-f]+)", rest.split("Mappings\n")[0], re.M))
    rows = re.findall(r"^((?: +-?\d+)+): ((?:\d+ ?)*)$", head.split("Samples:\n")[1], re.M)
    return {tuple(places[i] for i in ids.split()): [int(n) for n in numbers.split()] for numbers, ids in rows}


def apps():
    lock = App(program("waits"), "pthread_mutex_lock", 4, 20000, 3, stdin=subprocess.PIPE, blockprofilerate=1, mutexprofilefraction=1)
    hang = App(program("blocked"), *DEADLOCK, stdin=subprocess.PIPE)
    lock.line(60)
    while hang.line() != "ready":
        pass
    lib.until(lambda: len(hang.profile("goroutineleak").samples) == 4, "the deadlock is there")
    lib.until(lambda: "running" not in hang.get("goroutine", debug=2).text, "all sleep")
    return {name: lock if name in ("block", "mutex") else hang for name in TYPES}


@limit(120)
@parallel
def test_plain():
    directory, files = lib.scratch(), []
    for name, app in apps().items():
        binary, text = directory / f"{name}.pb", directory / f"{name}.txt"
        binary.write_bytes(app.get(name).body)
        text.write_bytes(app.get(name, debug=1).body)
        profile = decoded(binary.read_bytes())
        equal([f"{kind}/{unit}" for kind, unit in profile.sample_types], TYPES[name], name)
        # the same stacks and numbers in both forms, by the tool's two parsers, and by the decoder of ours
        equal(stacks(text), stacks(binary), f"{name}: debug=1 and the profile")
        equal(sorted(stacks(binary).values()), sorted(list(s.values) for s in profile.samples), f"{name}: two decoders")
        for kind in TYPES[name]:
            index = f"-sample_index={kind.split('/')[0]}"
            tops = [go_pprof("-top", index, "-unit=ns", "-nodecount=500", "-symbolize=none", f).stdout.splitlines() for f in (binary, text)]
            sums = [re.search(r"of (\S+) total", "\n".join(top))[1] for top in tops]
            equal(sums[1], sums[0], f"{name}: -top of debug=1")
        top = go_pprof("-top", "-nodecount=500", app.url(name)).stdout
        assert re.search(rf"\b{SHOWN[name]}\b", top), (name, top)
        assert f"Type: {TYPES[name][-1].split('/')[0]}" in top, top
        assert re.search(rf"\b{SHOWN[name]}\b", go_pprof("-raw", app.url(name)).stdout), name
        session = go_pprof(app.url(name), stdin=f"top\npeek {SHOWN[name]}\ntraces\nquit\n")
        assert "Entering interactive mode" in session.stdout + session.stderr, session
        assert len(re.findall(rf"\b{SHOWN[name]}\b", session.stdout)) >= 2, (name, session.stdout)
        nothing = go_pprof("-top", "-base", binary, binary).stdout
        assert "accounting for 0" in nothing, (name, nothing)
        files += [binary, text]
    said = google_parse(files)
    for file, line in zip(files, said):
        equal(line.rsplit(" ", 1)[0], " ".join(TYPES[file.stem] + ["ok"]), file.name)
    note(said)


def a_second_of(name, app, file):
    answer = app.get(name, seconds=1)
    equal(answer.status, 200, name)
    equal(answer.header("Content-Disposition"), f'attachment; filename="{name}-delta"')
    file.write_bytes(answer.body)
    profile = decoded(answer.body)
    equal([f"{kind}/{unit}" for kind, unit in profile.sample_types], TYPES[name], name)
    equal(sorted(stacks(file).values()), sorted(list(s.values) for s in profile.samples), f"{name}: two decoders")
    if name == "goroutineleak":
        equal(len(profile.samples), 0, "new deadlocks")
    elif name != "goroutine":
        assert min(min(s.values) for s in profile.samples) >= 0 and sum(s.values[-1] for s in profile.samples) > 0, profile.samples
    assert "Type: " in go_pprof("-top", "-base", file, app.url(name, seconds=1)).stdout, name
    equal(app.get(name, seconds=1, debug=1).status, 400, f"{name}: seconds and debug")


@limit(120)
@parallel
def test_by_seconds():
    """What a second brought, as a profile of its own; nothing new is an empty one."""
    directory = lib.scratch()
    lock = App(program("waits"), "pthread_mutex_lock", 4, 1000, 100000, stdin=subprocess.PIPE, blockprofilerate=1, mutexprofilefraction=1)
    making = App(program("blocked"), "churn", stdin=subprocess.PIPE)
    hang = apps()["goroutineleak"]
    with concurrent.futures.ThreadPoolExecutor() as pool:
        one = {name: (app, directory / f"{name}.pb") for name, app in zip(TYPES, (lock, lock, making, making, hang))}
        for future in [pool.submit(a_second_of, name, *rest) for name, rest in one.items()]:
            future.result()
    for name, line in zip(TYPES, google_parse([one[name][1] for name in TYPES])):
        equal(line.rsplit(" ", 1)[0], " ".join(TYPES[name] + ["ok"]), name)
