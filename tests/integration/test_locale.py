# SPDX-License-Identifier: Apache-2.0
"""Hazard J12: a program whose locale has a decimal comma, or in which the upper case of i is no I, and that changes its
locale all the time. What the agent prints and reads is what it is in the locale C, to the byte but for the digits."""
import concurrent.futures
import re
import socket
import subprocess
import time

import lib
from lib import App, equal, limit, needs, note, parallel, program, until

TEXTS = ("", "agent", "agent?format=prometheus", "heap?debug=1", "allocs?debug=1", "mutex?debug=1", "block?debug=1", "goroutine?debug=1",
         "goroutine?debug=2", "threadcreate?debug=1", "cmdline", "symbol", "nosuch", "heap?seconds=x", "profile?seconds=99999")


def shapes(text):
    """Its lines, without what no two processes share: every run of hexadecimal or decimal digits is one N."""
    text = re.sub(r"0x[0-9a-f]+", "N", text)
    text = re.sub(r"\b[0-9a-f]{16,}\b", "N", text)
    # a longer number has fewer spaces before it
    return set(re.sub(r" +", " ", re.sub(r"\d+", "N", text)).splitlines())


def raw(app, text):
    with socket.create_connection(app.where, timeout=30) as client:
        client.sendall(text.encode("latin-1"))
        data = b""
        while piece := client.recv(1 << 16):
            data += piece
    return data.decode("latin-1")


def look(names, path):
    """({text: (status, headers, shapes)}, what the program itself prints) in a program that switches between these locales."""
    seen = {}
    with App(program("locales"), *names, env={"LOCPATH": str(path)}, stdin=subprocess.PIPE, memprofilerate=1, mutexprofilefraction=1,
             blockprofilerate=1) as app:
        said = [app.line()]
        equal(app.line(), "ready")
        app.profile("heap")  # names are read
        for name in TEXTS:
            answer = app.get(name)
            headers = {k: re.sub(r"\d+", "N", v) for k, v in answer.headers.items() if k != "Date"}
            equal(bool(re.fullmatch(r"(Mon|Tue|Wed|Thu|Fri|Sat|Sun), \d\d (Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec) \d{4} \d\d:\d\d:\d\d GMT",
                                    answer.header("Date"))), True, answer.header("Date"))
            seen[name] = (answer.status, headers, shapes(answer.text.replace(str(app.directory), "").replace(str(path), "")))
        # what is read: letters of either case, numbers with a point
        prefix = "GET /debug/pprof/symbol HTTP/1.1\r\n"
        for head, status in (("HOST: LOCALHOST:1\r\n", 200), ("Host: localhost\r\nORIGIN: http://evil.example\r\n", 403),
                             ("HOST: EVIL.EXAMPLE\r\n", 403), ("Host: localhost\r\nSEC-FETCH-SITE: cross-site\r\n", 403),
                             ("Host: localhost\r\nCONTENT-LENGTH: 5\r\nContent-Length: 6\r\n", 400)):
            equal(raw(app, prefix + head + "\r\n").split(" ")[1], str(status), head)
        upload = "POST /debug/pprof/symbol HTTP/1.1\r\nHost: localhost\r\nEXPECT: 100-CONTINUE\r\nCONTENT-LENGTH: 3\r\n\r\n"
        with socket.create_connection(app.where, timeout=30) as client:
            client.sendall(upload.encode())
            equal(client.recv(100), b"HTTP/1.1 100 Continue\r\n\r\n", "Expect in capitals")
        begin = time.monotonic()
        equal(app.get("trace?seconds=0.25").status, 200, "trace")
        took = time.monotonic() - begin
        assert 0.25 <= took, f"seconds=0.25 took {took} s"
        # that a thread could not be sampled is said once it used a processor in that second
        profile = until(lambda: (p := app.profile(seconds=1)).comments and p, "comments of a profile", 60)
        seen["comments"] = (200, {}, shapes("\n".join(c for c in profile.comments if "." in c)))
        app.say("")
        said.append(app.line())
        app.process.stdin.close()
        app.process.stdin = None
        equal(app.finish()[0], 0, "end")
    return seen, said


@parallel
@limit(120)
def test_locale_changes_nothing():
    localedef = needs("localedef")
    path = lib.scratch()
    for name, charset in (("de_DE", "ISO-8859-1"), ("tr_TR", "UTF-8")):
        # its warnings are about its own sources
        subprocess.run([localedef, "-c", "-i", name, "-f", charset, path / f"{name}.{charset}"], env=lib.environment(), capture_output=True, timeout=60)
        if not (path / f"{name}.{charset}/LC_NUMERIC").exists():
            lib.skip("localedef has no sources here (Debian's package locales)")
    with concurrent.futures.ThreadPoolExecutor() as pool:
        plain, other = (pool.submit(look, names, path) for names in (["C", "POSIX", "C"], ["C", "de_DE.ISO-8859-1", "tr_TR.UTF-8"]))
        want, said = plain.result()
        equal(said, ["1.5 I"] * 2, "the program in its plain locale")
        got, said = other.result()
        # Turkish: the capital of i has a dot, and does not fit into a byte
        equal(said, ["1,5 ?"] * 2, "the program in Turkish")
    lines = 0
    for name, (status, headers, shape) in want.items():
        equal(got[name][:2], (status, headers), f"status and headers of {name!r}")
        # the arguments differ, and the locale's own code and files may be on stacks and lists
        more = sorted(line for line in got[name][2] - shape if re.search(r"N,N", line) and not re.search(r"N,N", "".join(shape)))
        equal(more, [], f"lines of {name!r} with another decimal point")
        lines += len(shape & got[name][2])
    for name in ("agent", "agent?format=prometheus", "symbol", "nosuch", "heap?seconds=x", "profile?seconds=99999"):
        # whether its helper still runs is a matter of time
        ours, theirs = ({line for line in seen[name][2] if not line.startswith("symbolizer=")} for seen in (got, want))
        equal(sorted(ours ^ theirs), [], f"lines of {name!r}")
    points = sum(bool(re.search(r"N\.N", line)) for seen in got.values() for line in seen[2])
    note(f"{lines} lines of the same shape, {points} with a decimal point")
    assert lines > 150 and points > 5, (lines, points)
