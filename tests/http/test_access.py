# SPDX-License-Identifier: Apache-2.0
"""Who may ask: host names, origins, tokens, peers."""
import base64
import time

from serving import Answer, Base, Stopwatch, read_all


class Access(Base):
    def test_hosts(self):
        s = self.serve(hosts="pprof.example.com, Other")
        rows = [
            ("127.0.0.1", 200), ("127.0.0.1:6060", 200), ("10.1.2.3:80", 200), ("[::1]:6060", 200),
            ("[::1]", 200), ("localhost", 200), ("LOCALHOST:1", 200), ("pprof.example.com", 200),
            ("PPROF.example.com:6060", 200), ("other:1", 200), ("evil.com", 403),
            ("localhost.evil.com", 403), ("127.0.0.1.nip.io", 403), ("localhost6", 403),
            ("localhost.", 403), ("xpprof.example.com", 403), ("pprof.example.com.", 403),
            ("127.1", 403), ("2130706433", 403), ("0177.0.0.1", 403), ("", 403), (":6060", 403),
            ("[::1", 403), ("::1", 403), ("[::1]x", 403),
        ]
        for host, status in rows:
            a = s.ask("/", headers=f"Host: {host}\r\n")
            self.assertEqual((host, a.status), (host, status))
            if status == 403:
                self.assertEqual(a.headers["x-go-pprof"], "1")
                self.assertIn(b"add it to PPROF_HOSTS", a.body)
        self.assertEqual(s.raw(b"GET / HTTP/1.0\r\n\r\n")[9:12], b"200")
        self.assertEqual(s.ask("http://evil.com/").status, 403)
        self.assertEqual(s.ask("http://127.0.0.1/", headers="Host: evil.com\r\n").status, 200)

    def test_origins(self):
        s = self.serve()
        me = f"127.0.0.1:{s.port}"
        rows = [
            (f"Origin: http://{me}", 200), (f"Origin: https://{me}", 200), ("Origin: null", 403),
            ("Origin: http://127.0.0.1", 403), ("Origin: http://evil.com", 403), ("Origin:", 403),
            (f"Origin: {me}", 403), (f"Origin: http://{me}/", 403), (f"Origin: ftp://{me}", 403),
            ("Sec-Fetch-Site: none", 200), ("Sec-Fetch-Site: same-origin", 200),
            ("Sec-Fetch-Site: same-site", 403), ("Sec-Fetch-Site: cross-site", 403),
            ("Sec-Fetch-Site: x", 403), ("Sec-Fetch-Site:", 403),
            (f"Sec-Fetch-Site: cross-site\r\nOrigin: http://{me}", 403),
        ]
        for line, status in rows:
            self.assertEqual((line, s.ask("/", headers=line + "\r\n").status), (line, status))
        self.assertEqual(s.ask("/slow?ms=5000", headers="Sec-Fetch-Site: cross-site\r\n").status, 403)
        self.assertEqual(s.stats()["jobs"], 0)

    def test_token(self):
        s = self.serve(token="geheim")

        def basic(text):
            return "Authorization: Basic " + base64.b64encode(text.encode()).decode() + "\r\n"

        good = ["Authorization: Bearer geheim\r\n", "authorization: bearer geheim\r\n",
                basic("x:geheim"), basic(":geheim"), basic("user:geheim").replace("Basic", "BASIC")]
        bad = ["", "Authorization: Bearer geheim2\r\n", "Authorization: Bearer gehei\r\n",
               "Authorization: Bearer\r\n", "Authorization: geheim\r\n", basic("geheim"),
               basic("geheim:x"), "Authorization: Basic !!!!\r\n"]
        for line in good:
            a = s.ask("/flags", headers=line + "Host: any.name\r\n")
            self.assertEqual((line, a.status, a.body), (line, 200, b"local authorized\n"))
        watch = Stopwatch(s)
        for line in bad[:4]:
            a = s.ask("/flags", headers=line)
            self.assertEqual((line, a.status), (line, 401))
            self.assertTrue(a.headers["www-authenticate"].startswith("Basic "))
            self.assertNotIn(b"geheim", a.body)
        self.assertLess(watch.seconds(), 0.5)
        for line in bad[4:]:
            self.assertEqual((line, s.ask("/flags", headers=line).status), (line, 401))
        # who guesses fast waits, while the right token is served at once
        with s.connect() as a, s.connect() as b:
            for _ in range(20):
                with s.connect() as c:
                    c.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
            time.sleep(0.1)
            a.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
            start, watch = time.monotonic(), Stopwatch(s)
            self.assertEqual(s.ask("/", headers=good[0]).status, 200)
            self.assertLess(watch.seconds(), 0.2)
            self.assertEqual(Answer(read_all(a)).status, 401)
            self.assertGreater(time.monotonic() - start, 0.7)
        # a browser sends a known password along for foreign pages
        a = s.ask("/", headers=good[2] + "Sec-Fetch-Site: cross-site\r\n")
        self.assertEqual(a.status, 403)

    def test_local(self):
        self.assertEqual(self.serve().ask("/flags").body, b"local\n")
        s = self.serve("0.0.0.0:0")
        self.assertTrue(s.exposed)
        self.assertEqual(s.ask("/flags").body, b"none\n")
        self.assertEqual(s.raw(b"GET / HTTP/1.0\r\n\r\n")[9:12], b"403")
        s = self.serve("0.0.0.0:0", token="t")
        self.assertFalse(s.exposed)
        self.assertEqual(s.ask("/flags", headers="Authorization: Bearer t\r\n").body, b"authorized\n")
