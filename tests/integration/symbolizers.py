# SPDX-License-Identifier: Apache-2.0
"""Programs under the agent and the process that reads debug information for it: what tests of both share."""
import os
import pathlib
import shutil

import lib
from lib import App, equal, program, until

LATE = "has them"  # of the comment that promises lines for the next profile


def symbolizer_of(pid):
    """Pids of the symbolizers below a process: its grandchildren, through the keeper."""
    found = []
    for directory in pathlib.Path("/proc").iterdir():
        if not directory.name.isdigit():
            continue
        try:
            stat = (directory / "stat").read_text()
            comm, rest = stat[stat.index("(") + 1:stat.rindex(")")], stat[stat.rindex(")") + 2:].split()
            if comm == "pprofagent-symb" and rest[0] != "Z":
                parent = pathlib.Path(f"/proc/{rest[1]}/stat").read_text()
                if int(parent[parent.rindex(")") + 2:].split()[1]) == pid:
                    found.append(int(directory.name))
        except (OSError, ValueError):
            pass
    return found


def children_of(pid):
    return [int(c) for task in pathlib.Path(f"/proc/{pid}/task").iterdir()
            for c in (task / "children").read_text().split()]


def complaints(profile):
    return [c for c in profile.comments if "inlined functions" in c]


def with_lines(app, name="heap", tries=20, **query):
    """A profile in which nothing is late: on a busy machine the first ones may be."""
    for _ in range(tries):
        profile = app.profile(name, **query)
        if not any(LATE in c for c in complaints(profile)):
            return profile
    raise AssertionError(f"{tries} profiles, and still: {complaints(profile)}")


def frames_of(profile, function):
    """All (name, file's base name, line, start line) of locations whose real function has that name."""
    return [[(line.function.name, os.path.basename(line.function.filename), line.line, line.function.start_line)
             for line in location.lines]
            for location in profile.locations if location.lines and location.lines[-1].function.name == function]


def line_of(source, text):
    """Number of the only line of a test program that contains the text."""
    lines = (lib.TOP / "tests/programs" / source).read_text().splitlines()
    found = [n for n, line in enumerate(lines, 1) if text in line]
    equal(len(found), 1, f"lines with {text!r}")
    return found[0]


def any_child(**settings):
    app = App(program("any_child"), stdin=-1, memprofilerate=1, **settings)
    equal(app.line(), "ready")
    return app


def expected_frames():
    source = "any_child.c"
    return [("inner_alloc", source, line_of(source, "return malloc(n);"), line_of(source, "void *inner_alloc(size_t n)")),
            ("outer_alloc", source, line_of(source, "void *p = inner_alloc(n);"),
             line_of(source, "void *outer_alloc(size_t n)"))]


def has_lines(profile):
    frames = frames_of(profile, "outer_alloc")
    assert frames and all(f == expected_frames() for f in frames), (frames, expected_frames())
    mapping = profile.mappings[0]
    equal((mapping.has_functions, mapping.has_filenames, mapping.has_line_numbers, mapping.has_inline_frames),
          (True,) * 4, "flags of the main mapping")


def names_only_there(profile, why):
    """The program's own frames have names, nothing else, and the profile says why."""
    frames = frames_of(profile, "outer_alloc")
    assert frames and all(f == [("outer_alloc", "", 0, 0)] for f in frames), frames
    assert any(why in c for c in complaints(profile)), (why, profile.comments)


def names_only(profile, why):
    """The same of all frames."""
    names_only_there(profile, why)
    assert not any(m.has_filenames or m.has_line_numbers or m.has_inline_frames for m in profile.mappings)


def has_lines_or_says(profile):
    """All lines are there, or the profile says that lines are missing. Which of the two?"""
    frames = frames_of(profile, "outer_alloc")
    assert frames, "the function is named in any case"
    if all(f == expected_frames() for f in frames):
        return True
    assert complaints(profile), frames
    return False


def counts(app):
    app.say("")
    words = app.line().split()
    return dict(zip(words[::2], map(int, words[1::2])))


def unharmed(app):
    """The program sees its own children, each once, and nobody else."""
    before = counts(app)
    until(lambda: counts(app)["children"] > before["children"] + 5, "the program starts children", 30)
    equal(counts(app)["surprises"], 0, "children that the program did not start")


def agent_beside(content=None, mode=0o755):
    """A copy of the library in a directory of its own, with this symbolizer (None: none)."""
    directory = lib.scratch()
    os.chmod(directory, 0o755)
    copy = directory / "libpprofagent.so"
    shutil.copy(lib.agent(), copy)
    if content is not None:
        path = directory / "pprofagent-symbolize"
        path.write_bytes(content)
        os.chmod(path, mode)
    return str(copy)


def questions(path, addresses):
    st = os.stat(path)
    head = f"R 1\nM 0 {st.st_dev:x} {st.st_ino:x} {st.st_size:x} {st.st_mtime_ns // 10**9:x} {st.st_mtime_ns % 10**9:x} {path}\t\t\n"
    return (head + "".join(f"A {i:x} 0 {a:x}\n" for i, a in enumerate(addresses)) + "E\n").encode()
