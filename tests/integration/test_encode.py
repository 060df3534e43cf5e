# SPDX-License-Identifier: Apache-2.0
"""Profiles that tests/encode/driver.c writes, judged by an independent decoder, by protoc and by the
go tool; names judged by nm and c++filt."""
import gzip
import re
import subprocess

import lib
import pprof_decode
import pprof_rules

DRIVER = str(lib.BUILD / "tests/encode-driver")


def driver(*args, stdin=b""):
    done = subprocess.run([DRIVER, *args], input=stdin, stdout=subprocess.PIPE, check=True)
    return done.stdout


def saved(data, name="test.pb.gz"):
    path = lib.scratch() / name
    path.write_bytes(data)
    return str(path)


def go_pprof(path, *flags):
    go = lib.needs("go")
    env = lib.environment({"PPROF_BINARY_PATH": "/nonexistent", "HOME": str(lib.scratch()),
                           "GOFLAGS": "-mod=mod"})
    done = subprocess.run([go, "tool", "pprof", *flags, path], env=env, stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE, text=True, check=False)
    lib.equal(done.returncode, 0, "status of go tool pprof: " + done.stderr)
    return done.stdout


@lib.parallel
def test_every_kind_of_frame_is_valid():
    profile = pprof_decode.parse(driver("profile"))
    pprof_rules.validate(profile, main=DRIVER)
    lib.equal(profile.sample_types, [("samples", "count"), ("cpu", "nanoseconds")])
    lib.equal(profile.period_type, ("cpu", "nanoseconds"))
    lib.equal((profile.period, profile.duration_nanos), (10000000, 5))
    lib.equal(profile.total("samples"), 53)
    lib.equal(profile.comments, ["made by a test", "bad bytes: \ufffd( \ufffd"])
    flat = profile.flat("samples")
    for name, value in (("driver_leaf", 16), ("qsort_r", 5), ("malloc", 4), ("[other stacks]", 7),
                        ("[anon]", 8), ("[unmapped]", -2), ("time", 9)):
        lib.equal(flat.get(name), value, name)
    roots = {sample.stack[-1] for sample in profile.samples}
    assert {"[truncated]", "[unknown caller]"} <= roots, roots
    for location in profile.locations:
        if location.names[0].startswith("[") and location.address < 64:
            lib.equal(location.mapping, None, f"mapping of {location.names}")


@lib.parallel
def test_labels():
    profile = pprof_decode.parse(driver("profile"))
    labels = [(s.label("bytes"), s.label("thread")) for s in profile.samples[:4]]
    lib.equal(labels, [(None, None), (None, "worker-1"),
                       (None, "wild \ufffd[31m\ufffd\ufffd2"), (4096, None)])


@lib.parallel
def test_build_ids_are_those_of_the_files():
    readelf = lib.needs("readelf")
    profile = pprof_decode.parse(driver("profile"))
    checked = 0
    for mapping in profile.mappings:
        if not mapping.filename.startswith("/"):
            continue
        notes = subprocess.run([readelf, "-n", mapping.filename], stdout=subprocess.PIPE, text=True,
                               check=True).stdout
        lib.equal(mapping.build_id, re.search(r"Build ID: (\w+)", notes).group(1))
        checked += 1
    assert checked >= 2, "no mapping was compared"


@lib.parallel
def test_without_symbols():
    profile = pprof_decode.parse(driver("profile", "none"))
    pprof_rules.validate(profile, names=False, main=DRIVER)
    assert not any(m.has_functions for m in profile.mappings)
    named = {name for location in profile.locations for name in location.names}
    lib.equal(named, {"[truncated]", "[other stacks]", "[unknown caller]", "[anon]", "[unmapped]"})


@lib.parallel
def test_no_samples():
    profile = pprof_decode.parse(driver("empty"))
    pprof_rules.validate(profile, main=DRIVER)
    lib.equal((len(profile.samples), len(profile.mappings)), (0, 1))
    assert "Total samples = 0" in go_pprof(saved(driver("empty")), "-top")


@lib.parallel
def test_go_tool_reads_the_same():
    data = driver("profile")
    profile = pprof_decode.parse(data)
    raw = go_pprof(saved(data), "-raw")
    rows = re.findall(r"^ +(-?\d+) +(-?\d+): ([\d ]*)$", raw, re.M)
    lib.equal([(int(a), int(b), [int(i) for i in ids.split()]) for a, b, ids in rows],
              [(*s.values, s.location_ids) for s in profile.samples])
    for location in profile.locations:
        assert re.search(rf"^ +{location.id}: {location.address:#x} "
                         rf"(M=\d+ )?{re.escape(location.names[0])} ", raw, re.M), location.names
    lib.equal(raw.count("[FN]"), len(profile.mappings))
    top = go_pprof(saved(data), "-top", "-sample_index=samples")
    assert re.search(r"^ +16 .* driver_leaf$", top, re.M), top
    assert "File: encode-driver" in top and "Build ID: " + profile.mappings[0].build_id in top


@lib.parallel
def test_protoc_reads_it_with_our_definitions():
    protoc = lib.needs("protoc")
    done = subprocess.run([protoc, "--decode=perftools.profiles.Profile",
                           f"-I{lib.TOP}", "encode/profile.proto"],
                          input=gzip.decompress(driver("profile")), stdout=subprocess.PIPE,
                          cwd=lib.TOP, check=True)
    text = done.stdout.decode()
    lib.equal(len(re.findall(r"^sample \{", text, re.M)), 11)
    lib.equal(len(re.findall(r"^time_nanos: ", text, re.M)), 1)
    assert not re.search(r"^\d+:", text, re.M), "a field without definition"


def columns(line):
    """The column that each cell of a line begins at, with tab stops of 8."""
    starts, column = [], 0
    for part in re.split(r"(\t+)", line):
        if part.startswith("\t"):
            column = (column // 8 + len(part)) * 8
            starts.append(column)
        else:
            column += len(part)
    return starts


def records(text):
    """[(record line, [frame line])]"""
    out = []
    for line in text.splitlines():
        if line.startswith("#\t"):
            out[-1][1].append(line)
        elif " @ 0x" in line:
            out.append((line, []))
    return out


@lib.parallel
def test_text_forms():
    count = driver("text", "count").decode()
    lib.equal(count.splitlines()[0], "goroutine profile: total 57")
    heap = driver("text", "heap").decode()
    lib.equal(heap.splitlines()[0], "heap profile: 114: 1140000000 [57: 570000000] @ heap/1048576")
    assert heap.endswith("\n\n\n# runtime.MemStats\n# Sys = 1\n"), heap[-80:]
    lib.equal(driver("text", "block").decode().splitlines()[:2],
              ["--- contention:", "cycles/second=1000000000"])
    lib.equal(driver("text", "mutex").decode().splitlines()[:3],
              ["--- mutex:", "cycles/second=1000000000", "sampling period=1"])
    for text, pattern in ((count, r"(-?\d+) @"), (heap, r"-?\d+: (-?\d+) \["),
                          (driver("text", "mutex").decode(), r"(-?\d+) ")):
        weights = [int(re.match(pattern, line).group(1)) for line, _ in records(text)]
        lib.equal(weights, sorted(weights, reverse=True), "order of the records")
        for line, frames in records(text):
            addresses = [int(a, 16) for a in line.split("@")[1].split()]
            lib.equal([int(f.split("\t")[1], 16) + 1 for f in frames], addresses)
            aligned = [columns(f) for f in frames if f.count("/") or "[vs" in f or "[vd" in f]
            for start in zip(*aligned):
                assert max(start) == min(start) or len(aligned) != len(frames), frames


@lib.parallel
def test_text_columns_are_gos():
    """The same cells through Go's own tabwriter."""
    go = lib.needs("go")
    directory = lib.scratch()
    (directory / "main.go").write_text('''package main
import ("bufio"; "fmt"; "os"; "strings"; "text/tabwriter")
func main() {
	w := tabwriter.NewWriter(os.Stdout, 1, 8, 1, '\\t', 0)
	in := bufio.NewScanner(os.Stdin)
	in.Buffer(nil, 1<<20)
	for in.Scan() {
		cells := strings.FieldsFunc(in.Text(), func(r rune) bool { return r == '\\t' })
		fmt.Fprintln(w, strings.Join(cells, "\\t"))
	}
	w.Flush()
}
''')
    env = lib.environment({"HOME": str(directory), "GOCACHE": str(directory / "cache"),
                           "GOFLAGS": "", "GO111MODULE": "off"})
    for form in ("count", "heap", "mutex"):
        text = driver("text", form)
        done = subprocess.run([go, "run", "main.go"], input=text, stdout=subprocess.PIPE,
                              cwd=directory, env=env, check=True)
        lib.equal(done.stdout, text, form)


@lib.parallel
def test_go_tool_reads_the_text_forms():
    for form, column, total in (("count", "goroutine", 57), ("mutex", "contentions", 57)):
        path = saved(driver("text", form), form + ".txt")
        raw = go_pprof(path, "-raw", "-symbolize=none")
        rows = re.findall(r"^ +(-?\d+)(?: +(-?\d+))?: ", raw.split("Locations")[0], re.M)
        lib.equal(sum(int(row[0]) for row in rows), total, column)
    raw = go_pprof(saved(driver("text", "heap"), "heap.txt"), "-raw", "-symbolize=none")
    assert "inuse_space/bytes" in raw and "alloc_objects/count" in raw, raw[:400]
