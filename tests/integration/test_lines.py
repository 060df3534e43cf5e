# SPDX-License-Identifier: Apache-2.0
"""Files, lines and inlined functions against two independent judges, addr2line and llvm-symbolizer; and
as the go tool shows them."""
import contextlib
import os
import pathlib
import random
import re
import shutil
import subprocess

import lib
from lib import App, equal, parallel

SOURCES = lib.TOP / "tests/lines"
SYMBOLIZER = lib.BUILD / "pprofagent-symbolize"
RUST = {"-O0": ["-C", "opt-level=0"], "-O2": ["-C", "opt-level=2"], "lto": ["-C", "opt-level=2", "-C", "lto=fat"]}
C = {"-O0": ["-O0"], "-O2": ["-O2"], "lto": ["-O2", "-flto"]}
COMPILERS = {"c": {"gcc": "gcc", "clang": "clang"}, "cc": {"gcc": "g++", "clang": "clang++"}, "rs": {"rustc": "rustc"}}


def run(*argv, **options):
    done = subprocess.run([str(a) for a in argv], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **options)
    assert done.returncode == 0, (argv, done.stderr[-2000:])
    return done.stdout


def build(directory, language, compiler, level, *extra):
    """A planted program with its debug information inside."""
    command = COMPILERS[language][compiler]
    lib.needs(command)
    path = directory / f"{language}-{compiler}-{level.strip('-')}{''.join(extra).replace('-', '_')}"
    source = SOURCES / f"planted.{language}"
    if language == "rs":
        run(command, "--edition", "2021", "-g", *RUST[level], "-o", path, source)
    else:
        run(command, "-g", *C[level], *extra, "-o", path, source, cwd=directory)
    return path


def split(path, debug):
    """Moves the debug information to a file of its own, which .gnu_debuglink names."""
    run("objcopy", "--only-keep-debug", path, debug)
    run("objcopy", "--strip-all", f"--add-gnu-debuglink={debug}", path)


# ---------------------------------------------------------------- the three voices

def ask(path, addresses, debug=""):
    """What the symbolizer says: for each address a list of (function, file, line), innermost first."""
    st = os.stat(path)
    head = f"R 1\nM 0 {st.st_dev:x} {st.st_ino:x} {st.st_size:x} {st.st_mtime_ns // 10**9:x} " \
           f"{st.st_mtime_ns % 10**9:x} {path}\t\t{debug}\n"
    text = head + "".join(f"A {i:x} 0 {a:x}\n" for i, a in enumerate(addresses)) + "E\n"
    out = run(SYMBOLIZER, input=text)
    texts, frames = {0: ""}, {}
    for line in out.splitlines():
        if line[0] == "S":
            _, number, words = line.split(" ", 2)
            texts[int(number, 16)] = words
        elif line[0] == "L":
            words = [int(word, 16) for word in line.split()[1:]]
            frames[words[0]] = [(texts[words[i]], texts[words[i + 1]], words[i + 2]) for i in range(1, len(words), 4)]
    return [frames[i] for i in range(len(addresses))]


def addr2line(path, addresses):
    out, answers = run("addr2line", "-i", "-f", "-a", "-e", path, input="".join(f"{a:x}\n" for a in addresses)), []
    lines = iter(out.splitlines())
    for line in lines:
        if re.fullmatch(r"0x[0-9a-f]{16}", line):
            answers.append([])
            continue
        file, _, number = next(lines).split(" (disc")[0].rpartition(":")
        answers[-1].append((line, file, int(number) if number.isdigit() else 0))
    return answers


def llvm(path, addresses):
    out = run("llvm-symbolizer", "-i", "--functions=linkage", "--no-demangle", "-e", path,
              input="".join(f"0x{a:x}\n" for a in addresses))
    answers = []
    for block in out.strip("\n").split("\n\n"):
        lines = block.splitlines()
        answers.append([(name, *place.rsplit(":", 2)[:2]) for name, place in zip(lines[::2], lines[1::2])])
    return [[(name, file, int(number)) for name, file, number in answer] for answer in answers]


def last_parts(names):
    """What the names, mangled or spelled out, end in: no scopes, parameters, template arguments, marks of
    clones."""
    names = sorted(names)
    out = run("c++filt", "-p", input="".join(n + "\n" for n in names)).splitlines()
    parts = {}
    for name, shown in zip(names, out):
        shown = re.sub(r" ?\[clone [^]]*\]|\.(?:constprop|isra|part|cold|lto_priv|llvm)[.\w]*|::h[0-9a-f]{16}$", "", shown)
        operator = re.search(r"operator[^\w].*", shown)
        if operator:
            parts[name] = re.sub(r"(?<=[\w)])<.*", "", operator.group()).split("()")[0]
            continue
        while re.search(r"<[^<>]*>", shown):
            shown = re.sub(r"(?:::)?<[^<>]*>", "", shown)
        parts[name] = shown.split("::")[-1]
    return parts


def alike(ours, theirs, parts):
    """Function, file, line of each frame; a judge that knows no name has no voice in that."""
    return len(ours) == len(theirs) and all(
        os.path.normpath(a[1]) == os.path.normpath(b[1]) and a[2] == b[2] and
        (b[0] in ("??", "", a[0]) or parts[a[0]] == parts[b[0]]) for a, b in zip(ours, theirs))


def addresses_of(path, n):
    listing = run("readelf", "-SW", path)
    start, size = [(int(a, 16), int(s, 16)) for a, s in re.findall(r"\] \.text +\w+ +(\w+) \w+ (\w+)", listing)][0]
    seeded = random.Random(7)
    return sorted(seeded.sample(range(start, start + size), min(n, size)))


def judge(path, n=400, stripped=None, debug=""):
    """Disagreements of the symbolizer with both judges, among addresses that these know a line of. `path`
    has the debug information inside; the symbolizer may be given the stripped file and the debug file."""
    addresses = addresses_of(path, n)
    compared, wrong = 0, []
    said = list(zip(addresses, ask(stripped or path, addresses, debug), addr2line(path, addresses), llvm(path, addresses)))
    parts = last_parts({frame[0] for _, *voices in said for voice in voices for frame in voice})
    for address, ours, a, b in said:
        voices = [voice for voice in (a, b) if all(frame[2] for frame in voice)]
        compared += bool(voices)
        if voices and not any(alike(ours, voice, parts) for voice in voices):
            wrong.append(f"{path.name} 0x{address:x}\n  ours      {ours}\n  addr2line {a}\n  llvm      {b}")
    return compared, wrong


def judge_all(builds, share=0.999):
    compared, wrong = 0, []
    for path in builds:
        stripped, debug = path.with_name(path.name + "-stripped"), path.with_name(path.name + ".debug")
        shutil.copy(path, stripped)
        split(stripped, debug)
        for options in ({}, {"stripped": stripped, "debug": debug}):
            n, differ = judge(path, **options)
            assert n > 50, (path, n)
            compared += n
            wrong += differ
    lib.note(f"{compared} addresses, {len(wrong)} differ from both judges")
    for one in wrong[:20]:
        lib.note(one)
    assert len(wrong) <= (1 - share) * compared, "\n".join(wrong[:20])


def judges():
    lib.needs("addr2line", "llvm-symbolizer", "c++filt", "objcopy", "readelf", "g++", "clang++", "rustc")


@lib.parallel
@lib.limit(300)
def test_judges_agree():
    judges()
    directory = lib.scratch()
    judge_all([build(directory, "c", "gcc", "lto"), build(directory, "c", "clang", "-O0"),
               build(directory, "cc", "gcc", "-O2"), build(directory, "cc", "clang", "-O2", "-gdwarf-4", "-gz"),
               build(directory, "rs", "rustc", "-O2")])


@lib.parallel
@lib.long
@lib.limit(1800)
def test_judges_agree_on_everything():
    judges()
    directory = lib.scratch()
    builds = [build(directory, language, compiler, level) for language, compilers in COMPILERS.items()
              for compiler in compilers for level in C]
    for extra in (("-gdwarf-4",), ("-gdwarf-5",), ("-gz",), ("-gsplit-dwarf",), ("-no-pie",),
                  ("-ffunction-sections", "-Wl,--gc-sections")):
        builds += [build(directory, "cc", compiler, "-O2", *extra) for compiler in COMPILERS["cc"]]
    judge_all(builds)


@lib.parallel
def test_supplementary_file():
    """dwz moves what two files have in common to a third one."""
    lib.needs("addr2line", "llvm-symbolizer", "dwz", "gcc")
    directory = lib.scratch()
    paths = [build(directory, "c", "gcc", level) for level in ("-O0", "-O2")]
    addresses = [addresses_of(path, 400) for path in paths]
    before = [ask(path, some) for path, some in zip(paths, addresses)]
    run("dwz", "-m", directory / "common", *paths)
    assert ".gnu_debugaltlink" in run("readelf", "-SW", paths[0])
    for path, some, want in zip(paths, addresses, before):
        equal(ask(path, some), want, path.name)


# ---------------------------------------------------------------- as the go tool shows them

def line_of(language, mark):
    """Numbers of the lines with that mark."""
    text = (SOURCES / f"planted.{language}").read_text().splitlines()
    number, = [n for n, line in enumerate(text, 1) if mark in line]
    return number


CHAINS = {
    "c": [("inner", "HOT"), ("middle", "CALLS inner"), ("outer", "CALLS middle")],
    "cc": [("planted::(anonymous namespace)::inner", "HOT"),
           ("planted::Box::middle(unsigned int, unsigned int) const::{lambda", "CALLS inner"),
           ("planted::Box::middle", "CALLS lambda"), ("planted::Box::outer", "CALLS middle")],
    "rs": [("inner", "HOT"), ("{{closure}}", "CALLS inner"), ("middle", "CALLS closure"), ("outer", "CALLS middle")],
}


def settled(app, cpu=0.4):
    """A CPU profile of so many seconds of CPU time at least, in which no line is late: its bytes and its
    decoded form."""
    seconds = 1
    for _ in range(20):
        data = app.get("profile", seconds=seconds).body
        profile = lib.decoded(data)
        if profile.total("cpu") < cpu * 1e9:
            seconds = min(2 * seconds, 16)
        elif not any("has them" in c for c in profile.comments):
            return data, profile
    raise AssertionError(f"lines are late, or no CPU is to be had, again and again: {profile.comments}")


def check_chain(profile, language, file):
    """Nearly all CPU time is in the planted chain, each frame with its line."""
    column = profile.index("cpu")
    want = [(line_of(language, mark), str(file)) for _, mark in CHAINS[language]]
    total = good = 0
    for sample in profile.samples:
        total += sample.values[column]
        # what the innermost function itself inlines (operators of Rust) is not of interest
        leaf = sample.locations[0].lines[-len(want):]
        got = [(line.line, line.function.filename) for line in leaf]
        if got[1:] == want[1:] and got[0][1] == str(file):
            good += sample.values[column]
            for line, (name, _) in zip(leaf, CHAINS[language]):
                assert line.function.name.split("::")[-1].split(" ")[0] in name or \
                    name.split("::")[-1] in line.function.name, (line.function.name, name)
    assert total and good > 0.9 * total, f"{good} of {total} ns have the planted chain {want}"


def go_shows(data, language, directory):
    saved = directory / "saved"
    saved.write_bytes(data)
    hot = line_of(language, "HOT")
    listing = lib.go_pprof("-list", "inner", saved).stdout
    row = [line for line in listing.splitlines() if re.search(rf"\s{hot}:", line)]
    assert row and not row[0].split()[0].startswith("."), listing[:2000]
    assert f"planted.{language}:{hot}" in lib.go_pprof("-top", "-lines", saved).stdout
    peek = lib.go_pprof("-peek", "inner$", saved).stdout
    assert "100%" in peek and re.search("middle|lambda|closure|operator", peek), peek[:2000]


def shown(language, path, directory):
    with App(path) as app:
        data, profile = settled(app)
        check_chain(profile, language, SOURCES / f"planted.{language}")
        go_shows(data, language, directory)
        os.unlink(path)  # with the binary removed, the same, of this profile and of the next one
        go_shows(data, language, directory)
        data, profile = settled(app)
        check_chain(profile, language, SOURCES / f"planted.{language}")
        go_shows(data, language, directory)


@parallel
@lib.limit(240)
def test_go_tool_lists_cpp():
    lib.needs("go", "g++")
    directory = lib.scratch()
    shown("cc", build(directory, "cc", "gcc", "-O2"), directory)


@lib.long
@lib.limit(600)
def test_go_tool_lists_the_others():
    lib.needs("go", "gcc", "clang++", "rustc")
    directory = lib.scratch()
    for language, compiler, level in (("c", "gcc", "-O0"), ("c", "clang", "lto"), ("cc", "clang", "-O0"), ("rs", "rustc", "lto")):
        shown(language, build(directory, language, compiler, level), directory)


@parallel
@lib.limit(240)
def test_debug_files_are_found():
    """By .gnu_debuglink beside the file and in .debug, and by build ID; a file of another build is not
    believed; a stripped file has names of its dynamic symbols only."""
    lib.needs("gcc", "objcopy", "strip")
    directory = lib.scratch()
    whole = build(directory, "c", "gcc", "-O2", "-rdynamic", "-Wl,--build-id=sha1")
    build_id = re.search(r"Build ID: (\w+)", run("readelf", "-n", whole)).group(1)
    debug = directory / "planted.debug"
    stripped = directory / "stripped"
    shutil.copy(whole, stripped)
    split(stripped, debug)
    source = SOURCES / "planted.c"
    other = build(directory, "c", "gcc", "-O0", "-Wl,--build-id=sha1")
    places = [debug, directory / ".debug/planted.debug"]
    if os.access("/usr/lib/debug/.build-id" if os.path.isdir("/usr/lib/debug/.build-id") else "/usr/lib", os.W_OK):
        places.append(pathlib.Path(f"/usr/lib/debug/.build-id/{build_id[:2]}/{build_id[2:]}.debug"))
    content = debug.read_bytes()
    debug.unlink()
    for place in places:
        made = not place.parent.exists()
        place.parent.mkdir(parents=True, exist_ok=True)
        try:
            place.write_bytes(content)
            with App(stripped) as app:
                check_chain(settled(app)[1], "c", source)
        finally:
            place.unlink()
            if made:
                with contextlib.suppress(OSError):
                    place.parent.rmdir()
    for wrong in (None, other.read_bytes()):
        if wrong:
            debug.write_bytes(wrong)
        with App(stripped) as app:
            profile = settled(app)[1]
            assert profile.flat("cpu").get("outer", 0) > 0.9 * profile.total("cpu"), profile.flat("cpu")
            equal({line.function.filename for location in profile.locations for line in location.lines
                   if line.function.name == "outer"}, {""})


def symbols_say(app, profile):
    """The symbol endpoint gives the name that the profile has, for every address of a mapping."""
    want = {location.address: location.lines[-1].function.system_name
            for location in profile.locations if location.mapping}
    body = "+".join(f"0x{address:x}" for address in want)
    said = dict(line.split(" ", 1) for line in app.get("symbol", method="POST", body=body).text.splitlines()[1:])
    equal({int(address, 16): name for address, name in said.items()}, want, "names by POST")


@parallel
@lib.limit(240)
def test_minidebuginfo():
    """Stripped binaries of Fedora carry their symbol table, compressed, in .gnu_debugdata."""
    import lzma
    lib.needs("gcc", "objcopy", "strip", "nm")
    directory = lib.scratch()
    path = build(directory, "c", "gcc", "-O2")
    debug, mini, keep = (directory / name for name in ("debug", "mini", "keep"))
    keep.write_text("".join(line.split()[0] + "\n" for line in run("nm", "--format=posix", "--defined-only", path).splitlines()
                            if line.split()[1] in "Tt"))
    run("objcopy", "--only-keep-debug", path, debug)
    run("objcopy", "-S", f"--keep-symbols={keep}", debug, mini)
    (directory / "mini.xz").write_bytes(lzma.compress(mini.read_bytes()))
    run("strip", "--strip-all", path)
    run("objcopy", f"--add-section=.gnu_debugdata={directory}/mini.xz", path)
    with App(path) as app:
        profile = settled(app)[1]
        flat, total = profile.flat("cpu"), profile.total("cpu")
        assert flat.get("outer", 0) > 0.9 * total, flat
        assert "main" in profile.cumulative("cpu"), profile.cumulative("cpu")
        symbols_say(app, profile)
        names = app.profile("profile", seconds=1, symbolize="names").flat("cpu")
        assert max(names, key=names.get).startswith(path.name + "@0x"), names


@parallel
@lib.limit(240)
def test_symbol_endpoint_says_what_profiles_say():
    lib.needs("g++")
    directory = lib.scratch()
    with App(build(directory, "cc", "gcc", "-O2")) as app:
        symbols_say(app, settled(app)[1])


@parallel
@lib.limit(240)
def test_debug_information_without_symbols():
    """A file that lost its symbol table and kept its debug information: names come from that."""
    lib.needs("gcc", "objcopy")
    directory = lib.scratch()
    path = build(directory, "c", "gcc", "-O2")
    run("objcopy", "--strip-all", "--keep-section=.debug*", path)
    if ".debug_info" not in run("readelf", "-SW", path):
        lib.skip("this objcopy removes the debug information with the symbols")
    with App(path) as app:
        profile = settled(app)[1]
        check_chain(profile, "c", SOURCES / "planted.c")
        symbols_say(app, profile)


@parallel
@lib.limit(240)
def test_replaced_binary():
    """Another build is put in the running program's place: names and lines stay those of the running one, or
    lines are missing; wrong ones never come."""
    lib.needs("gcc")
    directory = lib.scratch()
    path = build(directory, "c", "gcc", "-O2")
    other = build(directory, "c", "gcc", "-O0")
    with App(path) as app:
        os.replace(other, path)
        for _ in range(2):
            check_chain(settled(app)[1], "c", SOURCES / "planted.c")
