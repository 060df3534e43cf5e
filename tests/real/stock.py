# SPDX-License-Identifier: Apache-2.0
"""Stock programs of the distribution at work under the agent: each function starts one, with its load,
and returns the App. All work until the test ends."""
import contextlib
import os
import pathlib
import random
import socket
import subprocess
import sys

import lib
from lib import App, needs, program, until

QUIET = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}


def written(name, text):
    path = lib.scratch() / name
    path.write_text(text)
    return path


def client(code, *args):
    return lib.background([sys.executable, "-c", code, *args])


def connects(port):
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 5):
        return True
    return False


GET_FOR_EVER = """
import http.client, sys
c = http.client.HTTPConnection("127.0.0.1", int(sys.argv[1]))
while True:
    c.request("GET", sys.argv[2], headers={"Accept-Encoding": "gzip"})
    c.getresponse().read()
"""


def nginx(**settings):
    """One process; large pages that it compresses, and small ones."""
    binary = needs("nginx")
    directory, port = lib.scratch(), lib.free_port()
    directory.chmod(0o755)
    chance = random.Random(1)
    (directory / "big.txt").write_text("".join(chance.choice("etaoin shrdlu\n") for _ in range(300000)))
    (directory / "small.txt").write_text("small\n")
    (directory / "nginx.conf").write_text(f"""
daemon off; master_process off;
pid {directory}/pid;
error_log {directory}/error.log;
events {{ worker_connections 64; }}
http {{
    access_log off; keepalive_requests 100000000;
    client_body_temp_path {directory}/a; proxy_temp_path {directory}/b; fastcgi_temp_path {directory}/c;
    uwsgi_temp_path {directory}/d; scgi_temp_path {directory}/e;
    gzip on; gzip_types *; gzip_comp_level 6;
    server {{ listen 127.0.0.1:{port}; root {directory}; }}
}}
""")
    app = App(binary, "-p", directory, "-c", directory / "nginx.conf", **QUIET, **settings)
    until(lambda: connects(port), "nginx answers")
    client(GET_FOR_EVER, str(port), "/big.txt")
    client(GET_FOR_EVER, str(port), "/small.txt")
    return app


MEMCACHED_LOAD = """
import socket, sys
s = socket.create_connection(("127.0.0.1", int(sys.argv[1])))
for i in range(100):
    s.sendall(b"set k%d 0 0 100\\r\\n" % i + b"x" * 100 + b"\\r\\n")
gets = b"".join(b"get k%d\\r\\nset k%d 0 0 3 noreply\\r\\nabc\\r\\n" % (i % 100, i * 7 % 100) for i in range(500))
ends, f = 0, s.makefile("rb", 1 << 16)
while True:
    s.sendall(gets)
    ends += 500
    while ends > 0:
        ends -= f.readline() == b"END\\r\\n"
"""


def memcached(**settings):
    binary = needs("memcached")
    port = lib.free_port()
    app = App(binary, "-l", "127.0.0.1", "-p", port, "-U", "0", "-t", "2", *(["-u", "nobody"] if os.getuid() == 0 else []), **QUIET, **settings)
    until(lambda: connects(port), "memcached answers")
    for _ in range(2):
        client(MEMCACHED_LOAD, str(port))
    return app


NODE_WORK = """
function leaf(n) { let x = 1; for (let i = 0; i < n; i++) x = (x * 31 + i) % 65521; return x; }
function fib(n) { return n < 2 ? n : fib(n - 1) + fib(n - 2); }
class Shape { constructor(w) { this.w = w; } area() { return this.w * leaf(50); } }
class Square extends Shape { area() { return super.area() + this.w; } }
const words = "the quick brown fox jumps over the lazy dog".split(" ");
function sorting() { return words.concat(words, words, words).sort((a, b) => a < b ? -1 : a > b ? 1 : 0).join(" "); }
function matching(t) { return t.replace(/([a-z]+) ([a-z]+)/g, (m, a, b) => b + a).match(/[aeiou]{2,}/g); }
function json(o) { return JSON.parse(JSON.stringify(o)); }
function throwing(n) { try { if (n % 3 == 0) throw new Error("x" + n); return n; } catch (e) { return e.message.length; } }
function* counting(n) { for (let i = 0; i < n; i++) yield i; }
async function waiting(n) { let s = 0; for (const p of counting(n)) s += await Promise.resolve(p); return s; }
function maps(n) { const m = new Map(); for (let i = 0; i < n; i++) m.set("k" + i, { i }); let s = 0; m.forEach(v => s += v.i); return s; }
function round() {
  let s = 0;
  for (let i = 0; i < 20; i++) {
    s += leaf(2000) + fib(12) + new Square(i).area() + matching(sorting()).length + json({ a: [1, 2, { b: words }] }).a.length
      + throwing(i) + maps(50) + Buffer.from(words[i % 9]).toString("base64").length + [3, 1, 2].map(x => x * i).reduce((a, b) => a + b);
  }
  waiting(20).then(() => setImmediate(round));
  return s;
}
round();
"""


class Mapped(App):
    """A program that may write a map of its generated code: removed behind it."""

    def stop(self):
        super().stop()
        pathlib.Path(f"/tmp/perf-{self.pid}.map").unlink(missing_ok=True)


NODE_CHAIN = """
function planted_leaf(n) { let x = 1; for (let i = 0; i < n; i++) x = (x * 31 + i) % 65521; return x; }
function planted_inner(n) { return planted_leaf(n) + 1; }
const planted_middle = n => { let s = 0; for (let i = 0; i < 3; i++) s += planted_inner(n + i); return s; };
function planted_outer(n) { return [n, n + 1].map(planted_middle).length; }
function round() { for (let i = 0; i < 20; i++) planted_outer(20000 + i); setImmediate(round); }
round();
"""
CHAIN = ["planted_leaf", "planted_inner", "planted_middle", "planted_outer"]


def node(*flags, script=NODE_WORK, **settings):
    binary = needs("node")
    script = written("work.js", script)
    return Mapped(binary, *flags, script, cwd=script.parent, **QUIET, **settings)


JAVA_WORK = """
import java.util.*;
public class Work implements Runnable {
    static long hot(int n) { long x = 1; for (int i = 0; i < n; i++) x = x * 31 + i % 7; return x; }
    static long inner(int n) { return hot(n) + 1; }
    static long middle(int n) { return inner(n) + 1; }
    static long outer(int n) { return middle(n) + 1; }
    static int fib(int n) { return n < 2 ? n : fib(n - 1) + fib(n - 2); }
    static long others(int round) {
        Map<String, Integer> m = new HashMap<>();
        for (int i = 0; i < 500; i++) m.merge("k" + i % 50, i, Integer::sum);
        List<String> l = new ArrayList<>(m.keySet());
        Collections.sort(l);
        StringBuilder b = new StringBuilder();
        for (String s : l) b.append(s).append(m.get(s));
        try { if (round % 3 == 0) throw new IllegalStateException(b.toString()); } catch (IllegalStateException e) { b.append(e.getMessage().length()); }
        return b.toString().hashCode() + fib(12) + l.stream().mapToInt(String::length).sum();
    }
    public void run() { long x = 0; for (int i = 0; ; i++) { x += outer(200000); if (CHAIN_ONLY == false) for (int j = 0; j < 20; j++) x += others(i); sink = x; } }
    static boolean CHAIN_ONLY = false;
    static volatile long sink;
    public static void main(String[] args) throws Exception {
        CHAIN_ONLY = args.length > 0;
        for (int i = 0; i < 2; i++) new Thread(new Work()).start();
        System.out.println("ready");
    }
}
"""


def java(*flags, args=(), **settings):
    """Compiled before, so that it is the program and not the compiler that runs."""
    binary, compiler = needs("java", "javac")
    source = written("Work.java", JAVA_WORK)
    subprocess.run([compiler, "-d", source.parent, source], env=lib.environment(), check=True, capture_output=True, timeout=120)
    app = Mapped(binary, "-XX:+UseSerialGC", *flags, "-cp", source.parent, "Work", *args, stderr=subprocess.DEVNULL, seconds=60, **settings)
    lib.equal(app.line(), "ready")
    return app


JAVA_CHAIN = ["hot", "inner", "middle", "outer"]


def java_chain():
    """Only its own methods are compiled, at once and each by itself, with frame pointers; the map of their addresses is there."""
    jcmd = needs("jcmd")
    app = java("-Xcomp", "-XX:CompileCommand=quiet", "-XX:CompileCommand=compileonly,Work::*", "-XX:CompileCommand=dontinline,Work::*",
               "-XX:+PreserveFramePointer", args=("chain",))
    # once the methods have been called
    until(lambda: subprocess.run([jcmd, str(app.pid), "Compiler.perfmap"], env=lib.environment(), capture_output=True, timeout=60).returncode == 0 and
          all(f" Work.{name}(" in pathlib.Path(f"/tmp/perf-{app.pid}.map").read_text() for name in JAVA_CHAIN), "the map of generated code", 60, 0.5)
    return app


def openssl(*what, **settings):
    return App(needs("openssl"), "speed", "-seconds", "100", *what, **QUIET, **settings)


def big_file():
    """Some 100 MB of code and data: a real file, larger than a profile is long."""
    path = lib.scratch() / "big"
    with open(path, "wb") as out:
        while out.tell() < 100 << 20:
            for place in sorted(pathlib.Path("/usr/lib/x86_64-linux-gnu").glob("*.so*")) + [pathlib.Path(sys.executable).resolve()]:
                if place.is_file() and not place.is_symlink() and place.stat().st_size > 1 << 20:
                    out.write(place.read_bytes())
                if out.tell() >= 100 << 20:
                    break
    return path


def xz(**settings):
    with open(big_file(), "rb") as source:
        return App(needs("xz"), "-6", "-c", stdin=source, **QUIET, **settings)


def sort(**settings):
    """Numbers in the slowest of its orders, so that it has something to do for a while."""
    binary = needs("sort")
    path = lib.scratch() / "numbers"
    chance = random.Random(1)
    path.write_text("".join(f"{chance.random():.9f}e{i % 9}\n" for i in range(2000000)))
    return App(binary, "-g", "--parallel=2", "-S", "500M", "-o", path.with_suffix(".out"), path, **QUIET, **settings)


PERL_WORK = r"""
sub leaf { my ($n) = @_; my $x = 1; $x = ($x * 31 + $_) % 65521 for 1 .. $n; return $x }
sub fib { my $n = shift; return $n < 2 ? $n : fib($n - 1) + fib($n - 2) }
while (1) {
    my %h; $h{"k" . ($_ * 7 % 1000)}{$_} = leaf(5) for 1 .. 3000;
    my $t = join " ", sort { $a cmp $b } keys %h;
    $t =~ s/k(\d+)/sprintf("%x", $1)/ge; my @m = $t =~ /([a-f]+\d)/g; fib(14); eval { die { n => scalar @m } };
}
"""


def perl(**settings):
    return App(needs("perl"), "-e", PERL_WORK, **QUIET, **settings)


PHP_WORK = r"""
function leaf($n) { $x = 1; for ($i = 0; $i < $n; $i++) $x = ($x * 31 + $i) % 65521; return $x; }
function fib($n) { return $n < 2 ? $n : fib($n - 1) + fib($n - 2); }
while (true) {
    $a = []; for ($i = 0; $i < 2000; $i++) $a["k" . ($i * 7 % 500)][] = leaf(5);
    ksort($a); $t = implode(" ", array_keys($a)); $t = preg_replace_callback('/k(\d+)/', fn($m) => dechex((int) $m[1]), $t);
    fib(14); usort($a, fn($x, $y) => count($x) <=> count($y)); json_decode(json_encode($a), true); md5($t);
}
"""


def php(*flags, **settings):
    return App(needs("php"), "-n", *flags, "-r", PHP_WORK, **QUIET, **settings)


def large_source(functions):
    lines = ["#include <algorithm>", "#include <functional>", "#include <map>", "#include <regex>", "#include <string>", "#include <vector>",
             "template <int N> struct Tag { int value = N; bool operator<(const Tag &o) const { return value < o.value; } };"]
    for i in range(functions):
        lines.append(f"""int f{i}(std::vector<std::string> &v) {{
    std::map<Tag<{i}>, std::vector<std::string>> m;
    std::sort(v.begin(), v.end(), [](const std::string &a, const std::string &b) {{ return a.size() + {i} < b.size(); }});
    for (auto &s : v) m[Tag<{i}>()].push_back(s + std::to_string({i}));
    std::function<int(int)> g = [&](int n) {{ return n ? g(n - 1) + {i} : (int)m.size(); }};
    return g({i % 7});
}}""")
    return "\n".join(lines) + "\n"


def gxx(**settings):
    """The compiler itself: the one of the processes of g++ that works."""
    binary = needs("g++")
    source = written("large.cc", large_source(2000))
    return App(binary, "-O2", "-c", "-o", source.with_suffix(".o"), source, exe="cc1plus", **QUIET, **settings)


def odd_stacks(kind, **settings):
    app = App(program("odd_stacks"), kind, stdin=subprocess.PIPE, max_frames=512, **settings)
    lib.equal(app.line(), "ready")
    return app
