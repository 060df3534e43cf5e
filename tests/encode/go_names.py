#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""What `go tool pprof` makes of linkage names: builds a profile whose functions have the given names,
lets the tool read it and write it again, and reads what became of them.

    tests/encode/go_names.py < NAMES            prints "linkage TAB name" rows
    tests/encode/go_names.py --update FILE...   rewrites such rows with the tool's present answers
"""
import gzip
import os
import pathlib
import subprocess
import sys
import tempfile

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "integration"))
import pprof_decode  # noqa: E402


def _varint(value):
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def _number(field, value):
    return _varint(field << 3) + _varint(value)


def _bytes(field, data):
    return _varint(field << 3 | 2) + _varint(len(data)) + data


def profile_of(names):
    """A profile with one sample, location and function for each name; name equals system name."""
    fixed = [b"", b"samples", b"count", b"/nonexistent/binary"]
    out = bytearray()
    value_type = _number(1, 1) + _number(2, 2)
    out += _bytes(1, value_type) + _bytes(11, value_type) + _number(12, 1)
    out += _bytes(3, _number(1, 1) + _number(2, 4096) + _number(3, 1 << 40) + _number(5, 3) +
                  _number(7, 1))
    for i, _ in enumerate(names, 1):
        out += _bytes(2, _number(1, i) + _number(2, 1))
        out += _bytes(4, _number(1, i) + _number(2, 1) + _number(3, 4096 + i) +
                      _bytes(4, _number(1, i)))
        out += _bytes(5, _number(1, i) + _number(2, 3 + i) + _number(3, 3 + i))
    for text in fixed + [name.encode() for name in names]:
        out += _bytes(6, text)
    return gzip.compress(bytes(out), 1, mtime=0)


def go_names(names, go="go"):
    """The names that the tool shows by default, in the same order."""
    with tempfile.TemporaryDirectory() as directory:
        source, result = os.path.join(directory, "in.pb.gz"), os.path.join(directory, "out.pb.gz")
        with open(source, "wb") as file:
            file.write(profile_of(names))
        env = dict(os.environ, HOME=directory, PPROF_TMPDIR=directory,
                   PPROF_BINARY_PATH="/nonexistent")
        subprocess.run([go, "tool", "pprof", "-proto", "-output=" + result, source], check=True,
                       env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        with open(result, "rb") as file:
            profile = pprof_decode.parse(file.read())
    by_linkage = {f.system_name: f.name for f in profile.functions}
    return [by_linkage[name] for name in names]


def main(args):
    if args[:1] == ["--update"]:
        for path in map(pathlib.Path, args[1:]):
            lines = path.read_text().splitlines()
            names = [line.split("\t")[0] for line in lines if line and not line.startswith("#")]
            answers = iter(go_names(names))
            path.write_text("".join(line + "\n" if not line or line.startswith("#") else
                                    line.split("\t")[0] + "\t" + next(answers) + "\n"
                                    for line in lines))
        return
    names = sorted(set(sys.stdin.read().split("\n")) - {""})
    for name, answer in zip(names, go_names(names)):
        print(f"{name}\t{answer}")


if __name__ == "__main__":
    main(sys.argv[1:])
