# SPDX-License-Identifier: Apache-2.0
"""Unmodified programs of the distribution, each run alone, under an idle agent, and in a storm: CPU profile
at 1000 Hz without a pause, a heap sample every 4 KiB, every wait recorded, a client that reads all
endpoints in a loop. The same output and the same end each time. Long: each runs again and again until it has
used three seconds of CPU time in the storm."""
import concurrent.futures
import os
import shutil
import subprocess

import lib
from lib import environment, limit, long, needs, note, parallel, scratch
from storm import ENDPOINTS, STORM, Storm

SECONDS = 3  # of CPU time in the storm

TEXT = "seq 1 SIZE | sed 's/$/ the quick brown fox/'"
PYTHON = """
import hashlib, json, re, subprocess, sys, threading
def work(n):
    x = {}
    for i in range(n):
        x[str(i % 1000)] = hashlib.sha256(str(i).encode()).hexdigest()
    return hashlib.md5(json.dumps(x, sort_keys=True).encode()).hexdigest()
out = []
threads = [threading.Thread(target=lambda: out.append(work(SIZE))) for _ in range(4)]
[t.start() for t in threads]; [t.join() for t in threads]
print(set(out), subprocess.run(['/bin/echo', 'child'], capture_output=True).stdout, len(re.findall('[a-f]+', out[0])))
"""
PERL = "my %h; for my $i (1..SIZE) { $h{$i % 997} .= chr(65 + $i % 26); $h{$i % 997} =~ s/AB/x/g } print join(',', map { length $h{$_} } sort keys %h), \"\\n\"; print `echo child`;"
SQL = """create table t(a integer primary key, b text);
with recursive n(i) as (select 1 union all select i + 1 from n where i < SIZE) insert into t select i, hex(i * 7919) from n;
create index x on t(b); select count(*), sum(a), min(b), max(b) from t where b like '%3%';
select b, count(*) from t group by substr(b, 1, 2) order by 1 limit 5;"""
NODE = "const m = new Map(); for (let i = 0; i < SIZE; i++) { const k = 'k' + i % 1000; m.set(k, (m.get(k) || '') + String.fromCharCode(65 + i % 26)); if (m.get(k).length > 50) m.set(k, '') } console.log([...m.values()].join('').length, require('crypto').createHash('sha1').update([...m.values()].join('')).digest('hex'));"
PHP = "$a = []; for ($i = 0; $i < SIZE; $i++) { $a[$i % 997] = md5(($a[$i % 997] ?? '') . $i); } echo md5(implode(',', $a)), \"\\n\";"
TCL = "set s 0\nfor {set i 0} {$i < SIZE} {incr i} { set s [expr {($s * 31 + $i) % 65521}]; lappend l $s }\nputs $s; puts [llength [lsort -unique $l]]"
CPP = "#include <map>\n#include <regex>\n#include <string>\n#include <vector>\n" + "".join(
    f"template <int N> struct S{i} {{ std::map<std::string, std::vector<int>> m; int f() {{ m[\"x\"].push_back(N); return S{i}<N - 1>().f() + N; }} }};\n"
    f"template <> struct S{i}<0> {{ int f() {{ return 0; }} }};\n" for i in range(3)) + "int main() { return S0<40>().f() + S1<40>().f() + S2<40>().f() > 0; }\n"
JAVA = """public class Work { static int fib(int n) { return n < 2 ? n : fib(n - 1) + fib(n - 2); }
public static void main(String[] a) throws Exception { java.util.TreeMap<String, Integer> m = new java.util.TreeMap<>();
Thread[] t = new Thread[4]; for (int k = 0; k < 4; k++) { t[k] = new Thread(() -> { for (int i = 0; i < COUNT; i++) { synchronized (m) { m.merge("k" + i % 1000, 1, Integer::sum); } } }); t[k].start(); }
for (Thread x : t) x.join(); System.out.println(m.size() + " " + m.get("k7") + " " + fib(27)); } }"""
PERLISH = "BEGIN { for (i = 0; i < SIZE; i++) { a[i % 1000] = a[i % 1000] i; if (length(a[i % 1000]) > 100) a[i % 1000] = \"\" } for (k in a) n += length(a[k]); print n }"

# name, shell command with SIZE where the size goes, the size of a short run, of a long one, packages' word
SHELL = [
    ("bash", "bash -c 'i=0; while [ $i -lt SIZE ]; do x=${x:0:50}$i; i=$((i+1)); (exit 3); done; echo $x $?'", 50, 4000),
    ("dash", "dash -c 'i=0; while [ $i -lt SIZE ]; do i=$((i+1)); x=$(echo $i); done; echo $x'", 50, 4000),
    ("mawk", "mawk '" + PERLISH + "'", 20000, 9000000),
    ("sed", TEXT + " | sed -E 's/([a-z]+) ([a-z]+)/\\2 \\1/g' | md5sum", 2000, 700000),
    ("grep", TEXT + " | grep -cE '(1|2)+3.*(fox|bear)$'", 5000, 4000000),
    ("sort", TEXT + " | sort -S 20M --parallel=4 -k2,3 -k1,1rn | md5sum", 5000, 600000),
    ("xargs, seq, tr, factor", "seq 1 SIZE | xargs -n 50 -P 4 factor | sort -n | tr : ' ' | md5sum", 500, 8000),
    ("find", "for i in $(seq SIZE); do find /usr/share/doc -name '*a*' | sort | head -500 | md5sum; done | uniq", 1, 12),
    ("tar, gzip", TEXT + " > t; tar -cf - --mtime=@0 --sort=name t | gzip -n | gunzip | md5sum", 5000, 3000000),
    ("bzip2", TEXT + " | bzip2 | bunzip2 | md5sum", 2000, 500000),
    ("xz", TEXT + " | xz -T4 --block-size=1MiB | xz -dc | md5sum", 2000, 300000),
    ("zstd", TEXT + " | zstd -q -12 -T2 | zstd -dc | md5sum", 5000, 1500000),
    ("openssl", "head -c SIZE0M /dev/zero | openssl dgst -sha512 -r; for i in $(seq SIZE); do echo $i | openssl dgst -sha512 -r; openssl prime -generate -bits 64 > p; done | md5sum", 3, 300),
    ("perl", "perl -e '" + PERL.replace("'", "'\\''") + "'", 20000, 3000000),
    ("python3", "/usr/bin/python3 -c \"" + PYTHON + "\"", 2000, 300000),
    ("tclsh", "printf '%s' '" + TCL + "' > t.tcl; tclsh t.tcl", 10000, 2000000),
    ("sqlite3", "sqlite3 :memory: \"" + SQL.replace('"', '\\"') + "\"", 5000, 900000),
    ("git", "git init -q r; cd r; for i in $(seq SIZE); do echo $i >> f; git add f; GIT_AUTHOR_DATE='1 +0' GIT_COMMITTER_DATE='1 +0' git -c user.name=a -c user.email=a@b -c gc.auto=0 commit -qm $i; done; git log --format=%H -1; git gc -q 2>/dev/null; git fsck; git log --stat | md5sum", 3, 80),
    ("make", "printf 'all:' > m; for i in $(seq SIZE); do printf ' t%d' $i >> m; done; printf '\\nt%%:\\n\\t@echo $@\\n' >> m; make -s -f m | md5sum", 20, 1200),
    ("gcc, cpp, as, ld", "for i in $(seq SIZE); do printf 'int f%d(int x){ return x*%d; } int main(){ return f%d(2)-2*%d; }' $i $i $i $i > a.c; gcc -O2 -o a.out a.c && ./a.out; echo $?; done | uniq -c", 1, 25),
    ("g++", "cp $SOURCES/w.cc .; for i in $(seq SIZE); do g++ -O1 -c w.cc -o w.o && nm -C w.o | md5sum; done | uniq", 1, 2),
    ("clang", "cp $SOURCES/w.cc .; for i in $(seq SIZE); do clang++ -O1 -c w.cc -o w.o && nm -C w.o | md5sum; done | uniq", 1, 2),
    ("rustc", "printf 'fn main() { let v: Vec<u64> = (0..SIZE).collect(); println!(\"{}\", v.iter().sum::<u64>()); }' > r.rs; rustc -O -o r r.rs && ./r", 10, 11),
    ("node", "node -e \"" + NODE.replace('"', '\\"') + "\"", 50000, 24000000),
    ("java", "sed s/COUNT/SIZE/ $SOURCES/Work.java > Work.java; javac Work.java && java -Xmx256m Work", 1000, 1500000),
    ("php", "php -r '" + PHP.replace("'", "'\\''") + "'", 20000, 4000000),
    ("vim", "seq 1 SIZE > v; vim -es -u NONE -N -c '%%s/\\(\\d\\)\\(\\d\\)/\\2\\1/ge' -c 'sort n' -c 'wq! w' v; md5sum < w", 1000, 300000),
    ("tmux", "for i in $(seq SIZE); do tmux -S $PWD/s$i -f /dev/null new-session -d 'sleep 1000' \\; wait-for -S x; tmux -S $PWD/s$i list-sessions -F '#{session_windows}'; tmux -S $PWD/s$i kill-server; done | uniq", 1, 40),
    ("gdb", "for i in $(seq SIZE); do gdb -q -batch -nx -ex 'break main' -ex run -ex 'p 6*7' -ex 'info sharedlibrary' -ex kill /bin/true 2>/dev/null | grep -c -e '= 42$'; done | uniq", 1, 4),
    ("strace", "for i in $(seq SIZE); do strace -f -e trace=execve sh -c '/bin/true; /bin/true' 2>&1 | grep -c execve; done | uniq", 1, 100),
    ("jq", TEXT + " | jq -R 'split(\" \") | {n: .[0], w: .[1:]}' | jq -s 'map(.w | length) | add'", 1000, 150000),
    ("bc", "echo 'scale=SIZE; 4*a(1)' | bc -l | md5sum", 100, 2500),
    ("xmllint", "(echo '<a>'; " + TEXT + " | sed 's/.*/<b c=\"1\">&<\\/b>/'; echo '</a>') | xmllint --format - | md5sum", 2000, 900000),
    ("gpg", "head -c SIZE0M /dev/zero | gpg --homedir $PWD --print-md sha256 2>/dev/null | md5sum; for i in $(seq SIZE); do echo $i | gpg --homedir $PWD --print-md sha256 2>/dev/null; done | md5sum", 3, 300),
    ("dot", "(echo 'digraph g {'; for i in $(seq SIZE); do echo \"a$i -> a$((i*7%97)); a$i -> a$((i*3%89));\"; done; echo '}') | dot -Tsvg | md5sum", 20, 160),
    ("diff, patch", TEXT + " > a; sed 's/7 /seven /' a > b; diff -u --label a --label b a b > d; md5sum < d | cut -c1-8; patch -s a d; cmp a b && echo same", 2000, 700000),
    ("objdump, readelf", "for i in $(seq SIZE); do objdump -d /bin/bash | md5sum; readelf -aW /bin/bash | md5sum; done | uniq | sort -u", 1, 4),
    ("unshare, setsid, nice, env, timeout", "for i in $(seq SIZE); do setsid -w nice -n 1 env A=b timeout 9 sh -c 'echo $A'; done | uniq -c", 3, 500),
    ("curl", "for i in $(seq SIZE); do curl -s file:///etc/passwd | md5sum; curl -s http://127.0.0.1:1/ ; echo $?; done | uniq | sort -u", 2, 150),
    ("psql, initdb", "echo; for i in $(seq SIZE); do psql --version; done | uniq", 2, 150),
]


def places():
    directory = scratch()
    (directory / "w.cc").write_text(CPP)
    (directory / "Work.java").write_text(JAVA)
    return directory


def run(command, env):
    where = scratch()
    done = subprocess.run(["/bin/sh", "-c", command], cwd=where, env=env, capture_output=True, stdin=subprocess.DEVNULL, timeout=300)
    shutil.rmtree(where, ignore_errors=True)
    return done.returncode, done.stdout, done.stderr


def installed():
    rows = [row for row in SHELL if all(shutil.which(word.strip()) for word in row[0].split(","))]
    note(f"{len(rows)} commands; not installed: {sorted({r[0] for r in SHELL} - {r[0] for r in rows})}")
    assert len(rows) >= 30, "too few programs are installed"
    return rows


def words(sources):
    return {"SOURCES": str(sources), "HOME": str(sources), "TZ": "UTC"}


@parallel
@limit(400)
def test_same_output_idle_and_with_everything_recorded():
    """Short runs: nothing that the agent records may show."""
    sources = places()

    def one(row):
        name, command, size, _ = row
        command = command.replace("SIZE", str(size))
        plain = run(command, environment(words(sources)))
        faults = []
        for way, settings in (("an idle agent", {}), ("everything recorded", STORM)):
            under = run(command, environment(words(sources), lib.agent(), addr="127.0.0.1:0", **settings))
            if under != plain:
                faults.append(f"{name} with {way}: {under}, plain: {plain}")
        return faults
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        faults = [fault for faults in pool.map(one, installed()) for fault in faults]
    assert not faults, "\n".join(faults)


@parallel
@limit(240)
def test_browser():
    """Chromium, all of whose processes inherit the preload and find a free port each."""
    chromium = needs("chromium")
    page = scratch() / "page.html"
    page.write_text('<p id="a">x</p><script>document.getElementById("a").textContent = 6 * 7</script>')
    argv = [chromium, "--no-sandbox", "--headless", "--disable-gpu", f"--user-data-dir={scratch()}", "--dump-dom", f"file://{page}"]
    for settings in ({}, STORM):
        done = subprocess.run(argv, env=environment(None, lib.agent(), addr="127.0.0.1:0", **settings), capture_output=True, timeout=100)
        assert done.returncode == 0 and b'<p id="a">42</p>' in done.stdout, (done.returncode, done.stdout[-300:], done.stderr[-1000:])


@long
@limit(3600)
def test_same_output_in_a_storm():
    sources = places()
    faults, everywhere = [], 0
    for name, command, _, size in installed():
        command = command.replace("SIZE", str(size))
        plain = run(command, environment(words(sources)))
        port_file = scratch() / "port"
        storm, used, runs = Storm(port_file), 0, 0
        # some of its processes live for a moment: then it runs until each endpoint was asked of one
        while runs < 50 and (used < SECONDS or (len(storm.answered) < len(ENDPOINTS) and used < 4 * SECONDS)):
            before = os.times()
            under = run(command, environment(words(sources), lib.agent(), addr="127.0.0.1:0", port_file=port_file, **STORM))
            after = os.times()
            used += after.children_user + after.children_system - before.children_user - before.children_system
            runs += 1
            if under != plain:
                faults.append(f"{name}: {under}, plain: {plain}")
        storm.stop()
        note(f"{name}: {runs} runs, {used:.1f} s of CPU time, {storm.samples} samples, {len(storm.answered)} endpoints answered")
        everywhere += len(storm.answered) == len(ENDPOINTS)
        if used < SECONDS:
            faults.append(f"{name}: too little work to count")
    note(f"every endpoint answered in {everywhere} of them")
    assert not faults, "\n".join(faults)
    assert everywhere >= 30, "too few programs live long enough to be asked"
