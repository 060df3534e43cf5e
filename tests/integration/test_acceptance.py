# SPDX-License-Identifier: Apache-2.0
"""What remains of the list by which any server of pprof profiles is accepted; the rest is in the tests of its parts: statuses
and texts (test_go_parity, test_endpoints), the go tool's ways of looking (test_tools), CPU time (test_cpu_company)."""
import concurrent.futures
import re
import subprocess
import time

import lib
from lib import App, decoded, equal, go_pprof, limit, note, parallel, program, until
from stacks import View
from test_heap import ALLOC_B, KINDS, LIVE_B, command, heap, known


@parallel
@limit(120)
def test_fractions_of_a_second_are_for_traces():
    with App(program("idle"), stdin=subprocess.PIPE) as app:
        for text, want in (("0.2", 0.2), ("1", 1)):
            begin = time.monotonic()
            equal(app.get("trace", seconds=text).status, 200, f"trace?seconds={text}")
            took = time.monotonic() - begin
            assert want <= took < want + 0.7, f"trace?seconds={text} took {took} s"


@parallel
@limit(120)
def test_heap_and_allocs_differ_in_their_default_type():
    """The same four columns; the tool shows alloc_space first for allocs, inuse_space (its last column) for heap."""
    with App(program("idle"), stdin=subprocess.PIPE, memprofilerate=1) as app:
        for path, default in (("heap", None), ("allocs", "alloc_space"), ("heap?seconds=1", None), ("allocs?seconds=1", "alloc_space")):
            out = go_pprof("-raw", app.url(path)).stdout
            line = next(line for line in out.splitlines() if line.startswith("alloc_objects/count"))
            equal([word.removesuffix("[dflt]").split("/")[0] for word in line.split()], KINDS, f"columns of {path}")
            marked = [word.split("/")[0] for word in line.split() if word.endswith("[dflt]")]
            equal(marked, [default] if default else [], f"default column of {path}")
            shown = re.search(r"^Type: (\S+)", go_pprof("-top", app.url(path)).stdout, re.M)[1]
            equal(shown, default or "inuse_space", f"what -top of {path} shows")


@parallel
@limit(120)
def test_deltas_say_their_duration_and_drop_what_did_not_change():
    app, _ = known(2, 200, 1)
    with app:
        whole = app.profile("heap")
        names = ("heap", "allocs", "mutex", "block", "threadcreate", "goroutine")
        with concurrent.futures.ThreadPoolExecutor(len(names)) as pool:
            answers = dict(zip(names, pool.map(lambda name: app.get(name, seconds=1), names)))
        for name, answer in answers.items():
            equal((answer.status, answer.header("Content-Disposition")), (200, f'attachment; filename="{name}-delta"'), name)
            delta = decoded(answer.body)
            assert 1e9 <= delta.duration_nanos < 20e9, f"{name}: {delta.duration_nanos}"
            equal([s.values for s in delta.samples if not any(s.values)], [], f"rows of {name} that are zero")
        assert len(decoded(answers["heap"].body).samples) < len(whole.samples) / 2, "rows of a heap in which nothing happened"
        # and what happens is what is there
        before = {kind: sum(heap(app).flat(kind).values()) for kind in KINDS}
        connection = app.connect(60)
        connection.request("GET", app._target("heap", {"seconds": 2}))
        for _ in range(3):
            equal(app.get("symbol").status, 200, "a later request: the one before has taken its first look")
        command(app, "free", "freed")
        freed = View(decoded(connection.getresponse().read()))
        connection.close()
        gone = -sum(freed.flat(LIVE_B).values())
        assert 0.9 * before[LIVE_B] < gone <= before[LIVE_B] * 1.1, (gone, before)
        assert sum(freed.flat(ALLOC_B).values()) < before[ALLOC_B] / 10, "allocations while blocks were freed"


@parallel
@limit(180)
def test_text_form_is_named_by_the_symbol_endpoint():
    """The tool gets addresses only and asks by POST for their names."""
    app, _ = known(1, 100, 1)
    with app:
        done = go_pprof("-top", "-sample_index=alloc_space", "-symbolize=remote", app.url("heap", debug=1))
        assert re.search(r"\bsite_\w+$", done.stdout, re.M), done.stdout + done.stderr
        asked = app.get("symbol", method="POST", body="0x1+0x2")
        equal((asked.status, asked.text.splitlines()[0]), (200, "num_symbols: 1"), "POST symbol")


@parallel
@limit(180)
def test_names_short_in_tables_and_whole_on_demand():
    with App(program("hot_cpp")) as app:
        saved = lib.scratch() / "profile"
        saved.write_bytes(app.get("profile", seconds=1).body)
        top = go_pprof("-top", saved).stdout
        assert re.search(r" planted::Hot::churn$", top, re.M), top
        raw = go_pprof("-raw", saved).stdout
        assert re.search(r" planted::Hot::churn .* s=\d+\(_ZN7planted3HotIiE5churnEm[\w.$]*\)", raw), [line for line in raw.splitlines() if "churn" in line]
        full = go_pprof("-top", "-symbolize=remote:demangle=full", app.url("profile", seconds=1)).stdout
        assert re.search(r" planted::Hot<int>::churn\(unsigned long\)", full, re.M), full


@parallel
@limit(180)
def test_two_runs_at_other_addresses_cancel_out():
    """-base knows the same code by build ID and offset, wherever the loader put it."""
    saved, starts, truths = lib.scratch(), [], []
    for run in ("first", "second"):
        app, truth = known(2, 300, 1, seed=1)
        with app:
            (saved / run).write_bytes(app.get("heap").body)
        main = decoded((saved / run).read_bytes()).mappings[0]
        starts.append(main.start)
        truths.append(truth)
        assert main.build_id, "the program has a build ID"
    assert starts[0] != starts[1], "both runs lie at the same address: nothing is shown"
    equal(truths[0], truths[1], "what the two runs allocated")
    for kind in KINDS:
        out = go_pprof("-top", "-nodefraction=0", f"-sample_index={kind}", "-base", saved / "first", saved / "second").stdout
        left = re.findall(r"^\s*(-?[\d.]+\w*) .*\s(site_\w+)$", out, re.M)
        equal([row for row in left if not re.fullmatch(r"-?0\w*", row[0])], [], f"what is left of {kind}")
        both = go_pprof("-top", "-nodefraction=0", f"-sample_index={kind}", saved / "first").stdout
        assert re.search(r" site_\w+$", both, re.M), both


@parallel
@limit(120)
def test_waits_never_fall():
    with App(program("ends"), "busy", blockprofilerate=1, mutexprofilefraction=1) as app:
        app.line()
        for name in ("mutex", "block"):
            until(lambda: app.profile(name).samples, f"something in {name}", 30, 0.2)
        before, grown = {}, set()
        for _ in range(12):
            for name in ("mutex", "block"):
                sums = {}
                for s in app.profile(name).samples:
                    key = tuple(s.location_ids and [l for l in s.stack])
                    sums[key] = [a + b for a, b in zip(sums.get(key, [0, 0]), s.values)]
                for key, values in before.get(name, {}).items():
                    assert key in sums and all(a <= b for a, b in zip(values, sums[key])), f"{name} fell: {key} {values} {sums.get(key)}"
                    grown |= {name} if values != sums[key] else set()
                before[name] = sums
        equal(sorted(grown), ["block", "mutex"], "profiles that grew meanwhile")


@parallel
def test_index_leads_to_the_thread_dump():
    with App(program("idle"), stdin=subprocess.PIPE) as app:
        page = app.get().text
        assert re.search(r"<a href=['\"]goroutine\?debug=2['\"]>", page), page
        equal(app.get("goroutine?debug=2").status, 200, "the dump")
        note(f"{len(page)} bytes of index")
