# SPDX-License-Identifier: Apache-2.0
"""Answers that the agent of another process gives."""
import os
import signal
import socket
import threading
import time
import unittest

from serving import MIB, Answer, Base, pattern, read_all


class Forwarding(Base):
    def pair(self):
        child = self.serve("unix:@pprof-child-%p")
        return self.serve(), child, "/forward/" + child.path[1:]

    def test_relay(self):
        s, child, way = self.pair()
        a = s.ask(way + "/huge?bytes=100000")
        self.assertEqual((a.status, a.body), (200, pattern(100000)))
        self.assertEqual(a.headers["content-disposition"], 'attachment; filename="toy"')
        self.assertEqual(a.headers["content-type"], "application/octet-stream")
        a = s.ask(way + "/error")
        self.assertEqual((a.status, a.body, a.headers["x-go-pprof"]), (404, b"Unknown profile\n", "1"))
        self.assertEqual(s.ask(way + "/nosuch").headers.get("x-go-pprof"), None)
        a = s.ask(way + "/huge?bytes=30000000")
        self.assertTrue(a.whole)
        self.assertEqual(a.body, pattern(30000000))
        self.assertEqual(s.ask(way + "/huge?bytes=3000", "HEAD").status, 200)
        body = bytes(i % 251 for i in range(500000))
        self.assertEqual(s.ask(way + "/echo", "POST", body=body).body, body)
        self.assertEqual(s.ask(way + "/echo").body, b"")
        self.assertEqual(s.ask(way + "/a%20b%25").status, 404)
        self.assertEqual(child.stats()["http_requests_bad"], 0)
        self.assertEqual(s.stats()["http_requests_bad"], 0)

    def test_token_goes_along(self):
        child = self.serve("unix:@pprof-child-%p", token="t")
        s = self.serve(token="t")
        line = "Authorization: Bearer t\r\n"
        a = s.ask(f"/forward/{child.path[1:]}/flags", headers=line)
        self.assertEqual(a.body, b"local authorized\n")

    def test_gone(self):
        s, child, way = self.pair()
        with s.connect() as c:
            c.sendall(f"GET {way}/slow?ms=60000 HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
            self.eventually(lambda: child.stats()["jobs"], 1)
        self.assertLess(child.settle(), 0.2)
        # the child dies before, and in the middle of, its answer
        with s.connect() as c, s.connect(receive_buffer=4096) as d:
            c.sendall(f"GET {way}/slow?ms=60000 HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
            d.sendall(f"GET {way}/huge?bytes=90000000 HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
            self.assertEqual(d.recv(1), b"H")
            self.eventually(lambda: child.stats()["jobs"], 3)
            child.close()
            self.assertEqual(Answer(read_all(c)).status, 502)
            self.assertTrue(read_all(d).endswith(b"<reset>"))
        self.assertEqual(s.ask(way + "/").status, 502)
        self.alive(s)
        self.eventually(lambda: len(os.listdir(f"/proc/{s.process.pid}/fd")), 4)

    def test_stopped_child(self):
        """A child that does not run blocks nobody else, and costs no time."""
        s, child, way = self.pair()
        os.kill(child.process.pid, signal.SIGSTOP)
        held = [s.connect() for _ in range(3)]
        for c in held:
            c.sendall(f"GET {way}/ HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
        before = s.stats()["cpu_ns"]
        time.sleep(0.5)
        self.assertLess(s.stats()["cpu_ns"] - before, 10e6)
        os.kill(child.process.pid, signal.SIGCONT)
        for c in held:
            self.assertEqual(Answer(read_all(c)).body, b"ok\n")
            c.close()

    def test_slow_reader(self):
        """Nothing spins, and little is held, while the client does not read."""
        s, _, way = self.pair()
        with s.connect(receive_buffer=4096) as c:
            c.sendall(f"GET {way}/huge?bytes=200000000 HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
            time.sleep(1)
            before = s.stats()["cpu_ns"]
            time.sleep(1)
            self.assertLess(s.stats()["cpu_ns"] - before, 20e6)
            self.assertLess(s.stats()["budget_used"], 20 * MIB)

    def test_liars(self):
        """Something else listens under the name."""
        s = self.serve()
        rows = [b"", b"SSH-2.0-x\r\n\r\n", b"HTTP/1.1 200 OK\r\n", b"HTTP/1.1 100 Continue\r\n\r\n",
                b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc",
                b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\nabc",
                b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\nabc",
                b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nabc",
                b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3;x\r\nabc\r\n0\r\n\r\n",
                b"HTTP/1.1 200 OK\r\nX: \0\r\n\r\n", b"HTTP/1.1 200 OK\r\nX: " + b"x" * 9000]
        for n, data in enumerate(rows):
            name = f"pprof-liar-{os.getpid()}-{n}"
            with socket.socket(socket.AF_UNIX) as u:
                u.bind("\0" + name)
                u.listen()

                def lie(u=u, data=data):
                    c, _ = u.accept()
                    c.recv(9999)
                    c.sendall(data)
                    c.close()

                t = threading.Thread(target=lie)
                t.start()
                self.assertEqual((data[:60], s.ask(f"/forward/{name}/").status), (data[:60], 502))
                t.join()
        self.alive(s)

    @unittest.skipIf(os.geteuid() != 0, "needs root to be somebody else")
    def test_foreign_child(self):
        """A name taken by another user is not asked."""
        child = self.serve("unix:@pprof-foreign-%p", uid=65533)
        s = self.serve(uid=65534)
        self.assertEqual(s.ask(f"/forward/{child.path[1:]}/").status, 502)
