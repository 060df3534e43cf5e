# SPDX-License-Identifier: Apache-2.0
"""A decoded profile as the tests want to see it: samples with named frames, sums by function.

Built on what pprof_decode.Profile.parse() returns; nothing of the agent's own code takes part.
"""
import collections
import struct

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

    def incomplete(self, kind="samples"):
        """Share of the samples whose root is not a known thread root, and their roots by cause."""
        total = self.total(kind)
        causes = collections.Counter()
        for s in self.samples:
            if not is_root(s.frames):
                causes[" <- ".join(f.name for f in s.frames[-3:]) if s.frames else "[no frames]"] += s.values[kind]
        return (sum(causes.values()) / total if total else 0.0), causes


# Where a stack may end: the entry point, or the function in which the kernel starts a thread.
ROOTS = {"_start", "_dl_start_user", "_dl_start", "clone", "clone3", "__clone", "__clone3", "thread_start",
         "__clone_internal"}
_entries = {}


def entry_point(path):
    """File offset of an ELF file's entry point, None when it cannot be read."""
    if path not in _entries:
        _entries[path] = None
        try:
            with open(path, "rb") as file:
                head = file.read(64)
                entry, table = struct.unpack_from("<QQ", head, 24)
                size, count = struct.unpack_from("<HH", head, 54)
                for i in range(count):
                    file.seek(table + i * size)
                    kind, _, offset, address, _, in_file = struct.unpack("<IIQQQQ", file.read(40))
                    if kind == 1 and address <= entry < address + in_file:
                        _entries[path] = entry - address + offset
        except (OSError, struct.error):
            pass
    return _entries[path]


def is_root(frames):
    """True when the outermost frame is a known root. A stripped program has no name for its entry
    point, so that one is also told by its place in the file: at most 64 bytes behind e_entry."""
    if not frames:
        return False
    root = frames[-1]
    if root.name in ROOTS:
        return True
    if root.name in MARKS or root.mapping is None:
        return len(frames) == 1 and root.name in ("[other stacks]", "[pprof agent]")
    entry = entry_point(root.mapping.filename)
    if entry is None:
        return False
    at = root.address - root.mapping.start + root.mapping.offset
    return entry <= at < entry + 64


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
