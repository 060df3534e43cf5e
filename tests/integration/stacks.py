# SPDX-License-Identifier: Apache-2.0
"""A decoded profile as the tests want to see it: samples with named frames, sums by function.

Built on what pprof_decode.Profile.parse() returns; nothing of the agent's own code takes part.
"""
import collections
import re
import subprocess

Frame = collections.namedtuple("Frame", "name system_name address mapping")
Sample = collections.namedtuple("Sample", "frames values labels")  # frames: leaf first

# Frames that the agent invents: docs of encode/ give each a meaning.
INCOMPLETE = ("[truncated]", "[registers unknown]", "[unknown caller]")
MARKS = INCOMPLETE + ("[other stacks]", "[pprof agent]", "[after last tick]")


class View:
    def __init__(self, profile):
        self.profile = profile
        self.types = [name for name, _ in profile.sample_types]
        # lines of one location: innermost inlined call first
        frames = {location.id: [Frame(line.function.name, line.function.system_name, location.address, location.mapping)
                                for line in location.lines] for location in profile.locations}
        self.samples = [
            Sample([f for i in s.location_ids for f in frames[i]], dict(zip(self.types, s.values)),
                   {key: number if text is None else text for key, text, number, _ in s.labels})
            for s in profile.samples]

    def total(self, kind):
        return sum(s.values[kind] for s in self.samples)

    def flat(self, kind):
        """Value by the name of the leaf."""
        out = collections.Counter()
        for s in self.samples:
            out[s.frames[0].name if s.frames else "[no frames]"] += s.values[kind]
        return out

    def below(self, name, kind, also=None):
        """Value of the samples with a frame of that name anywhere in the stack, and one named `also`."""
        return sum(s.values[kind] for s in self.samples
                   if any(f.name == name for f in s.frames) and (also is None or any(f.name == also for f in s.frames)))

    def hottest(self, kind="cpu"):
        """(name, share) of the leaf with the largest value."""
        flat = self.flat(kind)
        name, value = flat.most_common(1)[0]
        return name, value / sum(flat.values())

    def incomplete(self, kind="samples", complete=None):
        """Share of the samples whose root is not a known thread root, and their roots by cause."""
        complete = complete or is_root
        total = self.total(kind)
        causes = collections.Counter()
        for s in self.samples:
            if not complete(s.frames):
                causes[" <- ".join(f.name for f in s.frames[-3:]) if s.frames else "[no frames]"] += s.values[kind]
        return (sum(causes.values()) / total if total else 0.0), causes


_roots = {}


def roots_of(path):
    """Ranges of file offsets of the code that by its own unwind table has no caller: the entry point of
    a program, and where the kernel starts a thread. Names would not do: stripped files have none."""
    if path not in _roots:
        _roots[path] = []
        segments, ranges, commons, here = [], [], {}, None
        try:
            out = subprocess.run(["readelf", "-lW", "--debug-dump=frames", path], capture_output=True, text=True, errors="replace").stdout
        except OSError:
            out = ""
        for line in out.splitlines():
            load = re.match(r"\s+LOAD\s+0x(\w+) 0x(\w+) 0x\w+ 0x(\w+)", line)
            common = re.match(r"(\w+) .* CIE$", line)
            table = re.search(r" FDE cie=(\w+) pc=(\w+)\.\.(\w+)", line)
            if load:
                segments.append([int(word, 16) for word in load.groups()])
            elif common:
                here = commons.setdefault(common.group(1), [])
            elif table:
                here = [(int(table.group(2), 16), int(table.group(3), 16))]
                # what the common part says holds for each function that shares it
                ranges += here if commons.get(table.group(1)) else []
            elif here is not None and re.search(r"DW_CFA_undefined: r(16 \(rip\)|30 \(x30\))", line):
                if here:
                    ranges += here
                else:
                    here.append(True)
        _roots[path] = [(lo - address + offset, hi - address + offset) for lo, hi in ranges
                        for offset, address, size in segments if address <= lo < address + size]
    return _roots[path]


def is_root(frames):
    """True when the outermost frame has no caller: the stack is complete."""
    if not frames:
        return False
    root = frames[-1]
    if root.name in MARKS or root.mapping is None:
        return len(frames) == 1 and root.name in ("[other stacks]", "[pprof agent]")
    at = root.address - root.mapping.start + root.mapping.offset
    # an address of a caller is the return address - 1
    return any(lo - 1 <= at < hi for lo, hi in roots_of(root.mapping.filename))


def bare(view):
    """Names that are no names: addresses, or files in brackets as the go tool prints them."""
    found = set()
    for s in view.samples:
        for f in s.frames:
            name = f.name
            if name in MARKS or name in ("[vdso]", "[anon]", "[vsyscall]"):
                continue
            if not name or name.startswith("0x") or (name.startswith("[") and name.endswith("]")):
                found.add(name)
    return found
