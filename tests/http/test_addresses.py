# SPDX-License-Identifier: Apache-2.0
"""Where the listener can be: every form of an address."""
import os
import socket
import stat
import subprocess
import sys
import tempfile
import unittest

from serving import Base, read_all


class Addresses(Base):
    def test_loopback(self):
        s = self.serve(":0")
        self.assertFalse(s.exposed)
        self.assertEqual(s.addresses[0], f"http://127.0.0.1:{s.port}/debug/pprof/")
        self.assertEqual(s.ask("/").body, b"ok\n")
        with open(f"/proc/{s.process.pid}/net/tcp", encoding="ascii") as f:
            rows = [line.split() for line in f if f":{s.port:04X} " in line and " 0A " in line]
        self.assertEqual([r[1] for r in rows], [f"0100007F:{s.port:04X}"])
        if len(s.addresses) == 2:
            self.assertEqual(s.addresses[1], f"http://[::1]:{s.port}/debug/pprof/")
            with socket.create_connection(("::1", s.port)) as c:
                c.sendall(b"GET /flags HTTP/1.0\r\n\r\n")
                self.assertIn(b"\r\n\r\nlocal\n", read_all(c))

    def test_all(self):
        for text in ("*:0", "[::]:0"):
            s = self.serve(text)
            self.assertTrue(s.exposed)
            self.assertEqual(s.ask("/").body, b"ok\n")
            if "[::]" in s.addresses[0]:
                with socket.create_connection(("::1", s.port)) as c:
                    c.sendall(b"GET / HTTP/1.1\r\nHost: [::1]\r\n\r\n")
                    self.assertIn(b"\r\n\r\nok\n", read_all(c))

    def test_in_use(self):
        first = self.serve()
        second = self.serve(f"127.0.0.1:{first.port}")
        self.assertEqual(second.code, 1)
        self.assertIn("in use", second.error)
        third = self.serve(f"127.0.0.1:{first.port}-{first.port + 50}")
        self.assertGreater(third.port, first.port)
        self.assertEqual(third.ask("/").body, b"ok\n")
        both = self.serve(f":{first.port}")
        self.assertIn("in use", both.error)

    def test_restart(self):
        """A port whose last connections are in TIME_WAIT can be bound again at once."""
        s = self.serve()
        s.ask("/")
        s.close()
        self.assertEqual(self.serve(f"127.0.0.1:{s.port}").ask("/").body, b"ok\n")

    def test_elsewhere(self):
        s = self.serve("192.0.2.1:0")
        self.assertIn("no such address", s.error)
        s = self.serve("off")
        self.assertEqual(s.addresses, ["off"])

    def test_unix(self):
        with tempfile.TemporaryDirectory() as d:
            s = self.serve(f"unix:{d}/x.%p")
            self.assertEqual(s.path, f"{d}/x.{s.process.pid}")
            self.assertEqual(s.addresses, [f"unix:{s.path}"])
            self.assertEqual(stat.S_IMODE(os.stat(s.path).st_mode), 0o600)
            self.assertEqual(s.ask("/flags", headers="Host: whatever.com\r\n").body, b"local\n")
            self.assertIn("in use", self.serve(f"unix:{s.path}").error)
            s.close()
            self.assertTrue(os.path.exists(s.path))  # killed: the file is left, and stale
            again = self.serve(f"unix:{s.path}")
            self.assertEqual(again.ask("/").body, b"ok\n")
            again.close()
            os.unlink(s.path)
            for make in (lambda p: open(p, "w").close(), os.mkdir):
                make(s.path)
                self.assertIn("in use", self.serve(f"unix:{s.path}").error)
                self.assertTrue(os.path.exists(s.path))
                os.unlink(s.path) if os.path.isfile(s.path) else os.rmdir(s.path)
            self.assertIn("directory", self.serve(f"unix:{d}/no/x").error)

    def test_abstract(self):
        s = self.serve("unix:@pprof-test-%p")
        self.assertEqual(s.path, f"@pprof-test-{s.process.pid}")
        self.assertEqual(s.ask("/").body, b"ok\n")

    @unittest.skipIf(os.geteuid() != 0, "needs root to be somebody else")
    def test_peers(self):
        """Another user gets no byte, whatever the mode of the file; root and the owner do."""
        with tempfile.TemporaryDirectory() as d:
            os.chmod(d, 0o777)
            for address in (f"unix:{d}/sock", f"unix:@pprof-peer-{os.getpid()}"):
                s = self.serve(address, uid=65534)
                self.assertEqual(s.ask("/").body, b"ok\n")
                if s.path[0] == "/":
                    os.chmod(s.path, 0o666)
                for uid, want in ((65534, b"ok\n"), (65533, b"")):
                    code = ("import socket,os,sys;os.setgid(%d);os.setuid(%d);"
                            "s=socket.socket(socket.AF_UNIX);s.connect(%r)\n"
                            "try:\n s.sendall(b'GET / HTTP/1.0\\r\\n\\r\\n');"
                            "sys.stdout.write((s.recv(9999) + s.recv(9999)).decode()[-3:])\n"
                            "except OSError: pass" %
                            (uid, uid, "\0" + s.path[1:] if s.path[0] == "@" else s.path))
                    got = subprocess.run([sys.executable, "-c", code], stdout=subprocess.PIPE,
                                         check=True).stdout
                    self.assertEqual((uid, got), (uid, want))
                self.assertEqual(s.stats()["http_peers_refused"], 1)
                s.close()
