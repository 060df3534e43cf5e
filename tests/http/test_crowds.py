# SPDX-License-Identifier: Apache-2.0
"""Many clients at once: each gets its turn, and memory stays bounded."""
import os
import resource
import select
import subprocess
import sys
import threading
import time

from serving import MIB, Base, Stopwatch, pattern, reset


def healthy(s, seconds):
    """The times of a client that asks for something small again and again."""
    times = []
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        watch = Stopwatch(s)
        assert s.ask("/").body == b"ok\n"
        times.append(watch.seconds())
        time.sleep(0.01)
    return sorted(times)


class Crowds(Base):
    def test_crowd(self):
        """1000 idle, 200 slow readers of huge answers, 64 parallel; a healthy client goes on."""
        seconds = float(os.environ.get("CROWD_SECONDS", "6"))
        s = self.serve()
        stop = threading.Event()
        resource.setrlimit(resource.RLIMIT_NOFILE, (4096, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
        idle = [s.connect() for _ in range(1000)]
        slow = [s.connect(receive_buffer=4096) for _ in range(200)]
        for c in slow:
            try:
                c.sendall(b"GET /huge?bytes=100000000 HTTP/1.1\r\nHost: localhost\r\n\r\n")
            except ConnectionError:
                pass

        wrong = []

        def parallel(k):
            while not stop.is_set():
                n = (k + 1) * 10000
                try:
                    a = s.ask(f"/huge?bytes={n}")
                    if a.status == 200 and a.body != pattern(n):
                        wrong.append((n, len(a.body)))
                    if a.status not in (200, 503):
                        wrong.append(a.status)
                except (ConnectionError, AssertionError) as e:
                    wrong.append(repr(e))
                stop.wait(0.3)

        def sip():
            while not stop.is_set():
                for c in slow:
                    try:
                        c.setblocking(False)
                        c.recv(20)
                    except (BlockingIOError, ConnectionError):
                        pass
                stop.wait(1)

        threads = [threading.Thread(target=parallel, args=(k,)) for k in range(64)]
        threads.append(threading.Thread(target=sip))
        for t in threads:
            t.start()
        try:
            # this process is busy itself: what the healthy client sees includes its own waits for
            # the interpreter, so it is a process of its own
            code = ("import sys;sys.path.insert(0,%r);import serving,test_crowds;"
                    "print(*test_crowds.healthy(serving.Client(%d,%d),%f))" %
                    (os.path.dirname(os.path.abspath(__file__)), s.pid, s.port, seconds))
            out = subprocess.run([sys.executable, "-c", code], stdout=subprocess.PIPE, check=True).stdout
        finally:
            stop.set()
            for t in threads:
                t.join()
            for c in idle + slow:
                c.close()
        times = [float(t) for t in out.split()]
        st = s.stats()
        print(f"# crowd: {len(times)} requests, median {times[len(times) // 2] * 1e3:.1f} ms, "
              f"worst {times[-1] * 1e3:.1f} ms; peak memory {st['peak'] / MIB:.1f} MiB, "
              f"evicted {st['http_connections_evicted']}, refused {st['http_connections_refused']}")
        self.assertEqual(wrong, [])
        self.assertGreater(len(times), 20)
        self.assertLess(times[int(len(times) * 0.99)], 0.1)
        self.assertLessEqual(st["peak"], 32 * MIB)
        s.settle()

    def test_all_busy(self):
        """Too many jobs: one more is refused, but what can be answered at once still is."""
        s = self.serve()
        held = []
        for _ in range(256):
            c = s.connect()
            c.sendall(b"GET /stuck HTTP/1.1\r\nHost: localhost\r\n\r\n")
            held.append(c)
        idle = [s.connect() for _ in range(100)]
        self.eventually(lambda: s.stats()["jobs"], 256)
        a = s.ask("/stuck")
        self.assertEqual((a.status, a.headers["x-go-pprof"]), (503, "1"))
        self.alive(s)
        held.pop().close()
        self.eventually(lambda: s.ask("/slow?ms=1").status, 200)
        self.assertGreaterEqual(s.stats()["http_connections_refused"], 1)
        for c in held + idle:
            c.close()
        self.assertLess(s.settle(), 0.5)

    def test_idle_give_way(self):
        s = self.serve()
        held = [s.connect() for _ in range(400)]
        self.alive(s)
        self.assertGreaterEqual(s.stats()["http_connections_evicted"], 80)
        self.assertEqual(held[0].recv(1), b"")  # the oldest went
        self.assertEqual(select.select([held[-1]], [], [], 0)[0], [])
        for c in held:
            c.close()

    def test_no_descriptors(self):
        s = self.serve(files=20)
        held = [s.connect() for _ in range(100)]
        for _ in range(5):
            self.alive(s)
        for c in held:
            c.close()
        held = []

        def stick():
            c = s.connect()
            c.sendall(b"GET /stuck HTTP/1.1\r\nHost: localhost\r\n\r\n")
            held.append(c)
        # one by one: whose request is not read yet makes room for the next, and nothing fails
        for n in range(1, 13):
            stick()
            self.eventually(lambda: s.stats()["jobs"] >= n, True)
        for _ in range(40):
            stick()
            time.sleep(0.05)
        with open(f"/proc/{s.process.pid}/stat", encoding="ascii") as f:
            before = sum(map(int, f.read().split()[13:15]))
        time.sleep(1)
        with open(f"/proc/{s.process.pid}/stat", encoding="ascii") as f:
            self.assertLess(sum(map(int, f.read().split()[13:15])) - before, 10)  # no spinning
        for c in held:
            c.close()
        time.sleep(0.3)
        self.alive(s)
        # whether the next one waits, or takes the place of one that keeps others waiting, depends on
        # how fast they came
        seen = s.stats()
        self.assertGreater(seen["http_accept_failures"] + seen["http_connections_evicted"], 0)

    def test_memory(self):
        """Answers beyond the budget: a clear error, or reset; never more than the budget."""
        s = self.serve(max_mem=2 * MIB)
        a = s.ask("/once?bytes=8000000")
        self.assertEqual((a.status, a.headers["x-go-pprof"]), (503, "1"))
        self.assertIn(b"PPROF_MAX_MEM", a.body)
        a = s.ask("/huge?bytes=50000000")  # streamed: needs no more than its share
        self.assertEqual(a.body, pattern(50000000))
        held = []
        for _ in range(100):
            c = s.connect(receive_buffer=4096)
            c.sendall(b"GET /huge?bytes=50000000 HTTP/1.1\r\nHost: localhost\r\n\r\n")
            held.append(c)
        for _ in range(40):
            c = s.connect()
            c.sendall(b"POST /echo HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000000\r\n\r\n" + b"x" * 900000)
            held.append(c)
        time.sleep(1)
        for c in held:
            reset(c)
        s.settle()
        self.alive(s)
        st = s.stats()
        self.assertLessEqual(st["peak"], 2 * MIB)
        self.assertGreater(st["agent_out_of_memory"], 0)

    def test_five_scrapes(self):
        s = self.serve()
        targets = ["/slow?ms=800", "/slow?ms=800", "/spin?ms=500", "/huge?bytes=3000000", "/"]
        got = {}
        watch = Stopwatch(s)

        def one(i, target):
            got[i] = s.ask(target).status

        threads = [threading.Thread(target=one, args=(i, t)) for i, t in enumerate(targets)]
        for t in threads:
            t.start()
        for t in threads:
            t.join()
        self.assertEqual(got, dict.fromkeys(range(5), 200))
        self.assertLess(watch.seconds(), 1.6)
