# SPDX-License-Identifier: Apache-2.0
"""What makes a profile valid: every rule that a known reader of pprof checks or trips over.

    import pprof_rules
    pprof_rules.validate(profile)   # AssertionError when it breaks a rule
    pprof_rules.problems(profile)   # the same as a list of sentences

From a shell: pprof_rules.py [--raw|--top] FILE...; exit status 1 if a file breaks a rule.
"""
import re
import sys
import time
import unicodedata

from pprof_decode import Profile


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
