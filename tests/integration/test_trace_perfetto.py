# SPDX-License-Identifier: Apache-2.0
"""/debug/pprof/trace?format=perfetto, read by a decoder of our own and by protoc with field numbers by hand."""
import pathlib
import re
import subprocess

import perfetto_decode
from lib import equal, limit, needs, note, parallel
from traces import check_wait, known_waits

SCHEMA = pathlib.Path(__file__).with_name("perfetto_fields.proto")


def waits(track, function):
    """The waits of a thread in a function: their sum in ms, and the stacks."""
    found = [s for s in track.slices if s.depth == 1 and s.stack and s.stack[0][0] == function]
    return sum(s.end - s.start for s in found) / 1e6, [[f[0] for f in s.stack] for s in found], found


@limit(120)
@parallel
def test_perfetto():
    with known_waits(format="perfetto") as (file, waited):
        data = file.read_bytes()
        trace = perfetto_decode.parse(data)
        threads = {t.name: t for t in trace.threads()}
        for name in ("main", "holder", "locker0", "locker1", "awaiter", "burner"):
            assert name in threads, (name, sorted(threads))
        # how long each of them waited, for what, called by whom
        lockers = [waits(threads[name], "pthread_mutex_lock") for name in ("locker0", "locker1")]
        cond = waits(threads["awaiter"], "pthread_cond_wait")
        join = waits(threads["main"], "pthread_join")
        for name, ms in (("mutex", sum(w[0] for w in lockers)), ("cond", cond[0]), ("join", join[0])):
            check_wait(name, ms, waited)
        for caller, (_, stacks, found) in (("take_it", lockers[0]), ("await_it", cond), ("join_it", join)):
            assert all(stack[1] == caller for stack in stacks) and stacks, (caller, stacks)
            for s in found:
                _, path, line = s.stack[1]
                assert path and path.endswith("trace_waits.c") and line > 0, s.stack[1]
                equal(s.notes["stack"].split("\n")[0].split(" ")[0], s.stack[0][0])
                equal(s.notes["stack"].split("\n")[1], f"{caller} {path}:{line}")
                equal((s.category, s.name), ("sync", f"sync ({s.stack[0][0]})"))
        # who ended it: an arrow from the holder's unlock to the locker that came through, right after its wait
        woken = {(a.track.name, a.name, b.track.name, b.name) for a, b in trace.arrows.values() if b}
        assert any(("holder", "wakes", name, "woken") in woken for name in ("locker0", "locker1")), woken
        assert ("main", "wakes", "awaiter", "woken") in woken, woken
        assert ("burner", "wakes", "main", "woken") in woken, (woken, "the end of a thread lets its joiner go")
        for a, b in trace.arrows.values():
            if b and b.name == "woken":
                assert any(0 <= b.start - s.end < 1000 for s in b.track.slices if s.end), (b, b.track.slices)
        # threads that main created after the trace began come from it, and live in a slice of their own
        born = {b.track.name for a, b in trace.arrows.values() if b and a.name == "creates thread"}
        assert "burner" in born, (born, woken)
        life = threads["burner"].slices[0]
        equal((life.name, life.depth, life.category), ("burner", 0, "thread"))
        assert life.end, "burner ends within the trace"
        assert not threads["main"].slices[0].end, "main does not"
        samples = [i for i in threads["burner"].instants if i.name == "CPU sample"]
        assert len(samples) >= 5 and any("burn" in [f[0] for f in s.stack] for s in samples), samples
        heap = [t for t in trace.tracks.values() if t.name == "live heap"][0]
        equal(heap.unit, 3, "bytes")
        note(f"{len(data)} bytes, {trace.packets} packets, {len(trace.arrows)} arrows")
        check_protoc(data, trace)


def check_protoc(data, trace):
    """protoc knows every field by the numbers of a schema written by hand."""
    protoc = needs("protoc")
    done = subprocess.run([protoc, f"--proto_path={SCHEMA.parent}", "--decode=Trace", SCHEMA.name],
                          input=data, capture_output=True, timeout=60)
    equal(done.returncode, 0, done.stderr.decode()[:300])
    text = done.stdout.decode()
    unknown = re.findall(r"^ *\d+(?::| \{).*$", text, re.M)
    equal(unknown, [], "fields that the schema does not know")
    equal(len(re.findall(r"^packet \{", text, re.M)), trace.packets)
    for words in ('thread_name: "burner"', 'name: "sync (pthread_mutex_lock)"', "type: TYPE_SLICE_BEGIN",
                  "terminating_flow_ids: ", 'str: "take_it"', 'process_name: "trace_waits"'):
        assert words in text, words
