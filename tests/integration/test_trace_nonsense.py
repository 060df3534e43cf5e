# SPDX-License-Identifier: Apache-2.0
"""Records at random, as no program makes them: the traces of them are read by judges from outside."""
import os
import subprocess

import lib
import perfetto_decode
from lib import equal, limit, long, note, parallel
from traces import go_trace


def files(seeds):
    """The traces that the unit test trace_files writes: {format: [path]}."""
    where = lib.scratch()
    unit = lib.BUILD / "tests" / "unit"
    if not unit.exists():
        lib.skip("there is no " + str(unit) + ": make check-unit makes it")
    done = subprocess.run([unit, "trace_files"], env=dict(os.environ, TRACE_FILES=str(where), TRACE_SEEDS=str(seeds)),
                          capture_output=True, text=True, timeout=120)
    equal(done.returncode, 0, done.stdout + done.stderr)
    found = {format: sorted(where.glob(f"*.{format}")) for format in ("go1.19", "go1.22", "perfetto")}
    equal([len(paths) for paths in found.values()], [seeds] * 3)
    return found


@parallel
@limit(120)
def test_nonsense():
    found = files(300)
    sizes = 0
    for path in found["perfetto"]:
        sizes += perfetto_decode.parse(path.read_bytes()).packets
    for path in found["go1.19"][::50]:
        go_trace(path, "sync")
    note(f"{sizes} packets, {len(found['go1.19'][::50])} files for go")


@long
@limit(1200)
def test_much_nonsense():
    found = files(4000)
    for path in found["perfetto"]:
        perfetto_decode.parse(path.read_bytes())
    for path in found["go1.19"][::20]:
        go_trace(path, "sync")
