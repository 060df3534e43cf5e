#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The same requests to a Go program with net/http/pprof and to an agent: same answers?

go_parity.py GO_URL AGENT_URL [--markdown]   prints the table; exit status 1 when a row differs that
                                             does not say why it may.

Each row of ROWS is one request. What is compared: status, Content-Type, Content-Disposition,
X-Content-Type-Options, X-Go-Pprof, Allow, Location, and the body: the text itself for texts, the kind
(gzip, HTML, …) for the rest. A row may name fields in `differs`, with the agent's value and the
reason; then the agent's value must be that one, and Go's must be another: a difference that is gone
fails too. `old` holds the same for Go before 1.22, whose patterns had no methods.
"""
import concurrent.futures
import re
import socket
import sys
import urllib.parse

P = "/debug/pprof/"
FIELDS = ("Content-Type", "Content-Disposition", "X-Content-Type-Options", "X-Go-Pprof", "Allow", "Location")
TEXT, BINARY = "text/plain; charset=utf-8", "application/octet-stream"


class Row:
    def __init__(self, target, method="GET", headers="", body="", version="1.1", host=None, body_is="kind",
                 differs=None, old=None, raw=None):
        self.target, self.method, self.headers, self.body = target, method, headers, body
        self.version, self.host, self.body_is, self.raw = version, host, body_is, raw
        self.differs, self.old = differs or {}, old or {}

    @property
    def title(self):
        if self.raw:
            text = self.raw.encode("unicode_escape").decode().replace("\\r\\n", "⏎")
            return text if len(text) <= 90 else text[:87] + "…"
        words = [self.method, self.target] if self.method != "GET" else [self.target]
        if self.version != "1.1":
            words.append("HTTP/" + self.version)
        if self.host is not None:
            words.append(f"Host: {self.host}")
        return " ".join(words + self.headers.strip().splitlines() + ([f"body {self.body[:30]!r}"] if self.body else []))

    def bytes(self, authority):
        host = authority if self.host is None else self.host
        if self.raw:
            return self.raw.replace("$HOST", authority).encode("latin-1")
        head = f"{self.method} {self.target.replace('$HOST', authority)} HTTP/{self.version}\r\n"
        head += f"Host: {host}\r\n" if host else ""
        head += self.headers + (f"Content-Length: {len(self.body)}\r\n" if self.body else "")
        return (head + "Connection: close\r\n\r\n" + self.body).encode("latin-1")


class Got:
    """One answer, read to its end."""

    def __init__(self, data, method):
        head, _, body = data.partition(b"\r\n\r\n")
        if head.startswith(b"HTTP/1.1 100"):
            head, _, body = body.partition(b"\r\n\r\n")
        lines = head.decode("latin-1").split("\r\n")
        found = re.match(r"HTTP/1\.[01] (\d+)", lines[0])
        self.status = int(found[1]) if found else 0
        self.headers = dict(line.split(": ", 1) for line in lines[1:] if ": " in line)
        if self.headers.get("Transfer-Encoding") == "chunked" and method != "HEAD":
            body = unchunk(body)
        self.body = body

    def kind(self):
        b = self.body
        if b[:2] == b"\x1f\x8b":
            return "gzip"
        if b[:3] == b"go ":
            return "trace"
        if b.lstrip()[:5].lower() in (b"<html", b"<!doc"):
            return "html"
        return "text" if b else "nothing"

    def fields(self, row):
        out = {"status": self.status}
        out.update({name: self.headers.get(name) for name in FIELDS})
        if row.body_is == "text":
            out["body"] = self.body.decode("latin-1")
        elif row.body_is == "first line":
            # the number that a heading ends with is the measured one
            out["body"] = re.sub(rb"\d+( total|: \d+ \[\d+: \d+\])?( @.*)?$", b"N", self.body.split(b"\n")[0]).decode("latin-1")
        elif row.body_is == "kind":
            out["body"] = self.kind()
        return out


def unchunk(data):
    out = bytearray()
    while data:
        size, _, data = data.partition(b"\r\n")
        n = int(size.split(b";")[0], 16)
        if n == 0:
            break
        out += data[:n]
        data = data[n + 2:]
    return bytes(out)


def complete(data, method):
    """Whether this is a whole answer: a server may leave the connection open behind it."""
    head, end, body = bytes(data).partition(b"\r\n\r\n")
    if not end:
        return False
    if head.startswith(b"HTTP/1.1 100"):
        return complete(body, method)
    if method == "HEAD":
        return True
    length = re.search(rb"(?i)\r\ncontent-length: (\d+)", head)
    if length:
        return len(body) >= int(length[1])
    return b"\r\nTransfer-Encoding: chunked" in head and body.endswith(b"\r\n0\r\n\r\n")


def ask(base, row, timeout=40):
    parts = urllib.parse.urlsplit(base)
    with socket.create_connection((parts.hostname, parts.port), timeout) as s:
        s.sendall(row.bytes(parts.netloc))
        data = bytearray()
        try:
            while not complete(data, row.method) and (piece := s.recv(1 << 16)):
                data += piece
        except ConnectionResetError:
            pass
        except TimeoutError:
            raise AssertionError(f"{base}: no whole answer to {row.title}") from None
    return Got(bytes(data), row.method)


# ---------------------------------------------------------------- the table

NAMED = ("allocs", "block", "goroutine", "heap", "mutex", "threadcreate")
LENIENT = "the agent's parser is strict: where two readers of a request could disagree, it is refused (RFC 9112 section 11.2)"
TWICE = "the agent cleans the path in one answer and adds the slash in the next"
RANGE = "a number that does not fit is no number, so 0; Go takes the largest"
BARE = "the agent's refusals have a type"
SNIFF = {"X-Content-Type-Options": ("nosniff", "the agent says it on every answer")}
METHODS = "Go 1.22 and later register their patterns for GET; the agent behaves like those"
NO_METHOD = {"status": (405, METHODS), "Content-Type": (TEXT, METHODS), "Allow": ("GET, HEAD", METHODS),
             "Content-Disposition": (None, METHODS), "body": ("text", METHODS)}


def refused(raw, **more):
    """Bytes that both refuse; the texts are each one's own."""
    return Row("", raw=raw, body_is="none", differs={**SNIFF, **more})


def stricter(raw, status=400, why=LENIENT, **more):
    """Bytes that Go accepts as a request for the page that is not there."""
    return Row("", raw=raw, body_is="none", differs={"status": (status, why), **more})


def _named_rows():
    rows = []
    for name in NAMED:
        rows += [Row(P + name), Row(P + name + "?debug=0"), Row(P + name + "?debug=1"), Row(P + name + "?debug=2"),
                 Row(P + name, "HEAD"), Row(P + name + "?seconds="), Row(P + name + "?seconds=1"),
                 Row(P + name + "?seconds=0", body_is="text"), Row(P + name + "?seconds=1&debug=1", body_is="text")]
    for value in ("-1", "x", "1.5", "1e1", "0x1", "+1", "1_0", "%31x", "99999999999999999999", "9223372036854775808",
                  "-9223372036854775808", "%201", "1%00", "inf", "nan", "0&seconds=1", "x&seconds=1", "%2B0"):
        rows.append(Row(f"{P}heap?seconds={value}", body_is="text"))
    rows += [Row(f"{P}heap?{q}") for q in (
        "seconds=%2B1", "seconds=01", "%73econds=1", "seconds=1&seconds=x", "seconds=1&debug=0", "seconds=1&debug=x",
        "seconds=1;x=1", "seconds=1;", "debug=1;x", "debug=x", "debug=", "debug=%31", "%64ebug=1", "debug=1&debug=0",
        "debug=0&debug=1", "debug=+1", "debug=01", "debug=2147483648", "debug=1.5",
        "Debug=1", "debug=%zz", "debug=%zz&debug=1", "%zz=1&debug=1", "gc=1", "gc=x", "gc=1&debug=1", "unknown=1", "&&&debug=1&&",
        "=", "==", "debug==1", "debug", "seconds")]
    rows.append(Row(f"{P}heap?debug=99999999999999999999", differs={
        "Content-Type": (BINARY, RANGE), "body": ("gzip", RANGE), "Content-Disposition": ('attachment; filename="heap"', RANGE)}))
    return rows


ROWS = [
    # the mux
    Row(P, body_is="kind"),
    Row("/debug/pprof", body_is="text", differs=SNIFF),
    Row("/debug/pprof?x=1&y", body_is="text", differs=SNIFF),
    Row("/debug/pprof", "HEAD", differs=SNIFF),
    Row("//debug/pprof/", body_is="text", differs=SNIFF),
    Row("/debug//pprof/heap?debug=1", body_is="text", differs=SNIFF),
    Row("/debug/./pprof/", body_is="text", differs=SNIFF),
    Row("/debug/x/../pprof/", body_is="text", differs=SNIFF),
    Row("/../debug/pprof/", body_is="text", differs=SNIFF),
    Row("/debug/pprof//", body_is="text", differs=SNIFF),
    Row("/debug/pprof/heap/..", body_is="none", differs={"Location": ("/debug/pprof", TWICE), **SNIFF}),
    Row("//evil.example/", body_is="text", differs=SNIFF),
    Row("//debug/pprof/?\"<x>", body_is="text", differs=SNIFF),
    Row("/debug/%70prof/"),
    Row("/debug/pprof/%68eap?debug=1"),
    Row("/", body_is="text"),
    Row("/", "HEAD"),
    Row("/nosuch", body_is="text"),
    Row("/debug", body_is="text"),
    Row("/debug/", body_is="text"),
    Row("/debug/pprofx", body_is="text"),
    Row("/debug/pprof.", body_is="text"),
    Row("/favicon.ico", body_is="text"),
    # profiles
    *_named_rows(),
    Row(P + "nosuch", body_is="text"),
    Row(P + "nosuch", "HEAD"),
    Row(P + "nosuch?seconds=1", body_is="text"),
    Row(P + "nosuch?seconds=x&debug=1", body_is="text"),
    Row(P + "heap/", body_is="text"),
    Row(P + "Heap", body_is="text"),
    Row(P + "profile/", body_is="text"),
    Row(P + "%3Cscript%3E", body_is="text"),
    Row(P + "heap?seconds=0&debug=1", body_is="text"),
    Row(P + "goroutine?seconds=-1&debug=2", body_is="text"),
    Row(P + "profile?seconds=1"),
    Row(P + "profile?seconds=1&debug=1"),
    Row(P + "profile?seconds=%31"),
    Row(P + "profile?seconds=1&seconds=20"),
    Row(P + "trace?seconds=0.2"),
    Row(P + "trace?seconds=1"),
    # symbol, cmdline
    Row(P + "symbol", body_is="text"),
    Row(P + "symbol?zzz+yyy", body_is="text"),
    Row(P + "symbol?", body_is="text"),
    Row(P + "symbol?1+0x2+03", body_is="text"),
    Row(P + "symbol", "HEAD"),
    Row(P + "symbol", "POST", body="0x1+0x2", body_is="text"),
    Row(P + "symbol", "POST", body="", body_is="text", headers="Content-Length: 0\r\n"),
    Row(P + "symbol", "POST", body="zz", headers="Expect: 100-continue\r\n", body_is="text"),
    Row(P + "symbol", "POST", body="+".join(["0x1"] * 20000), body_is="text"),
    Row(P + "cmdline"),
    Row(P + "cmdline?debug=1"),
    Row(P + "cmdline", "HEAD"),
    # methods
    Row(P + "heap", "POST", headers="Content-Length: 0\r\n", old=NO_METHOD),
    Row(P + "heap", "PUT", headers="Content-Length: 0\r\n", old=NO_METHOD),
    Row(P + "heap", "DELETE", old=NO_METHOD),
    Row(P + "heap", "OPTIONS", old=NO_METHOD),
    Row(P + "heap", "PATCH", old=NO_METHOD),
    Row(P + "heap", "get", old=NO_METHOD),
    Row(P, "POST", headers="Content-Length: 0\r\n", old=NO_METHOD),
    Row(P + "nosuch", "POST", headers="Content-Length: 0\r\n", body_is="text",
        old={"status": (405, METHODS), "Allow": ("GET, HEAD", METHODS), "X-Go-Pprof": (None, METHODS),
             "body": ("Method Not Allowed\n", METHODS)}),
    # versions, forms
    Row(P, version="1.0"),
    Row(P + "heap", version="1.0", host=""),
    Row("http://$HOST" + P + "symbol", body_is="text"),
    Row("/nosuch", host="localhost", body_is="text"),
    Row("/nosuch", host="127.0.0.1", body_is="text"),
    Row("/nosuch", host="[::1]:6060", body_is="text"),
    # who may ask
    Row("/nosuch", host="evil.example", body_is="none",
        differs={"status": (403, "DNS rebinding"), "X-Go-Pprof": ("1", "so that the go tool shows why")}),
    Row("http://evil.example/nosuch", body_is="none",
        differs={"status": (403, "DNS rebinding"), "X-Go-Pprof": ("1", "so that the go tool shows why")}),
    Row("/nosuch", headers="Origin: http://evil.example\r\n", body_is="none",
        differs={"status": (403, "pages of other origins"), "X-Go-Pprof": ("1", "so that the go tool shows why")}),
    Row("/nosuch", headers="Sec-Fetch-Site: cross-site\r\n", body_is="none",
        differs={"status": (403, "pages of other origins"), "X-Go-Pprof": ("1", "so that the go tool shows why")}),
    # what is no request
    refused("X\r\n\r\n"),
    refused("GET /nosuch\r\n\r\n"),
    refused("GET /nosuch HTTP/1.1\r\n\r\n"),
    refused("GET nosuch HTTP/1.1\r\nHost: $HOST\r\n\r\n"),
    refused("GET /% HTTP/1.1\r\nHost: $HOST\r\n\r\n"),
    refused("GET /%zz HTTP/1.1\r\nHost: $HOST\r\n\r\n"),
    refused("GET /nosuch HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n"),
    refused("GET /nosuch HTTP/1.1\r\nHost: a b\r\n\r\n"),
    refused("GET /nosuch HTTP/1.1\r\nHost : $HOST\r\n\r\n"),
    refused("GET /nosuch HTTP/1.1\r\nHost: $HOST\r\nX Y: a\r\n\r\n"),
    refused("GET /nosuch HTTP/1.1\r\nHost: $HOST\r\nX: \x01\r\n\r\n"),
    refused("GET /nosuch HTTP/1.1\r\nHost: $HOST\r\nno colon\r\n\r\n"),
    refused("GET /nosuch HTTP/1.1\r\nHost: $HOST\r\nContent-Length: x\r\n\r\n"),
    refused("GET /nosuch HTTP/1.1\r\nHost: $HOST\r\nContent-Length: -1\r\n\r\n"),
    refused("GET /nosuch HTTP/1.1\r\nHost: $HOST\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n"),
    refused("GET /nosuch HTTP/1.1\r\nHost: $HOST\r\nTransfer-Encoding: gzip\r\n\r\n"),
    refused("GET /nosuch HTTP/2.0\r\nHost: $HOST\r\n\r\n"),
    refused("GET /nosuch HTTP/1.1\r\nHost: $HOST\r\nExpect: x\r\n\r\n", **{"Content-Type": (TEXT, BARE)}),
    refused("GET /nosuch HTTP/1.x\r\nHost: $HOST\r\n\r\n"),
    refused("GET /nosuch http/1.1\r\nHost: $HOST\r\n\r\n"),
    refused("G(T /nosuch HTTP/1.1\r\nHost: $HOST\r\n\r\n"),
    refused("GET * HTTP/1.1\r\nHost: $HOST\r\n\r\n", **{"Content-Type": (TEXT, BARE)}),
    # what Go lets pass
    stricter("GET /nosuch HTTP/1.1\nHost: $HOST\n\n"),
    stricter("GET /nosuch HTTP/1.1\r\nHost: $HOST\r\nX: a\r\n folded\r\n\r\n"),
    stricter("GET /nosuch#x HTTP/1.1\r\nHost: $HOST\r\n\r\n"),
    stricter("GET /nosuch\xc3\xa9 HTTP/1.1\r\nHost: $HOST\r\n\r\n"),
    stricter("GET /nosuch%00 HTTP/1.1\r\nHost: $HOST\r\n\r\n"),
    stricter("GET /nosuch%2f HTTP/1.1\r\nHost: $HOST\r\n\r\n"),
    stricter("GET http://u:p@$HOST/nosuch HTTP/1.1\r\nHost: $HOST\r\n\r\n"),
    stricter("GET https://$HOST/nosuch HTTP/1.1\r\nHost: $HOST\r\n\r\n"),
    stricter("GET /nosuch HTTP/1.1\r\nHost: $HOST\r\nContent-Length: 0\r\nContent-Length: 0\r\n\r\n"),
    stricter("GET /nosuch HTTP/1.1\r\nHost: $HOST\r\nContent-Length: 1\r\n\r\nx", 413, "only POST on symbol has a body"),
    stricter("POST /nosuch HTTP/1.1\r\nHost: $HOST\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 501,
             "bodies have a Content-Length"),
    stricter("OPTIONS * HTTP/1.1\r\nHost: $HOST\r\n\r\n", 405, "OPTIONS is no method here",
             **{"Content-Type": (TEXT, "as above"), "Allow": ("GET, HEAD", "as above"), **SNIFF}),
    stricter("GET /" + "a" * 600 + " HTTP/1.1\r\nHost: $HOST\r\n\r\n", 414, "a path has at most 512 bytes"),
    stricter("GET /nosuch?" + "a" * 5000 + " HTTP/1.1\r\nHost: $HOST\r\n\r\n", 414, "a target has at most 4096 bytes"),
    stricter("GET /nosuch HTTP/1.1\r\nHost: $HOST\r\nX: " + "a" * 9000 + "\r\n\r\n", 431, "a head has at most 8192 bytes"),
    stricter("GET /nosuch HTTP/1.1\r\nHost: $HOST\r\n" + "X: a\r\n" * 64 + "\r\n", 431, "a head has at most 64 lines"),
]


# ---------------------------------------------------------------- the comparison

class Result:
    def __init__(self, row):
        self.row = row
        self.problems = []  # fields that differ and should not, or the other way round
        self.reasons = {}   # field: why it differs
        self.waiting = False


def compare(row, go, agent, old_go):
    result = Result(row)
    a, b = go.fields(row), agent.fields(row)
    if b["status"] == 501 and agent.headers.get("X-Go-Pprof"):
        result.waiting = True  # an endpoint of a later step says so itself
        return result
    allowed = {**row.differs, **(row.old if old_go else {})}
    for field, value in a.items():
        if field in allowed:
            want, reason = allowed[field]
            if b[field] != want:
                result.problems.append(f"{field}: agent {b[field]!r}, to be {want!r}")
            elif value != want:
                result.reasons[field] = reason
        elif b[field] != value:
            result.problems.append(f"{field}: Go {value!r}, agent {b[field]!r}")
    if row.differs and not result.reasons and not result.problems:
        gone = [f for f in row.differs if f != "X-Content-Type-Options"]
        if gone:
            result.problems.append(f"no difference any more: {', '.join(gone)}")
    return result


def go_version(base):
    """(1, 19) of tests/go/server.go; a version without that page counts as new."""
    got = ask(base, Row("/version"))
    found = re.match(rb"go(\d+)\.(\d+)", got.body) if got.status == 200 else None
    return (int(found[1]), int(found[2])) if found else (99, 0)


def compare_all(go_base, agent_base, rows=None):
    rows = ROWS if rows is None else rows
    old = go_version(go_base) < (1, 22)

    def one(row):
        return compare(row, ask(go_base, row), ask(agent_base, row), old)

    # Go refuses a second CPU profile or trace; those rows go one after the other
    alone = [r for r in rows if re.search("profile|trace", r.target)]
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        results = dict(zip([r for r in rows if r not in alone], pool.map(one, [r for r in rows if r not in alone])))
    for row in alone:
        results[row] = one(row)
    return [results[row] for row in rows]


def summary(results):
    differing = [r for r in results if r.reasons and set(r.reasons) != {"X-Content-Type-Options"}]
    return (f"{len(results)} rows: {sum(not r.problems and not r.waiting for r in results)} as they should be, "
            f"{len(differing)} of them differ on purpose, {sum(r.waiting for r in results)} wait for their endpoint, "
            f"{sum(bool(r.problems) for r in results)} wrong")


def main():
    go_base, agent_base = sys.argv[1:3]
    results = compare_all(go_base, agent_base)
    if "--markdown" in sys.argv:
        print("| request | differs in | why |\n|---|---|---|")
        for r in results:
            for reason in dict.fromkeys(r.reasons.values()):
                fields = ", ".join(f for f in r.reasons if r.reasons[f] == reason)
                if fields != "X-Content-Type-Options":
                    print(f"| `{r.row.title}` | {fields} | {reason} |")
    for r in results:
        for problem in r.problems:
            print(f"{r.row.title}: {problem}")
    print(summary(results))
    return any(r.problems for r in results)


if __name__ == "__main__":
    sys.exit(main())
