# SPDX-License-Identifier: Apache-2.0
"""Fleets: PPROF_SD_DIR, Debian's Prometheus, and the requests of Parca and Grafana Alloy with their validators."""
import gzip
import json
import re
import shutil
import signal
import subprocess
import threading
import time
import urllib.parse
import urllib.request

import pprof_decode
import pprof_rules
from lib import App, TOP, background, equal, free_port, go_environment, limit, needs, parallel, program, scratch, until, waits


# ---------------------------------------------------------------- the files

def targets(directory):
    return sorted(p for p in directory.iterdir() if p.suffix == ".json") if directory.exists() else []


def only_target(directory):
    (file,) = until(lambda: len(targets(directory)) == 1 and targets(directory), "one target file")
    (entry,) = json.loads(file.read_text())
    (address,) = entry["targets"]
    return file, address, entry["labels"]


@parallel
@limit(60)
def test_target_file():
    """Says where, who and what; is gone when the process has ended, whichever way."""
    directory = scratch() / "new" / "sd"
    for end in (signal.SIGTERM, signal.SIGINT):
        with App(program("ends"), "wait", sd_dir=directory) as app:
            file, address, labels = only_target(directory)
            equal(address, f"127.0.0.1:{app.where[1]}", "target")
            equal((labels["exe"], labels["pid"]), ("ends", str(app.pid)), "labels")
            assert re.fullmatch(r"[0-9a-f]{1,16}", labels["cmd_hash"]), labels
            query = urllib.parse.urlencode({"format": labels["__param_format"]})
            got = urllib.request.urlopen(f"http://{address}{labels['__metrics_path__']}?{query}", timeout=10).read()
            assert b"pprofagent_memory_bytes" in got
            app.line()
            app.process.send_signal(end)
            equal(app.finish()[0], -end, "status")
        equal(targets(directory), [], f"files after the end by {end!r}")
    for way in ("return", "_exit", "quick_exit", "main_last"):
        with App(program("exit_ways"), way, sd_dir=directory, wait=False) as app:
            app.finish()
        equal(targets(directory), [], f"files after the end by {way}")


@parallel
@limit(60)
def test_target_files_of_the_killed_are_removed():
    """By whoever comes later; only those of ended processes."""
    directory = scratch()
    with App(program("spin"), sd_dir=directory) as killed:
        stale, _, _ = only_target(directory)
        killed.process.kill()
        killed.process.wait()
    other = directory / "pprofagent-1-2-3.json"  # of another pid namespace: nobody here can tell
    other.write_text("[]")
    assert stale.exists()
    with App(program("spin"), sd_dir=directory) as app:
        until(lambda: not stale.exists(), "the file of the killed process is removed")
        left = [p for p in targets(directory) if p != other]
        equal([str(app.pid) in p.name for p in left], [True], f"{left}")
        assert other.exists()


@parallel
@limit(60)
def test_targets_of_forked_workers():
    """Each worker has its file; it points at the process that holds the port."""
    directory = scratch()
    with App(
            "python3", "-c", "import os, time\npid = os.fork()\nkept = []\nfor _ in range(600):\n    kept.append(bytearray(100000)); time.sleep(0.05)",
            sd_dir=directory) as app:
        files = until(lambda: len(targets(directory)) == 2 and targets(directory), "files of parent and child")
        by_pid = {entry["labels"]["pid"]: entry for f in files for entry in json.loads(f.read_text())}
        child = next(entry for pid, entry in by_pid.items() if pid != str(app.pid))
        equal(child["targets"], by_pid[str(app.pid)]["targets"], "address")
        equal(child["labels"]["__pprof_path__"], f"/debug/pprof/child/{child['labels']['pid']}", "path")
        answer = app.get(child["labels"]["__metrics_path__"], format="prometheus")
        equal(answer.status, 200, "status")


@parallel
@limit(60)
def test_no_target_without_tcp():
    directory = scratch()
    with App(program("spin"), unix=True, sd_dir=directory) as app:
        text = until(lambda: (t := app.get("agent").text) and "scrapers reach TCP addresses only" in t and t, "the sentence in the log")
        assert text
        equal(targets(directory), [], "files")


# ---------------------------------------------------------------- Prometheus

def api(port, path):
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/api/v1/{path}", timeout=10) as answer:
        return json.load(answer)["data"]


@waits
@limit(120)
def test_prometheus_scrapes():
    """Debian's own, with the configuration of docs/deploy.md: finds two processes, reads their counters, loses one."""
    prometheus, promtool = needs("prometheus", "promtool")
    top = scratch()
    text = (TOP / "docs/deploy.md").read_text()
    config = re.search(r"```yaml\n# prometheus\.yml\n(.*?)```", text, re.S).group(1)
    config = config.replace("/run/pprofagent", str(top / "sd")).replace("15s", "1s")
    (top / "prometheus.yml").write_text(config)
    subprocess.run([promtool, "check", "config", top / "prometheus.yml"], check=True, capture_output=True, timeout=30)
    with App(program("spin"), sd_dir=top / "sd") as first, App(program("ends"), "wait", sd_dir=top / "sd") as second:
        port = free_port()
        background([prometheus, f"--config.file={top}/prometheus.yml", f"--storage.tsdb.path={top}/data",
                    f"--web.listen-address=127.0.0.1:{port}"])

        def values(query):
            try:
                result = api(port, "query?" + urllib.parse.urlencode({"query": query}))["result"]
            except OSError:
                return {}
            return {r["metric"]["pid"]: (r["metric"].get("exe"), float(r["value"][1])) for r in result}

        both = {str(first.pid), str(second.pid)}
        until(lambda: set(values("pprofagent_memory_bytes > 0")) == both, "both processes are scraped", 40, 0.2)
        equal({exe for exe, _ in values("pprofagent_threads").values()}, {"spin", "ends"}, "exe")
        healthy = [t["health"] for t in api(port, "targets")["activeTargets"]]
        equal(healthy, ["up", "up"], "targets")
        second.process.terminate()
        second.process.wait(10)
        until(lambda: set(values("up")) == {str(first.pid)}, "the process that ended is forgotten", 40, 0.2)


# ---------------------------------------------------------------- Parca and Alloy

PARCA = {"memory": "allocs", "block": "block", "goroutine": "goroutine", "mutex": "mutex", "process_cpu": "profile?seconds=10"}
ALLOY = {"memory": "allocs", "block": "block", "goroutine": "goroutine", "mutex": "mutex", "process_cpu": "profile?seconds=14",
         "godeltaprof_memory": "delta_heap", "godeltaprof_mutex": "delta_mutex", "godeltaprof_block": "delta_block"}
TYPES = {
    "memory": ["alloc_objects/count", "alloc_space/bytes", "inuse_objects/count", "inuse_space/bytes"],
    "block": ["contentions/count", "delay/nanoseconds"], "mutex": ["contentions/count", "delay/nanoseconds"],
    "goroutine": ["goroutine/count"], "process_cpu": ["samples/count", "cpu/nanoseconds"],
}
TYPES |= {"godeltaprof_" + k: TYPES[k] for k in ("memory", "mutex", "block")}


def scrape(app, requests, agent_name, timeout, results):
    """All of a target's endpoints at once, as both scrapers do."""
    def one(kind, path):
        request = urllib.request.Request(app.url(path), headers={"User-Agent": agent_name, "Accept-Encoding": "gzip"})
        began = time.monotonic()
        try:
            with urllib.request.urlopen(request, timeout=timeout + 15) as answer:
                results[kind] = (answer.status, dict(answer.headers), answer.read(), time.monotonic() - began)
        except OSError as error:
            results[kind] = (getattr(error, "code", 0), {}, str(error).encode(), time.monotonic() - began)

    threads = [threading.Thread(target=one, args=item) for item in requests.items()]
    for thread in threads:
        thread.start()
    return threads


def judge(kind, answer, timeout, who):
    status, headers, body, seconds = answer
    where = f"{who} {kind}"
    equal(status, 200, f"{where}: status ({body[:200]!r})")
    assert body, f"{where}: empty body"
    # Alloy refuses other types, and bodies that look like a page or JSON
    assert headers["Content-Type"].startswith("application/octet-stream"), f"{where}: {headers['Content-Type']}"
    assert body[:1] not in (b"<", b"{", b"[") and body[:2] == b"\x1f\x8b", f"{where}: {body[:10]!r}"
    # the body is the file: a transport that unpacks must not be told to
    assert "Content-Encoding" not in headers, f"{where}: {headers}"
    profile = pprof_decode.Profile.parse(body)
    equal(pprof_rules.problems(profile), [], where)
    equal([f"{t}/{u}" for t, u in profile.sample_types], TYPES[kind], f"{where}: types")
    assert len(gzip.decompress(body)) < 4 << 20 and len(profile.samples) < 16000, f"{where}: beyond Pyroscope's limits"
    return profile, seconds


def google_parse(files):
    """What google/pprof itself says, from the sources that come with Go."""
    go = needs("go")
    root = subprocess.run([go, "env", "GOROOT"], env=go_environment(), capture_output=True, text=True, check=True).stdout.strip()
    path = scratch()
    package = path / "src/github.com/google/pprof"
    package.mkdir(parents=True)
    shutil.copytree(f"{root}/src/cmd/vendor/github.com/google/pprof/profile", package / "profile")
    done = subprocess.run([go, "run", str(TOP / "tests/go/parse.go"), *map(str, files)], capture_output=True, text=True, timeout=110,
                          env=go_environment() | {"GOPATH": str(path), "GO111MODULE": "off"})
    equal(done.returncode, 0, done.stderr)
    return done.stdout.splitlines()


@parallel
@limit(120)
def test_parca_and_alloy_at_once():
    """Their default requests, at the same time, against one process; everything passes what they check. The second
    round of Alloy's gives the differences that it computes itself: by addresses and labels, never below zero."""
    with App(program("ends"), "busy", blockprofilerate=1, mutexprofilefraction=1) as app:
        equal(app.line(), "ready")
        for name in ("allocs", "mutex", "block"):
            until(lambda: app.profile(name).samples, f"something in {name}", 30, 0.2)
        parca, alloy, again = {}, {}, {}
        threads = scrape(app, PARCA, "Parca/0.22.0", 13, parca) + scrape(app, ALLOY, "Alloy/1.5.0", 24, alloy)
        for thread in threads:
            thread.join()
        for thread in scrape(app, {k: v for k, v in ALLOY.items() if k in ("memory", "mutex", "block")}, "Alloy/1.5.0", 10, again):
            thread.join()
        kept = scratch()
        for who, answers, timeout in (("Parca", parca, 13), ("Alloy", alloy, 24), ("Alloy again", again, 10)):
            for kind, answer in answers.items():
                profile, seconds = judge(kind, answer, timeout, who)
                limit_s = timeout if kind == "process_cpu" else 10
                assert seconds < limit_s, f"{who} {kind}: {seconds:.1f} s, its time limit is {limit_s}"
                if kind == "process_cpu":
                    assert profile.total("cpu") > 0, f"{who}: no CPU samples"
                (kept / f"{who} {kind}".replace(" ", "_")).write_bytes(answer[2])
        for kind in ("memory", "mutex", "block"):
            before, after = (stacks(pprof_decode.Profile.parse(a[kind][2])) for a in (alloy, again))
            assert before, f"{kind}: no samples"
            assert all(0 not in addresses for addresses, _ in before), f"{kind}: an address is 0"
            for key, values in before.items():
                assert key in after, f"{kind}: a stack is gone: its addresses are not stable"
                grown = [b - a for a, b in zip(values, after[key])][:2]
                assert min(grown) >= 0, f"{kind}: {grown} less than before"
        files = sorted(kept.iterdir())
        for file, line in zip(files, google_parse(files), strict=True):
            assert " ok " in f" {line} ", f"{file.name}: {line}"


def stacks(profile):
    """{(addresses, labels): values}, values of equal rows added, as Alloy's delta computation does."""
    address = {l.id: l.address for l in profile.locations.values()} if isinstance(profile.locations, dict) else {l.id: l.address for l in profile.locations}
    out = {}
    for sample in profile.samples:
        key = (tuple(address[i] for i in sample.location_ids), str(sorted(map(str, sample.labels))))
        old = out.get(key, [0] * len(sample.values))
        out[key] = [a + b for a, b in zip(old, sample.values)]
    return out
