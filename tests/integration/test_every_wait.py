# SPDX-License-Identifier: Apache-2.0
"""Every function of hooks/hooks.def that waits, with a wait of known length (tests/programs/every_wait.c), as traces
and profiles show it: for how long, of what kind, called by whom, let go by whom."""
import re
import subprocess

import lib
import perfetto_decode
from lib import App, equal, limit, note, parallel, program, until
from stacks import View
from traces import Fetch, counter, go_trace, recording, rows

# Between the first lock and the last function of threads in hooks.def, these wait for nobody ...
NEVER_WAIT = set("""pthread_mutex_unlock pthread_rwlock_unlock pthread_spin_unlock mtx_unlock sem_post pthread_create
    pthread_cond_signal pthread_cond_broadcast cnd_signal cnd_broadcast thrd_create""".split())
# ... and these only for disks, whose time nobody knows.
FOR_DISKS = set("""pread pread64 __pread_chk __pread64_chk preadv preadv64 pwrite pwrite64 pwritev pwritev64
    copy_file_range fsync fdatasync sync msync syncfs sync_file_range""".split())
# Rows of the program that are not named after what they call, and functions that libc has under one address.
CALLED = {"old_cond_wait": "pthread_cond_wait", "old_cond_timedwait": "pthread_cond_timedwait"}
TWINS = [{"open", "open64"}, {"openat", "openat64"}, {"creat", "creat64"}, {"fcntl", "fcntl64"}, {"lockf", "lockf64"},
         {"sendfile", "sendfile64"}, {"preadv2", "preadv64v2"}, {"pwritev2", "pwritev64v2"}]
ENDS_WITH_THE_THREAD = {"pthread_join", "pthread_timedjoin_np", "pthread_clockjoin_np", "thrd_join"}


class Row:
    def __init__(self, name, kind, *numbers):
        self.name, self.kind, self.caller = name, kind, "wait_" + name
        self.least, self.most, self.ready = (int(n) / 1e6 for n in numbers)
        called = CALLED.get(name, name)
        self.called = next((twins for twins in TWINS if called in twins), {called})

    def check(self, ms, where):
        """What lies between the program's clock and ours is a few instructions, if no other thread has the
        processor there: at most the time that it was ready without one."""
        if not 0.98 * self.least - self.ready <= ms <= 1.0001 * self.most + 0.01:  # go's tables round
            raise AssertionError(f"{where} says {ms} ms of {self.name}, which waited {self.least} to {self.most} ms, "
                                 f"{self.ready} of it without a processor")


def one_trace(seconds, **query):
    """(file, the program's own rows, block, mutex), or None if the trace ended before the program did."""
    with App(program("every_wait"), 300, stdin=subprocess.PIPE, blockprofilerate=1, mutexprofilefraction=1) as app:
        equal(app.line(), "ready")
        fetch = Fetch(app, seconds=seconds, **query)
        until(lambda: recording(app), "the trace runs")
        app.say("go")
        waits = []
        while (line := app.line(60)) != "done":
            waits.append(Row(*line.split()))
        if not recording(app):
            return None
        file = fetch.save()
        equal(counter(app, "trace_events_dropped"), 0)
        return file, waits, View(app.profile("block")), View(app.profile("mutex"))


def traced(**query):
    """The program is ready within 2 s, on a machine that 30 others use within 20."""
    found = one_trace(4, **query) or one_trace(20, **query)
    assert found, "the program does not come to its end"
    return found


@parallel
def test_every_function_that_waits_has_a_row():
    text = (lib.TOP / "hooks/hooks.def").read_text()
    hooked = re.findall(r"^HOOK\((\w+),", text, re.M)
    hooked = set(hooked[hooked.index("pthread_mutex_lock"):hooked.index("fork")])
    here = set(re.findall(r"^\tROW\(\w+, (\w+),", (lib.TOP / "tests/programs/every_wait.c").read_text(), re.M))
    equal(here - set(CALLED) | NEVER_WAIT | FOR_DISKS, hooked, "functions that are hooked")
    equal(here & (NEVER_WAIT | FOR_DISKS), set())


@limit(90)
def test_in_go():
    file, waits, block, mutex = traced()
    tables = {kind: rows(go_trace(file, kind)) for kind in ("sync", "net", "syscall")}
    for row in waits:
        for kind, table in tables.items():
            if kind == {"network": "net"}.get(row.kind, row.kind):
                assert row.caller in table, (kind, row.name, sorted(table))
                row.check(table[row.caller][1], f"go tool trace, {kind}")
            else:
                assert row.caller not in table, f"{row.name} is {row.kind}, go tool trace has it in {kind}"
        # profiles have what is waited for in libc only
        mine = [s for s in block.samples if any(f.name == row.caller for f in s.frames)]
        if row.kind == "sync":
            equal({s.frames[0].name for s in mine}, row.called)
            row.check(sum(s.values["delay"] for s in mine) / 1e6, "block")
        else:
            equal(len(mine), 0, f"{row.name} in block")
    total = sum(row.most for row in waits if row.kind == "sync")
    note(f"{len(waits)} functions; sync {total:.0f} ms, block {block.total('delay') / 1e6:.0f}, mutex {mutex.total('delay') / 1e6:.0f}")


@limit(90)
def test_in_perfetto():
    file, waits, _, _ = traced(format="perfetto")
    trace = perfetto_decode.parse(file.read_bytes())
    slices = [s for t in trace.threads() for s in t.slices if s.depth == 1 and s.stack]
    woken_by = {}
    for a, b in trace.arrows.values():
        if b and b.name == "woken":
            woken_by.setdefault(b.track.uuid, set()).add((a.track.name, a.track.tid))
    main = next(t for t in trace.threads() if t.tid == t.pid)
    for row in waits:
        mine = [s for s in slices if any(f[0] == row.caller for f in s.stack)]
        assert mine, (row.name, [s.stack[0] for s in slices])
        equal({s.category for s in mine}, {row.kind}, row.name)
        equal({s.stack[0][0] for s in mine} <= row.called, True, f"{row.name}: {mine[0].stack}")
        equal({s.stack[1][0] for s in mine}, {row.caller})
        row.check(sum(s.end - s.start for s in mine) / 1e6, "perfetto")
        if row.kind == "sync" and row.name not in ENDS_WITH_THE_THREAD:
            equal({tid for _, tid in woken_by.get(mine[0].track.uuid, ())}, {main.tid}, f"who let {row.name} go")
