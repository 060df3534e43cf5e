#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""What hostile clients cost the program: hostile.py [ROUNDS]

1,000 idle connections, 200 that send a byte a second (thrown out, they come back after 10 s), 64 clients that ask
for a page each second. In turns of 3 s with them and without, two figures that do not depend on what else the
machine does: work per CPU time of the program's own threads (ratios with quartiles; ratios of quiet turns to each
other are the noise), and CPU time of the agent's thread per second. Their product is the throughput of a program
that fills the machine.
"""
import contextlib
import os
import pathlib
import selectors
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time

BUILD = os.environ.get("BUILD", "build")
ROUNDS = int(sys.argv[1]) if len(sys.argv) > 1 else 7
TURN = 3


def connect(port):
    s = socket.create_connection(("127.0.0.1", port), 5)
    s.setblocking(False)
    return s


class Crowd:
    """All the clients, in a thread."""

    def __init__(self, port):
        self.port, self.on, self.served = port, True, 0
        self.thread = threading.Thread(target=self.run)

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.on = False
        self.thread.join()

    def run(self):
        wait = selectors.DefaultSelector()
        kinds, next_turn = {}, 0.0
        # when each is to come (back): the idle and slow ones all at once at first
        due = [(0.0, kind) for kind, many in (("idle", 1000), ("slow", 200), ("asks", 64)) for _ in range(many)]

        def drop(s):
            with contextlib.suppress(KeyError, ValueError):
                wait.unregister(s)
            kind = kinds.pop(s, None)
            if kind:
                due.append((time.monotonic() + (1 if kind == "asks" else 10), kind))
            s.close()

        while self.on:
            now = time.monotonic()
            if now >= next_turn:
                next_turn = now + 1
                for s in [s for s, kind in kinds.items() if kind == "slow"]:
                    try:
                        s.send(b"G")
                    except OSError:
                        drop(s)
            ready, due[:] = [d for d in due if d[0] <= now], [d for d in due if d[0] > now]
            for _, kind in ready:
                try:
                    s = connect(self.port)
                    if kind == "asks":
                        s.send(b"GET /debug/pprof/ HTTP/1.1\r\nHost: localhost\r\n\r\n")
                except OSError:
                    due.append((now + 1, kind))
                    continue
                kinds[s] = kind
                wait.register(s, selectors.EVENT_READ)
            for key, _ in wait.select(0.05):
                try:
                    data = key.fileobj.recv(1 << 16)
                    self.served += data.startswith(b"HTTP/1.1 200")
                except OSError:
                    data = b""
                if not data:
                    drop(key.fileobj)
        for s in list(kinds):
            drop(s)


def main():
    env = {k: v for k, v in os.environ.items() if not k.startswith(("PPROF_", "LD_"))}
    with tempfile.TemporaryDirectory() as directory:
        port_file = pathlib.Path(directory) / "port"
        env.update(LD_PRELOAD=os.path.abspath(f"{BUILD}/libpprofagent.so"), PPROF_ADDR="127.0.0.1:0", PPROF_PORT_FILE=str(port_file))
        program = subprocess.Popen([f"{BUILD}/tests/bench/units"], env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1)
        try:
            while not port_file.exists() or not port_file.read_text().endswith("\n"):
                time.sleep(0.01)
            port = int(port_file.read_text())

            (agent,) = [t for t in pathlib.Path(f"/proc/{program.pid}/task").iterdir() if (t / "comm").read_text() == "pprof-agent\n"]

            def look():
                program.stdin.write("?\n")
                program.stdin.flush()
                units, cpu = map(int, program.stdout.readline().split())
                return units, cpu, int((agent / "schedstat").read_text().split()[0]), time.monotonic_ns()

            def rate():
                """Units per CPU time of the program's own, CPU time of the agent per second."""
                before = look()
                time.sleep(TURN)
                units, cpu, own, wall = (b - a for a, b in zip(before, look()))
                return units / (cpu - own), own / wall

            ratios, noise, shares, served = [], [], [], 0
            for _ in range(ROUNDS):
                before = rate()[0]
                with Crowd(port) as crowd:
                    time.sleep(2)  # until all have come
                    crowded, share = rate()
                    served += crowd.served
                time.sleep(1)
                after = rate()[0]
                ratios.append(2 * crowded / (before + after))
                noise.append(after / before)
                shares.append(share)
            for what, values in (("hostile / quiet", ratios), ("quiet / quiet", noise)):
                low, middle, high = statistics.quantiles(values, n=4)
                print(f"{what:18} {middle:.4f}   {low:.4f}-{high:.4f}   least {min(values):.4f}")
            share = statistics.median(shares)
            print(f"agent's thread: {1000 * share:.1f} ms of CPU time per second, {served} pages served meanwhile")
            print(f"throughput of a program that fills {os.cpu_count()} processors: {statistics.median(ratios) * (1 - share / os.cpu_count()):.4f}")
        finally:
            program.kill()
            program.wait()


main()
