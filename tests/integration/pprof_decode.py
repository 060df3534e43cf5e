# SPDX-License-Identifier: Apache-2.0
"""An independent reader of pprof profiles, written from the public description of the format and
sharing nothing with the encoder: standard library only.

    import pprof_decode
    profile = pprof_decode.parse(bytes_of_the_answer)   # gzip'ed or plain; a Profile
    pprof_decode.validate(profile)                      # AssertionError when it breaks a rule
    pprof_decode.problems(profile)                      # the same as a list of sentences

From a shell: pprof_decode.py [--raw|--top] FILE...; exit status 1 if a file breaks a rule.
"""
import gzip
import re
import sys
import time
import unicodedata
import zlib


class Malformed(Exception):
    """The bytes are no profile."""


# --- wire format (protobuf encoding guide) ---------------------------------------------------------

def _varint(data, at):
    value = shift = 0
    while True:
        if at >= len(data):
            raise Malformed("a number runs over the end")
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value & 0xFFFFFFFFFFFFFFFF, at
        shift += 7
        if shift > 63:
            raise Malformed("a number has more than ten bytes")


def _fields(data):
    """Yields (field number, wire type, value): an int, or bytes for length-delimited fields."""
    at = 0
    while at < len(data):
        key, at = _varint(data, at)
        number, wire = key >> 3, key & 7
        if number == 0:
            raise Malformed("field number 0")
        if wire == 0:
            value, at = _varint(data, at)
        elif wire == 1:
            value, at = int.from_bytes(data[at:at + 8], "little"), at + 8
        elif wire == 2:
            size, at = _varint(data, at)
            value, at = data[at:at + size], at + size
        elif wire == 5:
            value, at = int.from_bytes(data[at:at + 4], "little"), at + 4
        else:
            raise Malformed(f"wire type {wire}")
        if at > len(data):
            raise Malformed("a field runs over the end")
        yield number, wire, value


def _signed(value):
    return value - (1 << 64) if value >> 63 else value


def _numbers(wire, value):
    """The values of one occurrence of a repeated integer field, packed or not."""
    if wire == 0:
        return [value]
    if wire != 2:
        raise Malformed("an integer field that is none")
    out, at = [], 0
    while at < len(value):
        number, at = _varint(value, at)
        out.append(number)
    return out


def _scalars(data, names, where):
    """A message of single integers: {name: value}; names maps field numbers."""
    out = dict.fromkeys(names.values(), 0)
    for number, wire, value in _fields(data):
        if number in names:
            if wire != 0:
                raise Malformed(f"{where}.{names[number]} is no integer")
            out[names[number]] = value
    return out


# --- the messages ----------------------------------------------------------------------------------

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
        for number, wire, value in _fields(data):
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
            return _signed(raw[number][-1][1]) if raw[number] else 0

        self.drop_frames = self._text(one(7), "drop_frames")
        self.keep_frames = self._text(one(8), "keep_frames")
        self.time_nanos, self.duration_nanos, self.period = one(9), one(10), one(12)
        self.default_sample_type = self._text(one(14), "default_sample_type")
        self.doc_url = self._text(one(15), "doc_url")
        self.period_type = self._value_type(raw[11][-1][1]) if raw[11] else ("", "")
        self.comments = [self._text(_signed(number), "comment")
                         for wire, value in raw[13] for number in _numbers(wire, value)]

    def _value_type(self, data):
        f = _scalars(data, {1: "type", 2: "unit"}, "value type")
        return self._text(f["type"], "value type"), self._text(f["unit"], "value type")

    def _function(self, data):
        f = _scalars(data, {1: "id", 2: "name", 3: "system_name", 4: "filename", 5: "start_line"},
                     "function")
        for key in ("name", "system_name", "filename"):
            f[key] = self._text(f[key], f"function {f['id']}")
        return Function(**f)

    def _mapping(self, data):
        f = _scalars(data, {1: "id", 2: "start", 3: "limit", 4: "offset", 5: "filename",
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
        f = _scalars(data, {1: "id", 2: "mapping_id", 3: "address", 5: "is_folded"}, "location")
        for number, _, value in _fields(data):
            if number == 4:
                line = _scalars(value, {1: "function_id", 2: "line", 3: "column"}, "line")
                lines.append(Line(line["function_id"], functions.get(line["function_id"]),
                                  _signed(line["line"]), line["column"]))
        return Location(f["id"], f["mapping_id"], f["address"], lines, bool(f["is_folded"]))

    def _sample(self, data, locations):
        ids, values, labels = [], [], []
        for number, wire, value in _fields(data):
            if number == 1:
                ids += _numbers(wire, value)
            elif number == 2:
                values += [_signed(v) for v in _numbers(wire, value)]
            elif number == 3:
                label = _scalars(value, {1: "key", 2: "str", 3: "num", 4: "unit"}, "label")
                if label["key"] == 0:
                    self.problems.append("a label without a key")
                text = self._text(label["str"], "label") if label["str"] else None
                labels.append((self._text(label["key"], "label"), text, _signed(label["num"]),
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


# --- the rules -------------------------------------------------------------------------------------

def _check_strings(profile, say):
    if not profile.strings:
        say("the string table is empty")
    elif profile.strings[0] != "":
        say("text 0 is not empty")
    if len(set(profile.raw_strings)) != len(profile.raw_strings):
        say("a text is stored twice")
    for text in profile.strings:
        bad = [c for c in text if unicodedata.category(c) == "Cc"]
        if bad:
            say(f"a text has control characters: {text[:80]!r}")


def _check_ids(profile, say):
    for what in ("mapping", "location", "function"):
        for position, thing in enumerate(getattr(profile, what + "s"), 1):
            if thing.id != position:
                say(f"{what} number {position} has the id {thing.id}: ids must count from 1")
                break


def _check_types(profile, say):
    names = [name for name, _ in profile.sample_types]
    if not names:
        say("there is no sample type")
    if len(names) > 4:
        say("there are more than four sample types")
    if len(set(names)) != len(names):
        say("a sample type occurs twice")
    for name, unit in profile.sample_types + [profile.period_type]:
        if not name or not unit:
            say(f"a type without name or unit: {name!r}/{unit!r}")
        if "-" in name:
            say(f"a type has a dash in its name: {name}")
    if profile.default_sample_type and profile.default_sample_type not in names:
        say(f"default_sample_type {profile.default_sample_type} is no sample type")
    if profile.period <= 0:
        say(f"the period is {profile.period}")


def _check_samples(profile, say):
    known = {location.id for location in profile.locations}
    seen = set()
    for sample in profile.samples:
        if len(sample.values) != len(profile.sample_types):
            say(f"a sample has {len(sample.values)} values for {len(profile.sample_types)} types")
        if any(i == 0 or i not in known for i in sample.location_ids):
            say("a sample names a location that does not exist")
        keys = [label[0] for label in sample.labels]
        if len(set(keys)) != len(keys):
            say(f"a sample has two labels with one key: {keys}")
        for key, text, number, _ in sample.labels:
            if not re.fullmatch(r"[a-zA-Z_][a-zA-Z0-9_.]*", key):
                say(f"a label key that not all readers take: {key!r}")
            if text is not None and number:
                say(f"label {key} is a text and a number")
        identity = (tuple(sample.location_ids), tuple(sample.labels))
        if identity in seen:
            say("two samples have one stack and one set of labels")
        seen.add(identity)


def _check_locations(profile, say, names):
    used = {i for sample in profile.samples for i in sample.location_ids}
    for location in profile.locations:
        where = f"location {location.id} at {location.address:#x}"
        if location.address == 0:
            say(f"location {location.id} has no address")
        if location.id >= 1 << 32:
            say(f"{where}: the id does not fit 32 bits")
        if location.id not in used:
            say(f"{where} is not used by a sample")
        mapping = location.mapping
        if location.mapping_id and not mapping:
            say(f"{where}: mapping {location.mapping_id} does not exist")
        if mapping and not mapping.start <= location.address < mapping.limit:
            say(f"{where} lies outside its mapping {mapping.filename}")
        for line in location.lines:
            if not line.function:
                say(f"{where}: function {line.function_id} does not exist")
            elif not line.function.name:
                say(f"{where}: function {line.function_id} has no name")
        if names and not location.lines:
            say(f"{where} has no line: it would be shown as a lump")
        if names and mapping and not mapping.has_functions:
            say(f"{where}: mapping {mapping.filename} is used but has_functions is not set")
        if not names and not mapping and not location.lines:
            say(f"{where} has neither mapping nor name")


def _check_functions(profile, say):
    used = {line.function_id for location in profile.locations for line in location.lines}
    seen = set()
    for function in profile.functions:
        identity = (function.name, function.system_name, function.filename, function.start_line)
        if identity in seen:
            say(f"function {function.name} is listed twice")
        seen.add(identity)
        if not function.name or not function.system_name:
            say(f"function {function.id} lacks its name or its system name")
        if function.id not in used:
            say(f"function {function.name} is not used by a location")
        if re.fullmatch(r"(0x)?[0-9a-f]+", function.name) and len(function.name) > 8:
            say(f"a bare address as function name: {function.name}")


def _check_mappings(profile, say, main):
    if not profile.mappings:
        say("there is no mapping: the first must be the main executable")
        return
    if main is not None and profile.mappings[0].filename != main:
        say(f"mapping 1 is {profile.mappings[0].filename}, not the main executable {main}")
    used = {location.mapping_id for location in profile.locations}
    files = {}
    for mapping in profile.mappings:
        if mapping.build_id and not re.fullmatch(r"([0-9a-f]{2}){1,32}", mapping.build_id):
            say(f"{mapping.filename}: build ID {mapping.build_id!r}")
        if mapping.start > mapping.limit or (mapping.id != 1 and mapping.start == mapping.limit):
            say(f"{mapping.filename}: empty or reversed range")
        if mapping.id != 1 and mapping.id not in used:
            say(f"{mapping.filename} is listed but not used")
        if not mapping.filename:
            say(f"mapping {mapping.id} has no file name")
        if mapping.filename.endswith(" (deleted)"):
            say(f"{mapping.filename}: the kernel's mark was not removed")
        flags = (mapping.has_functions, mapping.has_filenames, mapping.has_line_numbers,
                 mapping.has_inline_frames)
        if mapping.id in used and files.setdefault(mapping.filename, flags) != flags:
            say(f"{mapping.filename}: two mappings with different flags")


def problems(profile, names=True, main=None, now=None):
    """Every rule that pprof, Parca, Pyroscope or OpenTelemetry checks or trips over. Returns the
    problems as sentences, [] when there are none.

    names: False for profiles that were asked for without symbols.
    main: path of the main executable, compared with the first mapping.
    now: seconds since 1970 to compare time_nanos with; None: the clock, False: not at all.
    """
    found = list(profile.problems)

    def say(text):
        if len(found) < 50:
            found.append(text)

    _check_strings(profile, say)
    _check_ids(profile, say)
    _check_types(profile, say)
    _check_samples(profile, say)
    _check_locations(profile, say, names)
    _check_functions(profile, say)
    _check_mappings(profile, say, main)
    for number, name in ((9, "time_nanos"), (10, "duration_nanos"), (11, "period_type"),
                         (12, "period"), (14, "default_sample_type")):
        if profile.occurrences[number] > 1:
            say(f"{name} occurs twice: readers take that for two profiles")
    if profile.unknown_fields:
        say(f"fields that the format does not know: {sorted(set(profile.unknown_fields))}")
    if now is not False:
        age = (time.time() if now is None else now) - profile.time_nanos / 1e9
        if not -600 < age < 3600:
            say(f"time_nanos is {age:.0f} s old")
    if profile.duration_nanos < 0:
        say("duration_nanos is negative")
    for comment in profile.comments:
        if comment.startswith(("#", "executableInfo=")) or not comment:
            say(f"a comment that readers misunderstand: {comment!r}")
    return found


def validate(profile, **options):
    """Raises AssertionError, with all problems, if a rule is broken. Options as of problems()."""
    found = problems(profile, **options)
    if found:
        raise AssertionError("not a valid profile:\n  " + "\n  ".join(found))


def parse(data):
    """A Profile from the bytes of an answer. Raises Malformed."""
    return Profile.parse(data)


# --- command ---------------------------------------------------------------------------------------

def _print_raw(profile):
    print("types", " ".join(f"{name}/{unit}" for name, unit in profile.sample_types))
    print("period", profile.period, "/".join(profile.period_type),
          "time", profile.time_nanos, "duration", profile.duration_nanos)
    for sample in profile.samples:
        labels = " ".join(f"{k}={n if t is None else t}" for k, t, n, _ in sample.labels)
        print(*sample.values, labels, ";".join(sample.stack))
    for m in profile.mappings:
        print(f"{m.id} {m.start:#x}-{m.limit:#x} {m.offset:#x} {m.filename} {m.build_id}")


def _print_top(profile):
    column = profile.default_sample_type or profile.sample_types[-1][0]
    for name, value in sorted(profile.flat(column).items(), key=lambda row: -row[1])[:30]:
        print(f"{value:>16} {name}")


def main(args):
    show = [arg for arg in args if arg.startswith("--")]
    status = 0
    for path in (arg for arg in args if not arg.startswith("--")):
        with open(path, "rb") as file:
            profile = Profile.parse(file.read())
        if "--raw" in show:
            _print_raw(profile)
        if "--top" in show:
            _print_top(profile)
        found = problems(profile, now=False)
        for problem in found:
            print(f"{path}: {problem}")
        print(f"{path}: {len(profile.samples)} samples, {len(profile.locations)} locations, "
              f"{len(profile.functions)} functions, {len(profile.mappings)} mappings: "
              f"{'valid' if not found else str(len(found)) + ' problems'}")
        status |= bool(found)
    return status


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
