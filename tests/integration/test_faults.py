# SPDX-License-Identifier: Apache-2.0
"""Failure injection: the n-th kernel call or allocation of the agent fails, for every n, alone and with all that come
after it. The library is the product's objects with a door that fails (tests/faults). The program must never notice, no
request may hang, nothing may leak, and when the failures are over everything works again (hazards G6, H1)."""
import http.client
import mmap
import os
import pathlib
import struct
import subprocess
import threading

import pprof_decode
import pprof_rules
from lib import App, BUILD, agent_task, environment, equal, limit, long, note, parallel, program, scratch, until

CALL, MEMORY = 0, 1
KINDS = {CALL: "kernel call", MEMORY: "allocation"}
ALL = 1 << 62


class Faults:
    """The block that the library shares with us: tests/faults/faults.h."""

    def __init__(self):
        self.path = scratch() / "faults"
        self.path.write_bytes(bytes(4096))
        self.file = open(self.path, "r+b")
        self.map = mmap.mmap(self.file.fileno(), 4096)

    def _word(self, i, value=None):
        if value is not None:
            struct.pack_into("<Q", self.map, 8 * i, value)
        return struct.unpack_from("<Q", self.map, 8 * i)[0]

    def arm(self, kind, first, count):
        self.disarm()
        self._word(0, 0), self._word(1, 0), self._word(6, 0)
        self._word(4 + kind, count)
        self._word(2 + kind, first)

    def disarm(self):
        self._word(2, 0), self._word(3, 0)

    @property
    def seen(self):
        return self._word(0), self._word(1)

    @property
    def fired(self):
        return self._word(6)

    @property
    def last(self):
        return self._word(7)

    def set_clock(self, seconds):
        """As date(1) would: so much ahead of what it is."""
        self._word(8, int(seconds * 1e9) % (1 << 64))

    @property
    def looks(self):
        return self._word(9)

    @property
    def env(self):
        return {"FAULTS": str(self.path)}


def library():
    path = pathlib.Path(os.environ.get("PPROF_TEST_FAULTS", BUILD / "tests/libpprofagent-faults.so"))
    assert path.exists(), f"{path} is not there: run make programs"
    return str(path)


def run(argv, faults, **settings):
    settings.setdefault("addr", "127.0.0.1:0")
    done = subprocess.run([program(argv[0]), *argv[1:]], env=environment(faults.env, library(), **settings), capture_output=True, timeout=30,
                          stdin=subprocess.DEVNULL)
    return done.returncode, done.stdout, done.stderr


def start_and_end(argv, step, dense=0, **settings):
    """Fails each of the first `dense` calls and allocations of a whole run, and every step-th of the others. Returns how many failures there were."""
    plain = subprocess.run([program(argv[0]), *argv[1:]], env=environment(), capture_output=True, timeout=30, stdin=subprocess.DEVNULL)
    faults, total = Faults(), 0
    for kind, name in KINDS.items():
        run(argv, faults, **settings)
        for count in (1, ALL):
            n = 1
            while True:
                faults.arm(kind, n, count)
                status, out, error = run(argv, faults, **settings)
                what = f"{argv} when {name} {n} fails (all after it: {count == ALL}; last system call {faults.last})"
                equal((status, out), (plain.returncode, plain.stdout), what)
                # at most sentences of ours, before main
                strange = [line for line in error.splitlines() if not line.startswith(b"pprofagent")]
                equal(strange, [], f"stderr of {what}")
                if not faults.fired:
                    break
                total += faults.fired
                n += 1 if n < dense else step
    return total


@parallel
@limit(120)
def test_failures_of_start_and_end():
    """Every call of the start and the end of a process; the listener, PPROF_OUTPUT, PPROF_SD_DIR."""
    total = start_and_end(["exit_ways", "return"], 1)
    total += start_and_end(["exit_ways", "main_last"], 101, 15, output=scratch(), sd_dir=scratch(), memprofilerate=512)
    note(f"{total} failures")
    assert total > 200, f"only {total} failures: is the door in the way?"


@long
@limit(3600)
def test_failures_of_start_and_end_all():
    for way in ("return", "main_last", "main_first", "_exit", "exit_in_thread"):
        note(way, start_and_end(["exit_ways", way], 1, output=scratch(), sd_dir=scratch(), memprofilerate=512, output_every=1))


@parallel
@limit(120)
def test_last_words_when_nothing_says_who_is_left():
    """No memory to count threads, and no /proc: libc finds out who was last, in a thread with the program's descriptors (hazard G2)."""
    for way in ("main_last", "main_first"):
        plain = subprocess.run([program("exit_ways"), way], env=environment(), capture_output=True, timeout=30, stdin=subprocess.DEVNULL)
        faults, fired = Faults(), 0
        for n in range(12, 60, 8):
            faults.arm(CALL, n, ALL)
            equal(run(["exit_ways", way], faults, output=scratch(), output_every=1)[:2], (0, plain.stdout), f"{way} when kernel calls from {n} on fail")
            fired += faults.fired
        assert fired > 100, f"only {fired} failures"


ENDPOINTS = ("", "allocs?debug=1", "heap", "block", "mutex", "goroutine?debug=2", "goroutine", "threadcreate", "cmdline", "agent",
             "agent?format=prometheus", "goroutineleak", "symbol?0x1000", "ui/", "delta_heap", "leak?age=1ms")
SLOW = ("profile?seconds=1", "trace?seconds=1", "trace?seconds=1&format=go1.22", "wall?seconds=1", "heap?seconds=1")


def ask(app, path, when=lambda: ""):
    """(status, body), or None when the connection broke: both are ways to fail, waiting is not."""
    connection = app.connect(timeout=20)
    try:
        connection.request("GET", "/debug/pprof/" + path)
        answer = connection.getresponse()
        return answer.status, answer.read()
    except TimeoutError:
        raise AssertionError(f"{path}: no answer within 20 s {when()}") from None
    except (OSError, http.client.HTTPException):
        return None
    finally:
        connection.close()


def agent_descriptors(app):
    return len(os.listdir(agent_task(app.pid) / "fd"))


def memory(app):
    """Bytes in answers, as the agent counts them."""
    status, body = ask(app, "agent")
    equal(status, 200, "status of agent")
    return next(int(line.split(b"=")[1]) for line in body.splitlines() if line.startswith(b"answers="))


def is_profile(path):
    return path.split("?")[0] in ("heap", "allocs", "block", "mutex", "goroutine", "threadcreate", "profile", "wall", "goroutineleak", "leak",
                                  "delta_heap") and "debug" not in path


def every_failure(app, faults, path, step):
    """Fails each call of one request in turn."""
    total = 0
    for kind, name in KINDS.items():
        for count in (1, ALL):
            n = 1
            while True:
                faults.arm(kind, n, count)
                what = lambda: f"{path} when {name} {n} fails (all after it: {count == ALL}; last system call {faults.last})"
                # a listener that cannot accept answers when it can again
                over = threading.Timer(0.3, faults.disarm)
                over.start()
                got = ask(app, path, what)
                over.cancel()
                faults.disarm()
                equal(app.process.poll(), None, f"status of the program behind {what()}")
                if got and got[0] == 200 and is_profile(path):
                    problems = pprof_rules.problems(pprof_decode.Profile.parse(got[1]), names=False)
                    equal(problems, [], what())
                if not faults.fired:
                    break
                total += faults.fired
                n += step
    status, _ = ask(app, path) or (None, None)
    equal(status, 200, f"{path} when the failures are over")
    return total


def all_endpoints(paths, step):
    faults, total = Faults(), 0
    with App(program("ends"), "busy", preload=library(), env=faults.env, memprofilerate=4096) as app:
        app.line()
        for path in paths:
            equal((ask(app, path) or (None,))[0], 200, path)
        for path in paths:
            descriptors, used = agent_descriptors(app), memory(app)
            total += every_failure(app, faults, path, step)
            # the connection of the request before may just have been open when they were counted
            until(lambda: agent_descriptors(app) <= descriptors, f"no more than {descriptors} descriptors of the agent behind {path}")
            # A file whose build ID could not be read is another file to the cache of names, until it has not been used
            # for two answers. What leaks stays.
            for _ in range(3):
                equal((ask(app, "heap") or (None,))[0], 200, "heap when the failures are over")
            grown = memory(app) - used
            assert grown < 1 << 20, f"{path}: {grown} bytes more in use"
        app.process.terminate()
        equal(app.finish(20)[0], -15, "end of the program")
    note(f"{total} failures")
    assert total > 200, f"only {total} failures: is the door in the way?"


@parallel
@limit(120)
def test_failures_of_endpoints():
    all_endpoints(("heap", "goroutine?debug=2", "block", "agent"), 37)


@long
@limit(3000)
def test_failures_of_endpoints_all():
    all_endpoints(ENDPOINTS, 1)


@long
@limit(3000)
def test_failures_of_slow_endpoints_all():
    all_endpoints(SLOW, 29)


def all_turns(step):
    faults, total = Faults(), 0
    with App(program("ends"), "turns", preload=library(), env=faults.env, stdin=subprocess.PIPE, memprofilerate=1024,
             mutexprofilefraction=1, blockprofilerate=1) as app:
        equal(app.line(), "ready")
        for kind, name in KINDS.items():
            for count in (1, ALL):
                n = 1
                while True:
                    faults.arm(kind, n, count)
                    app.say("")
                    said = app.line(20)
                    faults.disarm()
                    equal(said, "done", f"threads and a child when {name} {n} fails (all after it: {count == ALL}; last system call {faults.last})")
                    if not faults.fired:
                        break
                    total += faults.fired
                    n += step
        equal(app.get("heap").status, 200, "heap when the failures are over")
    note(f"{total} failures")
    assert total > 20, f"only {total} failures: is the door in the way?"


@parallel
@limit(120)
def test_failures_of_threads_and_fork():
    all_turns(3)


@long
@limit(600)
def test_failures_of_threads_and_fork_all():
    all_turns(1)
