# SPDX-License-Identifier: Apache-2.0
"""An independent reader of pprof profiles, written from the public description of the format and
sharing nothing with the encoder: standard library only.

    import pprof_decode
    profile = pprof_decode.parse(bytes_of_the_answer)   # gzip'ed or plain; a Profile

pprof_rules.py judges what it read.
"""
import gzip
import zlib

from protobuf_wire import Malformed, fields, signed, numbers, scalars


class Function:
    def __init__(self, id, name, system_name, filename, start_line):
        self.id, self.name, self.system_name = id, name, system_name
        self.filename, self.start_line = filename, start_line

    def __repr__(self):
        return f"<function {self.id} {self.name}>"


class Mapping:
    def __init__(self, **fields):
        self.__dict__.update(fields)

    def __repr__(self):
        return f"<mapping {self.id} {self.filename}>"


class Line:
    def __init__(self, function_id, function, line, column):
        self.function_id, self.function = function_id, function
        self.line, self.column = line, column


class Location:
    def __init__(self, id, mapping_id, address, lines, is_folded):
        self.id, self.mapping_id, self.address = id, mapping_id, address
        self.lines, self.is_folded = lines, is_folded
        self.mapping = None

    @property
    def names(self):
        """Function names, innermost inlined one first."""
        return [line.function.name for line in self.lines if line.function]


class Sample:
    def __init__(self, location_ids, values, labels):
        self.location_ids, self.values, self.labels = location_ids, values, labels
        self.locations = []

    @property
    def stack(self):
        """Names of all frames, leaf first."""
        return [name for location in self.locations for name in location.names or ["?"]]

    def label(self, key):
        for name, text, number, _ in self.labels:
            if name == key:
                return number if text is None else text
        return None


class Profile:
    """samples, mappings, locations, functions (in file order), strings, sample_types as (type, unit)."""

    @classmethod
    def parse(cls, data, envelope=True):
        self = cls()
        self.problems = []  # what the decoder already noticed
        if data[:2] == b"\x1f\x8b":
            data = self._gunzip(data)
        elif envelope:
            self.problems.append("the profile is not gzip'ed")
        self._decode(data)
        return self

    def _gunzip(self, data):
        inflate = zlib.decompressobj(wbits=31)
        try:
            out = inflate.decompress(data) + inflate.flush()
        except zlib.error as error:
            raise Malformed(f"bad gzip data: {error}") from None
        if not inflate.eof:
            raise Malformed("gzip data ends too early")
        if inflate.unused_data:
            self.problems.append("more than one gzip member, or bytes behind the first")
        if data[3] != 0 or data[4:8] != b"\0\0\0\0":
            self.problems.append("the gzip header carries a name or a time")
        if gzip.decompress(data) != out:
            self.problems.append("gzip readers disagree")
        return out

    def _text(self, index, where):
        if not 0 <= index < len(self.strings):
            self.problems.append(f"{where}: text number {index} is outside the table")
            return ""
        return self.strings[index]

    def _decode(self, data):
        raw = {number: [] for number in range(1, 16)}
        self.unknown_fields = []
        for number, wire, value in fields(data):
            if number not in raw:
                self.unknown_fields.append(number)
                continue
            raw[number].append((wire, value))
        self._strings(raw[6])
        self._scalar_fields(raw)
        self.sample_types = [self._value_type(value) for _, value in raw[1]]
        self.functions = [self._function(value) for _, value in raw[5]]
        self.mappings = [self._mapping(value) for _, value in raw[3]]
        by_id = {f.id: f for f in self.functions}
        self.locations = [self._location(value, by_id) for _, value in raw[4]]
        mapping_by_id = {m.id: m for m in self.mappings}
        for location in self.locations:
            location.mapping = mapping_by_id.get(location.mapping_id)
        location_by_id = {location.id: location for location in self.locations}
        self.samples = [self._sample(value, location_by_id) for _, value in raw[2]]

    def _strings(self, occurrences):
        self.strings, self.raw_strings = [], []
        for wire, value in occurrences:
            if wire != 2:
                raise Malformed("string_table is no text")
            self.raw_strings.append(bytes(value))
            try:
                text = value.decode("utf-8")
            except UnicodeDecodeError:
                self.problems.append(f"a text is not valid UTF-8: {bytes(value)[:80]!r}")
                text = value.decode("utf-8", "replace")
            self.strings.append(text)

    def _scalar_fields(self, raw):
        self.occurrences = {number: len(list_) for number, list_ in raw.items()}

        def one(number):
            return signed(raw[number][-1][1]) if raw[number] else 0

        self.drop_frames = self._text(one(7), "drop_frames")
        self.keep_frames = self._text(one(8), "keep_frames")
        self.time_nanos, self.duration_nanos, self.period = one(9), one(10), one(12)
        self.default_sample_type = self._text(one(14), "default_sample_type")
        self.doc_url = self._text(one(15), "doc_url")
        self.period_type = self._value_type(raw[11][-1][1]) if raw[11] else ("", "")
        self.comments = [self._text(signed(number), "comment")
                         for wire, value in raw[13] for number in numbers(wire, value)]

    def _value_type(self, data):
        f = scalars(data, {1: "type", 2: "unit"}, "value type")
        return self._text(f["type"], "value type"), self._text(f["unit"], "value type")

    def _function(self, data):
        f = scalars(data, {1: "id", 2: "name", 3: "system_name", 4: "filename", 5: "start_line"},
                     "function")
        for key in ("name", "system_name", "filename"):
            f[key] = self._text(f[key], f"function {f['id']}")
        return Function(**f)

    def _mapping(self, data):
        f = scalars(data, {1: "id", 2: "start", 3: "limit", 4: "offset", 5: "filename",
                            6: "build_id", 7: "has_functions", 8: "has_filenames",
                            9: "has_line_numbers", 10: "has_inline_frames"}, "mapping")
        for key in ("filename", "build_id"):
            f[key] = self._text(f[key], f"mapping {f['id']}")
        for key in f:
            if key.startswith("has_"):
                f[key] = bool(f[key])
        return Mapping(**f)

    def _location(self, data, functions):
        lines = []
        f = scalars(data, {1: "id", 2: "mapping_id", 3: "address", 5: "is_folded"}, "location")
        for number, _, value in fields(data):
            if number == 4:
                line = scalars(value, {1: "function_id", 2: "line", 3: "column"}, "line")
                lines.append(Line(line["function_id"], functions.get(line["function_id"]),
                                  signed(line["line"]), line["column"]))
        return Location(f["id"], f["mapping_id"], f["address"], lines, bool(f["is_folded"]))

    def _sample(self, data, locations):
        ids, values, labels = [], [], []
        for number, wire, value in fields(data):
            if number == 1:
                ids += numbers(wire, value)
            elif number == 2:
                values += [signed(v) for v in numbers(wire, value)]
            elif number == 3:
                label = scalars(value, {1: "key", 2: "str", 3: "num", 4: "unit"}, "label")
                if label["key"] == 0:
                    self.problems.append("a label without a key")
                text = self._text(label["str"], "label") if label["str"] else None
                labels.append((self._text(label["key"], "label"), text, signed(label["num"]),
                               self._text(label["unit"], "label")))
        sample = Sample(ids, values, labels)
        sample.locations = [locations[i] for i in ids if i in locations]
        return sample

    # --- conveniences for tests ---

    def index(self, sample_type):
        """The column of a sample type."""
        return [name for name, _ in self.sample_types].index(sample_type)

    def total(self, sample_type):
        column = self.index(sample_type)
        return sum(sample.values[column] for sample in self.samples)

    def flat(self, sample_type):
        """{name of the leaf function: sum}"""
        column, out = self.index(sample_type), {}
        for sample in self.samples:
            leaf = sample.stack[0] if sample.stack else ""
            out[leaf] = out.get(leaf, 0) + sample.values[column]
        return out

    def cumulative(self, sample_type):
        """{function name: sum over the samples that contain it}"""
        column, out = self.index(sample_type), {}
        for sample in self.samples:
            for name in set(sample.stack):
                out[name] = out.get(name, 0) + sample.values[column]
        return out


def parse(data):
    """A Profile from the bytes of an answer. Raises Malformed."""
    return Profile.parse(data)
