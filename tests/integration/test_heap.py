# SPDX-License-Identifier: Apache-2.0
"""Heap profiles from outside, against programs that know what they allocated.

The law behind the limits. A block of s bytes is sampled with probability p = 1 - exp(-s/R) and then
counts 1/p blocks of s bytes, independently of all others. So a site's bytes have the variance
sum of s^2 (1-p)/p, its objects sum of (1-p)/p, and nothing is biased. Allowed are 6 sigma (2e-9 each).
"""
import math
import re
import subprocess
import threading

import lib
from lib import App, equal, limit, long, note, parallel, program, waits
from stacks import View

ALLOC_N, ALLOC_B, LIVE_N, LIVE_B = "alloc_objects", "alloc_space", "inuse_objects", "inuse_space"
KINDS = [ALLOC_N, ALLOC_B, LIVE_N, LIVE_B]
SITES = ["site_tiny", "site_small", "site_odd", "site_near", "site_big", "site_huge", "site_grow", "site_tail"]


def heap(app, name="heap", **query):
    profile = app.profile(name, **query)
    equal([name for name, _ in profile.sample_types], KINDS, "sample types")
    return View(profile)


def known(threads, rounds, rate, binary=None, **settings):
    """heap_sites, when it is ready. (app, {site: {kind: truth}})"""
    app = App(binary or program("heap_sites"), threads, rounds, stdin=subprocess.PIPE, memprofilerate=rate, **settings)
    truth = {}
    while True:
        words = app.line().split()
        if words == ["ready"]:
            return app, truth
        truth[words[0]] = dict(zip(KINDS, map(int, words[1:])))


def command(app, text, answer):
    app.say(text)
    equal(app.line(), answer)


def by_site(view, kind):
    flat = view.flat(kind)
    return {site: flat.get(site, 0) for site in SITES}


# ---------------------------------------------------------------- pure wrapping

@parallel
@limit(120)
def test_every_function_behaves_as_without_agent():
    for rate in (524288, 4096, 1):
        plain, under = lib.plain_and_under([program("alloc_matrix")], memprofilerate=rate)
        equal(under[0], 0, "status")
        assert len(plain[1]) > 100000 and b"holds=0" not in plain[1]
        if under[1] != plain[1]:
            pairs = zip(plain[1].split(b"\n"), under[1].split(b"\n"))
            raise AssertionError("rate %d: %r became %r" % (rate, *next(p for p in pairs if p[0] != p[1])))


# ---------------------------------------------------------------- truth

@parallel
def test_every_number_is_exact_at_rate_1():
    app, truth = known(8, 300, 1, max_mem=256 << 20)
    with app:
        for name in ("heap", "allocs"):
            view = heap(app, name)
            for kind in KINDS:
                equal(by_site(view, kind), {s: truth[s][kind] for s in SITES}, f"{name} {kind}")
        command(app, "release", "freed")
        view = heap(app)
        for kind in (LIVE_N, LIVE_B):
            equal(by_site(view, kind), dict.fromkeys(SITES, 0), f"{kind} after everything was freed")
        for kind in (ALLOC_N, ALLOC_B):
            equal(by_site(view, kind), {s: truth[s][kind] for s in SITES}, f"{kind} after everything was freed")


SIZES = {"site_tiny": 24, "site_small": 112, "site_odd": 1000, "site_near": 4096, "site_big": 70000, "site_huge": 16 << 20}


@parallel
@limit(180)
def test_estimates_at_a_rate_are_within_their_law():
    rate, worst = 16384, 0.0
    for seed in range(1, 7):
        app, truth = known(4, 1500, rate, seed=seed)
        with app:
            view = heap(app)
            for site, size in SIZES.items():
                p = -math.expm1(-size / rate)
                for kind in KINDS:
                    unit = size if kind in (ALLOC_B, LIVE_B) else 1
                    blocks = truth[site][kind] / unit
                    sigma = unit * math.sqrt(blocks * (1 - p) / p)
                    error = abs(by_site(view, kind)[site] - truth[site][kind])
                    # every row is rounded to whole numbers
                    assert error <= 6 * sigma + 5, \
                        f"seed {seed}: {kind} of {site} is off by {error}, sigma {sigma:.1f}"
                    worst = max(worst, error / (sigma + 1))
    note(f"largest error {worst:.1f} sigma of {6 * len(SIZES) * 4} numbers")


@parallel
def test_labels_say_the_block_size():
    app, _ = known(1, 200, 1)
    with app:
        sizes = {}
        for s in heap(app).samples:
            if s.frames and s.frames[0].name in SIZES:
                sizes.setdefault(s.frames[0].name, set()).add(s.labels["bytes"])
        # 24, 112, 4096 and 16 MiB begin a class; 1000 and 70000 lie in those of 960 and 65536
        equal(sizes, {"site_tiny": {24}, "site_small": {112}, "site_odd": {960}, "site_near": {4096},
                      "site_big": {65536}, "site_huge": {16 << 20}})


@parallel
def test_totals_never_fall():
    with App(program("heap_shapes"), "leak", 1000000, stdin=subprocess.PIPE, memprofilerate=4096) as app:
        equal(app.line(), "ready")
        before = {}
        for _ in range(20):
            now = {}
            for s in heap(app, "allocs").samples:
                key = (tuple(f.address for f in s.frames), s.labels.get("bytes"))
                now[key] = [a + b for a, b in zip(now.get(key, (0, 0)), (s.values[ALLOC_N], s.values[ALLOC_B]))]
            for key, values in before.items():
                assert all(new >= old for new, old in zip(now.get(key, (-1, -1)), values)), (key, values, now.get(key))
            before = now
        assert len(before) >= 5


@parallel
def test_rate_0_is_off_and_valid():
    app, _ = known(2, 50, 0)
    with app:
        for name in ("heap", "allocs", "peakheap", "leak"):
            profile = app.profile(name)
            equal(len(profile.samples), 0, name)
            assert any("PPROF_MEMPROFILERATE=0" in c for c in profile.comments), profile.comments


@parallel
def test_forked_child_frees_what_it_inherited():
    app, truth = known(2, 200, 1, max_mem=128 << 20)
    with app:
        command(app, "fork", "child 0")
        # what the child freed is the parent's still
        equal(by_site(heap(app), LIVE_B), {s: truth[s][LIVE_B] for s in SITES})


# ---------------------------------------------------------------- other views

@waits
@limit(90)
def test_leak_is_found_among_churn():
    with App(program("heap_shapes"), "leak", 1 << 20, stdin=subprocess.PIPE, seed=3) as app:
        equal(app.line(), "ready")
        delta = heap(app, seconds=12)
        first, second = (delta.flat(LIVE_B).most_common(2) + [("", 0)])[:2]
        equal(first[0], "leak_site", "largest of heap?seconds=12")
        note("delta:", delta.flat(LIVE_B).most_common(3))
        # 12 MiB in 24 samples: sigma 2.4 MiB
        assert 12e6 - 6 * 2.5e6 < first[1] < 13.5e6 + 6 * 2.5e6
        leak = heap(app, "leak", age="6s")
        note("leak:", leak.flat(LIVE_B).most_common(3))
        equal(leak.flat(LIVE_B).most_common(1)[0][0], "leak_site", "largest of leak?age=6s")
        assert not any(name.startswith("churn") for name in leak.flat(LIVE_B)), "blocks that are long gone"
        equal(app.get("leak", age="yesterday").status, 400)


@long
@limit(900)
def test_leak_is_found_with_every_seed():
    for first in range(1, 21, 5):
        apps = [App(program("heap_shapes"), "leak", leak, stdin=subprocess.PIPE, seed=seed, memprofilerate=rate)
                for seed in range(first, first + 5) for leak, rate in ((1 << 20, 524288), (64 << 10, 4096))]
        answers = [None] * len(apps)

        def fetch(i):
            answers[i] = (heap(apps[i], seconds=30), heap(apps[i], "leak", age="20s"))

        for app in apps:
            equal(app.line(), "ready")
        threads = [threading.Thread(target=fetch, args=(i,)) for i in range(len(apps))]
        for t in threads:
            t.start()
        for t in threads:
            t.join()
        for i, views in enumerate(answers):
            for view in views:
                equal(view.flat(LIVE_B).most_common(1)[0][0], "leak_site", f"seed {first + i // 2}")
        for app in apps:
            app.stop()


@parallel
def test_peak_is_kept_after_it_is_gone():
    # (blocks, size) of each site, as heap_shapes has them
    sites = {"spike_a": (2000, 100000), "spike_b": (1000, 60000), "spike_c": (10, 4000000)}
    with App(program("heap_shapes"), "spike", stdin=subprocess.PIPE, seed=11) as app:
        equal(app.line(), "spiked")
        peak, now = heap(app, "peakheap"), heap(app)
        for site, (n, size) in sites.items():
            p = -math.expm1(-size / 524288)
            sigma = size * math.sqrt(n * (1 - p) / p)
            got = peak.flat(LIVE_B)[site]
            note(site, got, "true", n * size, f"sigma {sigma:.0f}")
            assert abs(got - n * size) <= 6 * sigma
            equal(now.flat(LIVE_B).get(site, 0), 0, f"{site} now")


# ---------------------------------------------------------------- honesty and bounds

INTERVAL = re.compile(r"pprofagent: (\w+) (\d+) bytes, 95% interval (\d+) to (\d+), from (\d+) samples")


@parallel
def test_comment_gives_the_interval():
    app, truth = known(4, 1000, 65536, seed=5)
    with app:
        profile = app.profile("heap")
        view = View(profile)
        found = {m[1]: tuple(map(int, m.groups()[1:])) for m in map(INTERVAL.match, profile.comments) if m}
        equal(sorted(found), [ALLOC_B, LIVE_B])
        for kind, count in ((ALLOC_B, ALLOC_N), (LIVE_B, LIVE_N)):
            total, low, high, samples = found[kind]
            equal(total, view.total(kind), kind)
            variance = expected = 0
            for s in view.samples:
                if s.values[count]:
                    size = s.values[kind] / s.values[count]
                    p = -math.expm1(-size / 65536)
                    variance += s.values[kind] * size * (1 - p) / p
                    expected += s.values[count] * p
            assert abs(samples - expected) < 1 + 0.01 * expected, (samples, expected)
            assert abs((high - low) / (2 * 1.96 * math.sqrt(variance)) - 1) < 0.1, (kind, low, high, variance)
    app, truth = known(1, 50, 1)
    with app:
        for comment in app.profile("heap").comments:
            m = INTERVAL.match(comment)
            if m:
                equal(m[2], m[3], "no doubt at rate 1")
                equal(m[2], m[4], "no doubt at rate 1")


def peak_rss(app):
    return int(re.search(r"VmHWM:\s+(\d+)", open(f"/proc/{app.pid}/status").read())[1]) * 1024


@parallel
def test_text_form_reads_to_the_same_numbers():
    app, truth = known(2, 800, 32768, seed=2)
    with app:
        saved = lib.scratch()
        rss_before = peak_rss(app)
        (saved / "text").write_bytes(app.get("heap", debug=1).body)
        rss_after = peak_rss(app)
        (saved / "proto").write_bytes(app.get("heap").body)
        for kind in KINDS:
            totals = [re.search(r"of ([0-9.]+\w*) total",
                                lib.go_pprof("-top", "-unit=B" if "space" in kind else "-unit=count",
                                             f"-sample_index={kind}", saved / name).stdout)[1]
                      for name in ("text", "proto")]
            a, b = (float(re.match("[0-9.]+", t)[0]) for t in totals)
            assert abs(a / b - 1) < 0.01, (kind, totals)
        text = (saved / "text").read_text()
        equal(text.split("\n")[0].split(" @ ")[1], "heap/65536")
        for key in ("Alloc", "TotalAlloc", "Sys", "Mallocs", "Frees", "HeapAlloc", "HeapSys", "HeapObjects", "MaxRSS"):
            value = int(re.search(rf"^# {key} = (\d+)$", text, re.M)[1])
            assert value > 0, key
        rss = int(re.search(r"^# MaxRSS = (\d+)$", text, re.M)[1])
        assert rss_before <= rss <= rss_after, (rss_before, rss, rss_after)


@parallel
def test_go_tool_subtracts_and_selects():
    app, truth = known(2, 300, 1)
    with app:
        saved = lib.scratch()
        (saved / "before").write_bytes(app.get("heap").body)
        command(app, "free", "freed")
        url = app.url("heap")
        for kind in KINDS:
            top = lib.go_pprof("-top", f"-sample_index={kind}", url).stdout
            equal(re.search(r"^Type: (\S+)", top, re.M)[1], kind)
        top = lib.go_pprof("-top", "-sample_index=inuse_space", "-unit=B", f"-diff_base={saved / 'before'}", url).stdout
        gone = {m[2]: int(m[1]) for m in re.finditer(r"^\s*(-?\d+)B\s.*\s(site_\w+)$", top, re.M)}
        for site in SITES:
            equal(gone.get(site, 0), -truth[site][LIVE_B], f"-diff_base, {site}")


# ---------------------------------------------------------------- storms

def storm(threads, seconds, rate, *extra, **settings):
    with App(program("heap_storm"), threads, seconds, *extra, stdin=subprocess.PIPE, memprofilerate=rate, **settings) as app:
        over, fetched = threading.Event(), []

        def fetch():
            while not over.is_set():
                fetched.append(len(app.profile("heap").samples))
                app.profile("profile", seconds=1, hz=1000)

        thread = threading.Thread(target=fetch)
        thread.start()
        try:
            took = app.line(seconds + 120)
            equal(app.line(), "done")
        finally:
            over.set()
            thread.join()
        view = heap(app)
        equal(view.flat(LIVE_B).get("storm_step", 0), 0, "live bytes of storm_step when all is freed")
        equal(view.flat(LIVE_N).get("storm_step", 0), 0, "live objects of storm_step when all is freed")
        note(f"{len(fetched)} heap profiles meanwhile; {took}")
        assert fetched and view.flat(ALLOC_N)["storm_step"] > 10000
        agent = app.get("agent").text
        for counter in ("heap_samples_stale", "heap_samples_busy", "heap_live_full"):
            equal(int(re.search(rf"^{counter}\s+(\d+)", agent, re.M)[1]), 0, counter)


@parallel
@limit(120)
def test_storm_leaves_nothing_behind():
    storm(16, 4, 1, max_mem=128 << 20)


@parallel
@limit(120)
def test_storm_with_forks():
    storm(8, 4, 64, "fork", max_mem=64 << 20)


@long
@limit(300)
def test_long_storm():
    storm(16, 60, 1, "fork", max_mem=256 << 20)


# ---------------------------------------------------------------- other allocators, other libcs

PLUGIN = r"""
#include <stdlib.h>
void plugin_free(void **blocks, int n) { for (int i = 0; i < n; i++) free(blocks[i]); }
"""
HOST = r"""
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>
__attribute__((noinline)) void *deep_site(void) { void *p = malloc(200); __asm__ volatile("" : : "r"(p) : "memory"); return p; }
int main(int argc, char **argv)
{
	static void *blocks[1000];
	void *plugin = dlopen(argv[1], RTLD_NOW | RTLD_DEEPBIND);
	void (*give)(void **, int) = (void (*)(void **, int))dlsym(plugin, "plugin_free");
	char c;
	for (int round = 0; round < 300; round++) {
		for (int i = 0; i < 1000; i++)
			blocks[i] = deep_site();
		give(blocks, 1000);
	}
	puts("ready");
	fflush(stdout);
	while (read(0, &c, 1) > 0)
		;
}
"""


@parallel
def test_blocks_freed_past_the_agent_heal():
    where = lib.scratch()
    (where / "plugin.c").write_text(PLUGIN)
    (where / "host.c").write_text(HOST)
    compiler = lib.needs("cc")
    subprocess.run([compiler, "-fno-builtin", "-shared", "-fPIC", "-o", where / "plugin.so", where / "plugin.c"], check=True)
    subprocess.run([compiler, "-fno-builtin", "-O1", "-o", where / "host", where / "host.c", "-ldl"], check=True)
    with App(where / "host", where / "plugin.so", stdin=subprocess.PIPE, memprofilerate=1) as app:
        equal(app.line(), "ready")
        view = heap(app)
        equal(view.flat(ALLOC_N)["deep_site"], 300000)
        # the plug-in's free is libc's own: the last round at most is still believed to be alive
        assert view.flat(LIVE_N).get("deep_site", 0) <= 1000 + 10, view.flat(LIVE_N)
        stale = int(re.search(r"^heap_samples_stale\s+(\d+)", app.get("agent").text, re.M)[1])
        assert stale >= 298000, stale


PYTHON = """
import json, zlib
rows = [{"n": i, "text": "word " * (i % 50)} for i in range(3000)]
for _ in range(5):
    rows = json.loads(json.dumps(rows))
print(zlib.crc32(json.dumps(rows).encode()))
"""
SQL = """
create table t(a integer primary key, b text);
with recursive n(i) as (select 1 union all select i + 1 from n where i < 20000) insert into t select i, 'row ' || i * 7919 % 1000 from n;
select b, count(*), sum(a) from t group by b order by b limit 20;
"""


@parallel
@limit(180)
def test_real_programs_do_not_notice_rate_1():
    python, sqlite, perl = lib.needs("python3", "sqlite3", "perl")
    programs = [([python, "-c", PYTHON], None, {"PYTHONMALLOC": "malloc"}), ([sqlite], SQL.encode(), None),
                ([perl, "-e", "my %h; $h{$_ % 5000} .= 'x' x ($_ % 40) for 1 .. 200000; "
                              "print join ',', map { length $h{$_} } sort keys %h"], None, None)]
    for argv, stdin, env in programs:
        plain, under = lib.plain_and_under(argv, stdin=stdin, env=env, memprofilerate=1, max_mem=128 << 20)
        equal(under, plain, argv[0])
        assert len(plain[1]) > 5
