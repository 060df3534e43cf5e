# SPDX-License-Identifier: Apache-2.0
"""Names as pprof shows them: a corpus whose expected side was written by the go tool."""
import subprocess
import sys

import lib

sys.path.insert(0, str(lib.TOP / "tests/encode"))
import go_names  # noqa: E402

DRIVER = str(lib.BUILD / "tests/encode-driver")


def rows(name):
    text = (lib.TOP / "tests/encode" / name).read_text()
    return [tuple(line.split("\t")) for line in text.splitlines() if line and line[0] != "#"]


def ours(names):
    done = subprocess.run([DRIVER, "demangle"], input="\n".join(names) + "\n", text=True,
                          stdout=subprocess.PIPE, check=True)
    return [line.split("\t")[1] for line in done.stdout.splitlines()]


def differences(names, got, want):
    return [f"{name}\n    is   {a}\n    want {b}" for name, a, b in zip(names, got, want) if a != b]


def check(name):
    corpus = rows(name)
    names, want = zip(*corpus)
    wrong = differences(names, ours(names), want)
    assert not wrong, f"{len(wrong)} of {len(names)} names differ:\n  " + "\n  ".join(wrong[:20])
    lib.note(f"{name}: {len(names)} names as wanted")


@lib.parallel
def test_names_as_pprof_shows_them():
    check("names.txt")


@lib.parallel
def test_names_better_than_pprof():
    check("names_better.txt")


@lib.parallel
def test_corpus_is_what_the_go_tool_says():
    lib.needs("go")
    names, want = zip(*rows("names.txt"))
    wrong = differences(names, go_names.go_names(names), want)
    assert not wrong, "\n".join(wrong[:20])


@lib.parallel
@lib.long
@lib.limit(300)
def test_every_name_of_the_standard_library():
    """All C++ names of libstdc++ against the go tool of this machine."""
    lib.needs("go", "nm", "g++")
    path = subprocess.run(["g++", "-print-file-name=libstdc++.so.6"], stdout=subprocess.PIPE,
                          text=True, check=True).stdout.strip()
    listing = subprocess.run(["nm", "-D", "--defined-only", path], stdout=subprocess.PIPE, text=True,
                             check=True).stdout
    names = sorted({line.split()[-1].split("@")[0] for line in listing.splitlines()
                    if line.split()[-1].startswith("_Z")})
    wrong = differences(names, ours(names), go_names.go_names(names))
    lib.note(f"{len(names)} names of libstdc++, {len(wrong)} differ")
    assert not wrong, "\n".join(wrong[:20])
