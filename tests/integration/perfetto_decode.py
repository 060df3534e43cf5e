# SPDX-License-Identifier: Apache-2.0
"""An independent reader of Perfetto traces (TrackEvent), as far as this project writes them: field numbers
by hand, nothing shared with the encoder. Every rule that a viewer relies on is checked while reading.

    trace = perfetto_decode.parse(bytes)
    trace.tracks[uuid]      # Track: name, pid, tid, slices, instants, values
    slice.name, .category, .start, .end (None: never), .depth, .stack (list, leaf first), .text, .notes
    trace.arrows            # {flow id: (event it comes from, event it goes to or None)}
"""
from protobuf_wire import Malformed, fields, signed

BEGIN, END, INSTANT, COUNTER = 1, 2, 3, 4
# tests/integration/perfetto_fields.proto says the same for protoc
PACKET = {8: "timestamp", 10: "sequence", 11: "event", 12: "interned", 13: "flags", 60: "track"}
INTERNED = {1: ("category", 2), 2: ("name", 2), 3: ("note", 2), 5: ("function", 2), 18: ("path", 2), 29: ("value", 2)}


def check(ok, why):
    if not ok:
        raise Malformed(why)


def message(data, known):
    """{name: [values]}; a field that is not known is an error."""
    out = {}
    for number, wire, value in fields(data):
        check(number in known, f"field {number} where {sorted(known.values(), key=str)} are known")
        out.setdefault(known[number], []).append(value)
    return out


def one(m, name, default=None):
    values = m.get(name, [])
    check(len(values) <= 1, f"{name} {len(values)} times")
    return values[0] if values else default


class Event:
    def __init__(self, track, at):
        self.track, self.start, self.end, self.depth = track, at, None, 0
        self.name = self.category = None
        self.stack, self.notes = [], {}

    def __repr__(self):
        return f"<{self.name} {self.start}..{self.end}>"


class Track:
    def __init__(self, uuid):
        self.uuid, self.parent = uuid, None
        self.name = self.pid = self.tid = self.process = self.unit = None
        self.slices, self.instants, self.values, self.open = [], [], [], []
        self.last = 0


class Trace:
    def __init__(self):
        self.tracks, self.arrows, self.packets = {}, {}, 0
        self.ids = {kind: {} for kind, _ in INTERNED.values()}
        self.frames, self.stacks = {}, {}

    # --- texts and stacks by id

    def intern(self, data):
        for number, wire, value in fields(data):
            if number in INTERNED:
                kind, text = INTERNED[number]
                m = message(value, {1: "iid", text: "text"})
                self._set(self.ids[kind], one(m, "iid"), one(m, "text").decode("utf-8"))
            elif number == 6:
                m = message(value, {1: "iid", 2: "function", 5: "path", 6: "line"})
                path = one(m, "path")
                self._set(self.frames, one(m, "iid"), (self._get("function", one(m, "function")),
                          self._get("path", path) if path else None, one(m, "line", 0)))
            elif number == 7:
                m = message(value, {1: "iid", 2: "frames"})
                check(m.get("frames"), "an empty call stack")
                self._set(self.stacks, one(m, "iid"), [self.frames[f] for f in reversed(m["frames"])])
            else:
                raise Malformed(f"interned field {number}")

    @staticmethod
    def _set(table, iid, value):
        check(iid, "an id of 0")
        check(table.setdefault(iid, value) == value, f"id {iid} is {table[iid]} and {value}")

    def _get(self, kind, iid):
        check(iid in self.ids[kind], f"{kind} {iid} is used before it is known")
        return self.ids[kind][iid]

    # --- tracks

    def describe(self, data):
        m = message(data, {1: "uuid", 2: "name", 3: "process", 4: "thread", 5: "parent", 8: "counter"})
        uuid = one(m, "uuid")
        check(uuid and uuid not in self.tracks, f"track {uuid} twice")
        track = self.tracks[uuid] = Track(uuid)
        track.parent = one(m, "parent")
        check(not track.parent or track.parent in self.tracks, f"track {uuid} has no parent")
        track.name = one(m, "name", b"").decode("utf-8")
        if "process" in m:
            p = message(one(m, "process"), {1: "pid", 6: "name"})
            track.pid, track.process = one(p, "pid"), one(p, "name").decode("utf-8")
        if "thread" in m:
            t = message(one(m, "thread"), {1: "pid", 2: "tid", 5: "name"})
            track.pid, track.tid, track.name = one(t, "pid"), one(t, "tid"), one(t, "name").decode("utf-8")
            check(track.pid == self.tracks[track.parent].pid, "a thread of another process")
        if "counter" in m:
            track.unit = one(message(one(m, "counter"), {3: "unit"}), "unit")

    # --- events

    def happen(self, at, data):
        m = message(data, {3: "categories", 4: "notes", 9: "type", 10: "name", 11: "track", 30: "value",
                           47: "flows", 48: "ends", 56: "stack"})
        track, kind = self.tracks[one(m, "track")], one(m, "type")
        check(at >= track.last, f"{at} after {track.last} on track {track.uuid}")
        track.last = at
        event = Event(track, at)
        if kind == COUNTER:
            check(track.unit, "a value on a track that is no counter")
            track.values.append((at, signed(one(m, "value"))))
            return
        if kind == END:
            check(track.open, f"an end without a begin on track {track.uuid}")
            track.open.pop().end = at
            return
        check(kind in (BEGIN, INSTANT), f"type {kind}")
        event.name, event.category = self._get("name", one(m, "name")), self._get("category", one(m, "categories"))
        event.depth = len(track.open)
        if "stack" in m:
            event.stack = self.stacks[one(m, "stack")]
        for annotation in m.get("notes", []):
            a = message(annotation, {1: "name", 17: "value"})
            event.notes[self._get("note", one(a, "name"))] = self._get("value", one(a, "value"))
        (track.slices if kind == BEGIN else track.instants).append(event)
        if kind == BEGIN:
            track.open.append(event)
        self._arrows(event, m)

    def _arrows(self, event, m):
        for flow in m.get("flows", []):
            check(flow not in self.arrows, f"arrow {flow:x} begins twice")
            self.arrows[flow] = (event, None)
        for flow in m.get("ends", []):
            check(flow in self.arrows and not self.arrows[flow][1], f"arrow {flow:x} ends without a beginning, or twice")
            check(self.arrows[flow][0].start <= event.start, f"arrow {flow:x} goes back in time")
            self.arrows[flow] = (self.arrows[flow][0], event)

    def threads(self):
        return [t for t in self.tracks.values() if t.tid]

    def thread(self, name):
        found = [t for t in self.threads() if t.name == name]
        check(len(found) == 1, f"{len(found)} threads {name}: {[t.name for t in self.threads()]}")
        return found[0]


def parse(data):
    trace = Trace()
    for packet in message(data, {1: "packet"}).get("packet", []):
        m = message(packet, PACKET)
        check(one(m, "sequence") == 1, "another writer")
        check((one(m, "flags") & 1 == 1) == (trace.packets == 0), "ids begin anew with the first packet only")
        check(one(m, "flags") & 2, "ids are not used")
        trace.packets += 1
        if "interned" in m:
            trace.intern(one(m, "interned"))
        if "track" in m:
            trace.describe(one(m, "track"))
        if "event" in m:
            trace.happen(one(m, "timestamp"), one(m, "event"))
    return trace
