# SPDX-License-Identifier: Apache-2.0
"""Requests and the answers to them, whole and refused."""
import re
import select
import subprocess
import time

import serving
from serving import MIB, Answer, Base, pattern, read_all


class Answers(Base):
    def test_headers(self):
        s = self.serve()
        common = {
            "x-content-type-options": "nosniff",
            "cache-control": "no-store",
            "referrer-policy": "no-referrer",
            "cross-origin-resource-policy": "same-origin",
            "connection": "close",
        }
        answers = [s.ask("/"), s.ask("/nosuch"), s.ask("/error"), s.ask("/dir"), s.ask("/silent"),
                   s.ask("/", "PUT"), s.ask("/", headers="Host: evil.com\r\n"),
                   s.ask("/huge?bytes=20000000"), Answer(s.raw(b"X\r\n\r\n")), s.ask("/", "HEAD")]
        self.assertEqual([a.status for a in answers],
                         [200, 404, 404, 301, 500, 405, 403, 200, 400, 200])
        for a in answers:
            for name, value in common.items():
                self.assertEqual(a.headers[name], value)
            self.assertIn("default-src 'none'", a.headers["content-security-policy"])
            self.assertIn("frame-ancestors 'none'", a.headers["content-security-policy"])
            self.assertNotIn("content-encoding", a.headers)
            self.assertFalse([h for h in a.headers if h.startswith("access-control")])
            date = time.strptime(a.headers["date"], "%a, %d %b %Y %H:%M:%S GMT")
            self.assertLess(abs(time.mktime(date) - time.mktime(time.gmtime())), 5)

    def test_texts(self):
        s = self.serve()
        rows = [
            ("/nosuch", "GET", 404, "404 page not found\n", False),
            ("/error", "GET", 404, "Unknown profile\n", True),
            ("/", "PUT", 405, "Method Not Allowed\n", False),
            ("/fail?bytes=100", "GET", 500, "failed midway\n", True),
        ]
        for target, method, status, text, mark in rows:
            a = s.ask(target, method)
            self.assertEqual((a.status, a.body.decode()), (status, text))
            self.assertEqual(a.headers["content-type"], "text/plain; charset=utf-8")
            self.assertEqual(a.headers.get("x-go-pprof"), "1" if mark else None)
            self.assertNotIn("content-disposition", a.headers)

    def test_allow(self):
        s = self.serve()
        self.assertEqual(s.ask("/", "POST").headers["allow"], "GET, HEAD")
        self.assertEqual(s.ask("/echo", "DELETE").headers["allow"], "GET, HEAD, POST")
        self.assertEqual(s.ask("*", "OPTIONS").headers["allow"], "GET, HEAD")
        self.assertEqual(s.ask("a:1", "CONNECT").status, 405)
        self.assertEqual(s.ask("/", "get").status, 405)

    def test_head(self):
        s = self.serve()
        for target in ("/", "/nosuch", "/error", "/huge?bytes=4096", "/dir"):
            head, get = s.ask(target, "HEAD"), s.ask(target)
            self.assertEqual(head.status, get.status)
            for a in (head, get):
                a.headers.pop("date")
            if get.status == 301:  # Go's redirect writes no body for HEAD
                head.headers.pop("content-length", 0), get.headers.pop("content-length")
            self.assertEqual(head.headers, get.headers)
        self.assertEqual(s.ask("/huge?bytes=80000000", "HEAD").headers["content-length"], "80000000")

    def test_redirects(self):
        s = self.serve()
        rows = [
            ("//", "/"), ("/a//b", "/a/b"), ("/a/./b", "/a/b"), ("/a/../b", "/b"), ("/..", "/"),
            ("/../../x/", "/x/"), ("/a/%2e%2e/b", "/b"), ("//evil.com/", "/evil.com/"),
            ("/a//b?x=1&y", "/a/b?x=1&y"), ("//%22%3E%3Cimg", "/%22%3E%3Cimg"),
            ("//a%20b%25", "/a%20b%25"), ("/dir?q", "/dir/?q"), ("/.//evil.com", "/evil.com"),
            ("//\"><img src=x>".replace(" ", "+"), "/%22%3E%3Cimg+src=x%3E"),
        ]
        for target, location in rows:
            a = s.ask(target)
            self.assertEqual((target, a.status, a.headers["location"]), (target, 301, location))
            self.assertNotIn(b"<img", a.body)
        a = s.ask("//?\"><script>")
        self.assertEqual(a.body, b'<a href="/?&#34;&gt;&lt;script&gt;">Moved Permanently</a>.\n\n')
        self.assertEqual(s.ask("//", "POST").status, 301)

    def test_sizes_and_framing(self):
        s = self.serve()
        for n in (0, 8, 2000, 4096, 70000, 8 * MIB - 8, 30 * MIB):
            a = s.ask(f"/huge?bytes={n}")
            self.assertTrue(a.whole)
            self.assertEqual(a.body, pattern(n))
            self.assertEqual("content-length" in a.headers, n < 8 * MIB)
        a = s.ask("/huge?bytes=30000000", version="1.0")
        self.assertNotIn("transfer-encoding", a.headers)
        self.assertEqual(a.body, pattern(30000000))
        a = s.ask("/once?bytes=9000000")
        self.assertEqual((a.headers["content-length"], a.body), ("9000000", pattern(9000000)))

    def test_broken_off(self):
        """An answer that fails after its beginning was sent must not look complete."""
        s = self.serve()
        data = s.raw(b"GET /fail?bytes=30000000 HTTP/1.1\r\nHost: localhost\r\n\r\n")
        self.assertIn(b"200 OK", data[:20])
        self.assertTrue(data.endswith(b"<reset>"))
        data = s.raw(b"GET /fail?bytes=30000000 HTTP/1.0\r\n\r\n")
        self.assertTrue(data.endswith(b"<reset>"))
        self.assertEqual(s.stats()["http_answers_cut"], 2)

    def test_one_request(self):
        s = self.serve()
        get = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"
        for extra in (get, get * 100, b"\r\n", b"\0" * 5000, b"x" * 200000):
            data = s.raw(get + extra)
            self.assertEqual(data.count(b"HTTP/1.1"), 1)
            self.assertTrue(data.endswith(b"\r\n\r\nok\n"), data[-100:])

    def test_bodies(self):
        s = self.serve()
        for n in (0, 1, 1900, 5000, 100000, MIB):
            body = bytes(i % 251 for i in range(n))
            self.assertEqual(s.ask("/echo", "POST", body=body).body, body)
        self.assertEqual(s.ask("/echo", "POST", body=b"x" * (MIB + 1)).status, 413)
        self.assertEqual(s.ask("/echo", "GET", body=b"x").status, 413)
        self.assertEqual(s.ask("/echo", "GET", headers="Content-Length: 0\r\n").status, 200)
        self.assertEqual(s.ask("/echo", "POST", headers="Transfer-Encoding: chunked\r\n").status, 501)
        with s.connect() as c:  # byte by byte; what follows the body is not looked at
            for b in b"POST /echo HTTP/1.1\r\nHost: localhost\r\nContent-Length: 3\r\n\r\nabcGET /":
                c.sendall(bytes([b]))
            self.assertEqual(Answer(read_all(c)).body, b"abc")

    def test_expect(self):
        s = self.serve()
        head = b"POST /echo HTTP/1.%d\r\nHost: localhost\r\nExpect: 100-continue\r\nContent-Length: %d\r\n\r\n"
        with s.connect() as c:
            c.sendall(head % (1, 4))
            self.assertEqual(c.recv(100), b"HTTP/1.1 100 Continue\r\n\r\n")
            c.sendall(b"body")
            self.assertEqual(Answer(read_all(c)).body, b"body")
        with s.connect() as c:  # the body came along: nothing to encourage
            c.sendall(head % (1, 4) + b"body")
            self.assertEqual(Answer(read_all(c)).body, b"body")
        with s.connect() as c:  # too large: refused before it is sent
            c.sendall(head % (1, 9 * MIB))
            self.assertEqual(Answer(read_all(c)).status, 413)
        with s.connect() as c:  # HTTP/1.0 does not know it
            c.sendall(head % (0, 4))
            self.assertEqual(select.select([c], [], [], 0.3)[0], [])
            c.sendall(b"body")
            self.assertEqual(Answer(read_all(c)).body, b"body")
        with s.connect() as c:
            c.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\nExpect: 100-continue\r\n\r\n")
            self.assertEqual(Answer(read_all(c)).body, b"ok\n")

    def test_malformed(self):
        s = self.serve()
        get = b"GET / HTTP/1.1\r\nHost: a\r\n"
        rows = [
            (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", 400),
            (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 400),
            (b"GET /\r\n", 400),
            (b"GET / HTTP/2.0\r\n", 505),
            (get + get, 400),
            (get + b"Transfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n0\r\n\r\n", 501),
            (get + b"Content-Length: 3\r\nContent-Length: 3\r\n\r\nabc", 400),
            (b"GET /" + b"a" * 5000, 414),
            (get + b"X: " + b"a" * 9000, 431),
            (get + b"X: a\r\n" * 70, 431),
            (get + b" folded", 400),
            (b"GET /%0d%0aX:1 HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        ]
        for data, status in rows:
            for pieces in (1, 2, 5):
                with s.connect() as c:
                    step = max(1, len(data) // pieces)
                    for at in range(0, len(data), step):
                        try:
                            c.sendall(data[at:at + step])
                        except (BrokenPipeError, ConnectionResetError):
                            break  # answered before the end
                        time.sleep(0.002)
                    a = Answer(read_all(c))
                    self.assertEqual((data[:40], a.status), (data[:40], status))
                    self.assertTrue(a.whole)
                    self.assertTrue(a.body.startswith(str(status).encode()))
        self.assertEqual(s.stats()["http_requests_bad"], 3 * len(rows))


    def test_every_refused_head_has_its_exact_answer(self):
        """The table of heads.h over sockets, in one piece and in two, with another request behind it: the whole answer, to the
        byte, once, and then the end."""
        reasons = {400: "Bad Request", 405: "Method Not Allowed", 413: "Request Entity Too Large", 414: "Request URI Too Long",
                   417: "Expectation Failed", 431: "Request Header Fields Too Large", 501: "Not Implemented",
                   505: "HTTP Version Not Supported"}
        table = subprocess.run([serving.SERVE, "heads"], stdout=subprocess.PIPE, text=True, check=True).stdout.splitlines()
        rows = [(int(status), bytes.fromhex(text)) for status, text in (line.split(" ") for line in table)]
        self.assertGreaterEqual(len(rows), 120)
        s = self.serve()
        for status, head in rows:
            text = f"{status} {reasons[status]}\n"
            allow = "Allow: GET, HEAD\r\n" if status == 405 else ""
            want = (f"HTTP/1.1 {status} {reasons[status]}\r\nDate: *\r\nX-Content-Type-Options: nosniff\r\nCache-Control: no-store\r\n"
                    "Referrer-Policy: no-referrer\r\nCross-Origin-Resource-Policy: same-origin\r\nConnection: close\r\n"
                    "Content-Security-Policy: default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'\r\n"
                    f"Content-Type: text/plain; charset=utf-8\r\n{allow}Content-Length: {len(text)}\r\n\r\n{text}")
            for pieces in ((head,), (head[:len(head) // 2], head[len(head) // 2:]), (head + b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n",)):
                with s.connect() as c:
                    for n, piece in enumerate(pieces):
                        try:
                            c.sendall(piece)
                        except (BrokenPipeError, ConnectionResetError):
                            break  # answered before the end
                        if n + 1 < len(pieces):
                            time.sleep(0.001)
                    got = re.sub(r"(?m)^Date: [A-Z][a-z]{2}, .* GMT\r$", "Date: *\r", read_all(c).decode("latin-1"))
                    self.assertEqual((head[:60], got), (head[:60], want))
        self.assertEqual(s.stats()["http_requests_bad"], 3 * len(rows))
        print(f"# {len(rows)} heads, each in three ways")
