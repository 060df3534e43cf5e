#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""What execution traces cost: trace.py BUILD [ROUNDS=9] [EVENTS=1000000].

    no trace runs      a hook that only traces need, against the same call without it
    a trace runs       requests per second of redis-server under redis-benchmark, with and without, in turns
    a trace is made    a million events: time and memory of the agent, size, time and memory of `go tool trace`
"""
import os
import pathlib
import re
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request

BUILD = pathlib.Path(sys.argv[1]).resolve()
ROUNDS = int(sys.argv[2]) if len(sys.argv) > 2 else 9
EVENTS = int(sys.argv[3]) if len(sys.argv) > 3 else 1000000
PASSES = EVENTS // 5  # a wait is five events
PROGRAM = BUILD / "tests/bench/bench_trace"
PLAIN = {k: v for k, v in os.environ.items() if not k.startswith(("PPROF_", "LD_"))}


class Under:
    """A program under the agent."""

    def __init__(self, directory, *argv, **settings):
        port = directory / f"port{time.monotonic_ns()}"
        env = {**PLAIN, "LD_PRELOAD": str(BUILD / "libpprofagent.so"), "PPROF_ADDR": "127.0.0.1:0", "PPROF_PORT_FILE": str(port), **settings}
        self.process = subprocess.Popen([str(a) for a in argv], env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        while not port.exists() or not port.read_text().endswith("\n"):
            time.sleep(0.01)
        self.base = f"http://127.0.0.1:{port.read_text().strip().rpartition(':')[2]}/debug/pprof/"

    def get(self, path):
        with urllib.request.urlopen(self.base + path, timeout=600) as answer:
            return answer.read()

    def memory(self, key):
        return int(re.search(rf"^{key}:\s+(\d+)", pathlib.Path(f"/proc/{self.process.pid}/status").read_text(), re.M).group(1)) / 1024

    def agent_cpu(self):
        for task in pathlib.Path(f"/proc/{self.process.pid}/task").iterdir():
            if (task / "comm").read_text().strip() == "pprof-agent":
                fields = (task / "stat").read_text().rpartition(")")[2].split()
                return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
        raise RuntimeError("no agent thread")

    def stop(self):
        self.process.kill()
        self.process.wait()


def no_trace():
    print("no trace runs: ns of CPU time of read(-1), and what the way through the hook takes more [quartiles]")
    for name, env in (("bare program", PLAIN), ("agent", {**PLAIN, "LD_PRELOAD": str(BUILD / "libpprofagent.so"), "PPROF_ADDR": "127.0.0.1:0"})):
        direct, low, middle, high = subprocess.run([PROGRAM, "calls"], env=env, capture_output=True, text=True, check=True).stdout.split()
        print(f"  {name:14} {direct} {float(middle):+.2f} [{float(low):+.2f} .. {float(high):+.2f}]", flush=True)


def redis(directory):
    path = directory / "redis"
    app = Under(directory, "redis-server", "--port", "0", "--unixsocket", path, "--save", "", "--appendonly", "no", "--dir", directory)
    while not path.exists():
        time.sleep(0.01)

    def load():
        out = subprocess.run(["redis-benchmark", "-s", str(path), "--csv", "-c", "20", "-n", "60000", "-t", "get"], env=PLAIN,
                             capture_output=True, text=True, check=True).stdout
        return float(out.splitlines()[-1].split(",")[1].strip('"'))

    def cpu():
        return int(pathlib.Path(f"/proc/{app.process.pid}/task/{app.process.pid}/schedstat").read_text().split()[0])

    def both():
        begin = cpu()
        figure = load()
        return figure, cpu() - begin

    speed, time_ = [], []
    try:
        load()
        for _ in range(ROUNDS):
            a, b, c = both(), trace_while(app, both), both()
            speed.append(2 * b[0] / (a[0] + c[0]))
            time_.append(2 * b[1] / (a[1] + c[1]))
    finally:
        app.stop()
    print("a trace runs: redis-server, GET by 20 clients, ratio to the same without a trace [quartiles]")
    for what, ratios in (("requests per second", speed), ("its CPU time per request", time_)):
        low, middle, high = statistics.quantiles(ratios, n=4)
        print(f"  {what:26} {middle:.3f} [{low:.3f} .. {high:.3f}]", flush=True)


def trace_while(app, load):
    """The load's figure while a trace runs, which is left without being read."""
    host, port = re.match(r"http://([\d.]+):(\d+)/", app.base).groups()
    with socket.create_connection((host, int(port))) as client:
        client.sendall(b"GET /debug/pprof/trace?seconds=300 HTTP/1.0\r\nHost: localhost\r\n\r\n")
        time.sleep(0.1)
        figure = load()
    time.sleep(0.3)
    return figure


def events(data):
    """How many events a v1 file has."""
    def number(at):
        value = shift = 0
        while data[at] & 0x80:
            value |= (data[at] & 0x7F) << shift
            at, shift = at + 1, shift + 7
        return value | data[at] << shift, at + 1

    at, n = 16, 0
    while at < len(data):
        kind, args, at = data[at] & 0x3F, data[at] >> 6, at + 1
        if args == 3:
            size, at = number(at)
            at += size
        elif kind == 37:  # a string
            _, at = number(at)
            size, at = number(at)
            at += size
        else:
            for _ in range(args + (kind not in (1, 2)) if kind != 2 else 1):
                _, at = number(at)
            at = at if kind != 1 else number(at)[1]
        n += kind not in (1, 2, 3, 37)
        if kind == 48:  # the text of a message
            size, at = number(at)
            at += size
    return n


def million(directory):
    app = Under(directory, PROGRAM, "pass", PASSES, PPROF_MAX_MEM="268435456")
    try:
        app.process.stdout.readline()
        app.get("trace?seconds=0.1")  # symbols are read, memory is warm
        before, cpu = app.memory("VmRSS"), app.agent_cpu()
        answer = []
        window = max(5.0, PASSES * 60e-6)
        thread = threading.Thread(target=lambda: answer.append((app.get(f"trace?seconds={window}"), time.monotonic())))
        start = time.monotonic()
        thread.start()
        time.sleep(0.2)
        app.process.stdin.write("\n")
        app.process.stdin.flush()
        took = int(app.process.stdout.readline().split()[1]) / 1e9
        peak = 0.0
        while thread.is_alive():
            peak = max(peak, app.memory("VmRSS"))
            time.sleep(0.02)
        data, end = answer[0]
        cpu = app.agent_cpu() - cpu
    finally:
        app.stop()
    file = directory / "trace"
    file.write_bytes(data)
    print(f"a trace is made: {events(data)} events in {took:.2f} s: {len(data) / 1e6:.1f} MB, {end - start - window:.2f} s after its window, "
          f"{cpu:.2f} s of the agent's CPU time, {peak - before:.0f} MiB more memory at the peak", flush=True)
    view(directory, file)


def view(directory, file):
    go = shutil.which("go")
    if not go:
        print("  no go: the viewer was not measured")
        return
    env = {**PLAIN, "HOME": str(directory), "GOFLAGS": "", "GOTOOLCHAIN": "local", "BROWSER": "true", "DISPLAY": ""}
    tool = subprocess.run([go, "tool", "-n", "trace"], env=env, capture_output=True, text=True, check=True).stdout.strip()
    start = time.monotonic()
    with subprocess.Popen([tool, "-http=127.0.0.1:0", str(file)], env=env, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True) as server:
        for line in server.stderr:
            if "listening" in line:
                break
        took = time.monotonic() - start
        memory = int(re.search(r"^VmHWM:\s+(\d+)", pathlib.Path(f"/proc/{server.pid}/status").read_text(), re.M).group(1)) / 1024
        server.kill()
    version = subprocess.run([go, "version"], env=env, capture_output=True, text=True).stdout.split()[2]
    print(f"  go tool trace ({version}): {took:.1f} s until it listens, {memory:.0f} MiB")


with tempfile.TemporaryDirectory() as name:
    no_trace()
    redis(pathlib.Path(name))
    million(pathlib.Path(name))
