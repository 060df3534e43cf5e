# SPDX-License-Identifier: Apache-2.0
"""A running tests/http/serve.c, what asks it, and what its answers must look like."""
import os
import re
import resource
import socket
import struct
import subprocess
import time
import unittest

SERVE = ""  # its path: run.py
MIB = 1 << 20
HOST = "127.0.0.1"


class Client:
    """Asks a running serve program."""

    def __init__(self, pid, port=0, path=""):
        self.pid, self.port, self.path = pid, port, path

    def connect(self, timeout=20, receive_buffer=None):
        """A socket; closed at the latest with the server."""
        if self.path:
            s = socket.socket(socket.AF_UNIX)
            address = "\0" + self.path[1:] if self.path[0] == "@" else self.path
        else:
            s = socket.socket()
            address = (HOST, self.port)
        if receive_buffer:
            s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        s.settimeout(timeout)
        s.connect(address)
        return s

    def raw(self, data, timeout=20):
        """Sends bytes, returns all that comes back."""
        with self.connect(timeout) as s:
            s.sendall(data)
            return read_all(s)

    def ask(self, target="/", method="GET", headers="", body=b"", version="1.1", timeout=20):
        host = "" if re.search(r"(?mi)^host:", headers) else f"Host: {HOST}:{self.port}\r\n"
        head = f"{method} {target} HTTP/{version}\r\n{host}{headers}"
        if body:
            head += f"Content-Length: {len(body)}\r\n"
        return Answer(self.raw(head.encode("latin-1") + b"\r\n" + body, timeout), method)

    def stats(self):
        text = self.ask("/stats").body.decode()
        return {k: int(v) for k, v in (line.split() for line in text.splitlines())}

    def settle(self, want=0, timeout=3):
        """Waits until all jobs but `want` were dropped; returns how long that took."""
        watch = Stopwatch(self)
        while watch.seconds() < timeout:
            s = self.stats()
            if s["jobs"] - s["dropped"] == want:
                return watch.seconds()
            time.sleep(0.01)
        raise AssertionError(f"jobs left: {s['jobs'] - s['dropped']}")


class Server(Client):
    """A running serve program."""

    def __init__(self, address="127.0.0.1:0", token="-", hosts="-", max_mem=None, files=None, uid=None):
        def limits():
            if files:
                resource.setrlimit(resource.RLIMIT_NOFILE, (files, files))
            if uid is not None:
                os.setgid(uid)
                os.setuid(uid)

        args = [SERVE, address, token, hosts] + ([str(max_mem)] if max_mem else [])
        self.process = subprocess.Popen(args, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                                        text=True, preexec_fn=limits)
        super().__init__(self.process.pid)
        self.addresses, self.exposed = [], False
        for line in self.process.stdout:
            word, _, rest = line.strip().partition(" ")
            if word == "port":
                self.port = int(rest)
            elif word == "path":
                self.path = rest
            elif word == "exposed":
                self.exposed = rest == "1"
            elif word == "ready":
                return
            else:
                self.addresses.append(word)
        self.error = self.process.stderr.read().strip()
        self.close()
        self.code = self.process.returncode

    def close(self):
        self.process.kill()
        self.process.wait()
        self.process.stdout.close()
        self.process.stderr.close()


class Stopwatch:
    """Seconds that the server and this thread are answerable for: the time that they stood ready to
    run while the machine ran others (/proc/*/schedstat) is taken off. For upper bounds only."""

    def __init__(self, server):
        self.files = (f"/proc/{server.pid}/schedstat", "/proc/thread-self/schedstat")
        self.start = self.now()

    def now(self):
        waited = 0
        for path in self.files:
            with open(path, encoding="ascii") as f:
                waited += int(f.read().split()[1])
        return time.monotonic() - waited / 1e9

    def seconds(self):
        return self.now() - self.start


def read_all(s):
    data = bytearray()
    try:
        while piece := s.recv(1 << 18):
            data += piece
    except ConnectionResetError:
        data += b"<reset>"
    return bytes(data)


class Answer:
    """One parsed response; anything odd about it is an error here."""

    def __init__(self, data, method="GET"):
        head, sep, rest = data.partition(b"\r\n\r\n")
        assert sep, f"no complete head: {data[:200]!r}"
        lines = head.decode("latin-1").split("\r\n")
        found = re.fullmatch(r"HTTP/1\.1 (\d\d\d) [A-Za-z -]+", lines[0])
        assert found, lines[0]
        self.status = int(found[1])
        pairs = [line.split(": ", 1) for line in lines[1:]]
        self.headers = {k.lower(): v for k, v in pairs}
        assert len(self.headers) == len(pairs), "a header twice"
        self.whole = True
        if method == "HEAD":
            assert rest == b"", "HEAD with a body"
        elif "content-length" in self.headers:
            assert "transfer-encoding" not in self.headers
            self.whole = len(rest) == int(self.headers["content-length"])
        elif self.headers.get("transfer-encoding") == "chunked":
            rest, self.whole = unchunk(rest)
        self.body = rest


def unchunk(data):
    out, at = bytearray(), 0
    while True:
        line, sep, _ = data[at:at + 12].partition(b"\r\n")
        if not sep:
            return bytes(out), False
        size = int(line, 16)
        at += len(line) + 2
        if size == 0:
            return bytes(out), data[at:] == b"\r\n"
        if len(data) < at + size + 2:
            return bytes(out), False
        assert data[at + size:at + size + 2] == b"\r\n"
        out += data[at:at + size]
        at += size + 2


def pattern(n):
    return struct.pack(f"<{n // 8}Q", *range(0, n // 8 * 8, 8))


def reset(s):
    s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    s.close()


class Base(unittest.TestCase):
    def serve(self, *args, **kwargs):
        server = Server(*args, **kwargs)
        self.addCleanup(server.close)
        self.assertTrue(hasattr(server, "error") or server.port or server.path)
        return server

    def eventually(self, get, want):
        """The last connections may still be closing; on a busy machine also that of the last look, so ever less often."""
        end, pause = time.monotonic() + 20, 0.02
        # what was seen is judged: one more look would meet the connection of this one
        while (got := get()) != want and time.monotonic() < end:
            time.sleep(pause)
            pause = min(2 * pause, 2)
        self.assertEqual(got, want)

    def alive(self, server):
        self.assertIsNone(server.process.poll(), "the server died")
        self.assertEqual(server.ask("/").body, b"ok\n")
