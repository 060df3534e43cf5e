#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""What the idle agent, at its default settings, costs real programs: real.py [ROUNDS] [WORD]

Two copies run at the same time on the same core: one as it is, the other under the agent; then one as it is and one
under a library that passes malloc and free through and does nothing (loads/passing.c); then under the same with a
thread that sleeps; then two as they are, which is the noise. Whatever the machine does meets both alike, and only their
own CPU time is compared (children included; of servers: from the first request to the last, which come from the other
cores). Per program: the median of each ratio over the rounds, with its quartiles. Programs
that are not installed are left out; WORD chooses those whose names contain it. Whole runs take a second or more, so
that their start (see start.py) is a small part of them, but it is in them.
"""
import atexit
import functools
import itertools
import os
import pathlib
import pwd
import shutil
import statistics
import subprocess
import sys
import tempfile
import time

BUILD = os.environ.get("BUILD", "build")
AGENT = os.path.abspath(f"{BUILD}/libpprofagent.so")
WORK = f"{BUILD}/tests/bench"
PASSING = os.path.abspath(f"{WORK}/passing.so")
CORES = sorted(os.sched_getaffinity(0))
CORE, OTHERS = {CORES[-1]}, set(CORES[:-1] or CORES)
COPIES = ("agent", "passing", "passing, thread", "plain")  # each against a plain one
ports = itertools.count(20000 + os.getpid() % 20000)

JSON = ("import json\nd=[{'id':i,'name':'n%d'%i,'tags':['a','b',str(i)]} for i in range(2000)]\n"
        "for _ in range(200): s=json.dumps(d); d=json.loads(s)\nprint(len(s))")
SQL = ("create table t(a integer, b text, c real);\nwith recursive n(i) as (select 1 union all select i+1 from n where "
       "i<600000) insert into t select i%1000, 'row '||i, i*0.5 from n;\nselect count(*), sum(x) from (select a, "
       "sum(c) x, group_concat(b) from t group by a);\n")
CPP = ("#include <map>\n#include <regex>\n#include <string>\n#include <vector>\n#include <functional>\n"
       "int main() { std::map<std::string, std::vector<std::function<int(int)>>> m; m[\"a\"].push_back([](int i) { return i; });"
       " return std::regex_match(std::string(\"a\"), std::regex(\"b*\")) + m[\"a\"][0](0); }\n")
JS = ("let m=new Map();for(let r=0;r<20;r++){for(let i=0;i<150000;i++)m.set('k'+i%5000,{i,t:'x'.repeat(i%40)});"
      "JSON.parse(JSON.stringify([...m]))}console.log(m.size)")


def environment(copy, extra):
    env = {k: v for k, v in os.environ.items() if not k.startswith(("PPROF_", "LD_"))}
    env.update(extra)
    if copy == "agent":
        env.update(LD_PRELOAD=AGENT, PPROF_ADDR="127.0.0.1:0")
    elif copy.startswith("passing"):
        env.update(LD_PRELOAD=PASSING)
    if copy == "passing, thread":
        env.update(IDLE_THREAD="1")
    return env


def start(argv, copy, cores, **options):
    options.setdefault("stdout", subprocess.DEVNULL)
    return subprocess.Popen(argv, env=environment(copy, {}), stderr=subprocess.DEVNULL,
                            preexec_fn=lambda: os.sched_setaffinity(0, cores), **options)


def whole_runs(turn, argv, text="", **extra):
    """For each of COPIES its CPU time over that of the plain one beside it; they begin together and end on their own."""
    plain, ratios = (argv, environment("plain", extra)), []
    for copy in COPIES:
        first, second = together(in_turn(turn, [plain, (argv, environment(copy, extra))]), text)
        ratios.append(first / second if turn % 2 else second / first)
    return ratios


def in_turn(turn, pair):
    return pair[::-1] if turn % 2 else pair


def together(commands, text=""):
    """CPU seconds of commands, (argv, environment) each, that begin together."""
    gate, opened = os.pipe()
    pids = [gated(argv, env, gate, text) for argv, env in commands]
    os.close(gate)
    os.write(opened, b"\n" * len(pids))
    os.close(opened)
    return [cpu_of(pid) for pid in pids]


def gated(argv, env, gate, text):
    """A child that becomes the program when there is a byte in the gate."""
    with tempfile.TemporaryFile() as stdin:
        stdin.write(text.encode())
        stdin.seek(0)
        pid = os.fork()
        if pid:
            return pid
        os.sched_setaffinity(0, CORE)
        null = os.open("/dev/null", os.O_WRONLY)
        os.dup2(stdin.fileno(), 0)
        os.dup2(null, 1)
        os.dup2(null, 2)
        os.read(gate, 1)
        os.execvpe(argv[0], argv, env)


def cpu_of(pid):
    _, status, used = os.wait4(pid, 0)
    if status:
        raise RuntimeError(f"a copy ended with status {status:x}")
    return used.ru_utime + used.ru_stime


def ran_ns(pid):
    """CPU time of a process and of its children: of those that live as the scheduler counts it, of those that have ended
    (a database has one for each client) in the clock's ticks."""
    ended = pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[13:15]
    total = sum(map(int, ended)) * 10**9 // os.sysconf("SC_CLK_TCK")
    for task in pathlib.Path(f"/proc/{pid}/task").iterdir():
        total += int((task / "schedstat").read_text().split()[0])
        for child in (task / "children").read_text().split():
            total += ran_ns(child)
    return total


def servers(turn, make, load, requests):
    """The same for servers: make(directory, copy) starts one and returns (process, address). Each has one opponent,
    lest one of them has served more than the other."""
    with tempfile.TemporaryDirectory() as top:
        os.chmod(top, 0o755)
        pairs = [[make(pathlib.Path(tempfile.mkdtemp(dir=top)), one) for one in ("plain", copy)] for copy in COPIES]
        try:
            for _, address in itertools.chain(*pairs):  # until it answers, and has all that it will ever have
                end = time.monotonic() + 20
                while subprocess.run(load(address, 100), capture_output=True).returncode and time.monotonic() < end:
                    time.sleep(0.1)
                subprocess.run(load(address, requests), capture_output=True, check=True)
            return [under_load(turn, plain, other, load, requests) for plain, other in pairs]
        finally:
            for process, _ in itertools.chain(*pairs):
                process.terminate()
            for process, _ in itertools.chain(*pairs):
                process.wait(20)


def under_load(turn, plain, other, load, requests):
    before = [ran_ns(process.pid) for process, _ in (plain, other)]
    clients = [start(load(address, requests), "plain", OTHERS) for _, address in in_turn(turn, [plain, other])]
    for client in clients:
        if client.wait(300):
            raise RuntimeError("a client failed")
    used = [ran_ns(process.pid) - was for (process, _), was in zip((plain, other), before)]
    return used[1] / used[0]


def redis(directory, copy):
    address = str(directory / "socket")
    return start(["redis-server", "--port", "0", "--unixsocket", address, "--save", "", "--dir", str(directory)], copy, CORE), address


def redis_load(address, n):
    return ["redis-benchmark", "-s", address, "-t", "set,get,lpush", "-n", str(n), "-P", "16", "-c", "20", "-r", "100000",
            "-d", "64", "-q"]


def nginx(directory, copy):
    port = next(ports)
    os.chmod(directory, 0o755)
    (directory / "page.html").write_text("x" * 4096)
    temporary = "".join(f"{kind}_temp_path {directory}/{kind};" for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi"))
    (directory / "conf").write_text(
        f"daemon off; pid {directory}/pid; error_log /dev/null; worker_processes 1; events {{}}\nhttp {{ access_log off; gzip on; "
        f"gzip_min_length 100; keepalive_requests 1000000; {temporary} server {{ listen 127.0.0.1:{port}; root {directory}; }} }}\n")
    return start(["nginx", "-c", str(directory / "conf")], copy, CORE), f"http://127.0.0.1:{port}/page.html"


def nginx_load(address, n):
    return ["ab", "-q", "-k", "-c", "20", "-n", str(n), "-H", "Accept-Encoding: gzip", address]


MEMCACHED_LOAD = """
import socket, sys
s = socket.socket(socket.AF_UNIX)
s.connect(sys.argv[1])
lines = s.makefile("rb", 1 << 16)
for batch in range(int(sys.argv[2]) // 200 + 1):
    s.sendall(b"".join(b"set k%d 0 0 100\\r\\n%s\\r\\nget k%d\\r\\n" % (i + batch, b"x" * 100, i + batch) for i in range(100)))
    for _ in range(400):
        lines.readline()
"""


def memcached(directory, copy):
    address = str(directory / "socket")
    return start(["memcached", "-u", "root", "-t", "2", "-s", address], copy, CORE), address


def memcached_load(address, n):
    return [sys.executable, "-c", MEMCACHED_LOAD, address, str(n)]


@functools.cache
def postgres_user():
    """postgres refuses to run as root."""
    user = pwd.getpwnam("postgres")
    return {"user": user.pw_uid, "group": user.pw_gid, "cwd": "/"} if os.getuid() == 0 else {}


@functools.cache
def cluster():
    """A directory that each server gets a copy of."""
    top = tempfile.TemporaryDirectory()
    atexit.register(top.cleanup)
    os.chmod(top.name, 0o755)
    data = pathlib.Path(top.name) / "data"
    data.mkdir(0o700)
    if postgres_user():
        shutil.chown(data, "postgres", "postgres")
    subprocess.run([postgres_binaries() / "initdb", "-A", "trust", "-N", "-D", data], check=True, capture_output=True,
                   **postgres_user())
    return data


def postgres_binaries():
    return max(pathlib.Path("/usr/lib/postgresql").iterdir()) / "bin"


def postgres(directory, copy):
    data = directory / "data"
    subprocess.run(["cp", "-a", cluster(), data], check=True)
    if postgres_user():
        shutil.chown(directory, "postgres", "postgres")
    argv = [postgres_binaries() / "postgres", "-D", data, "-k", directory, "-c", "listen_addresses=", "-c", "fsync=off"]
    process = start(argv, copy, CORE, **postgres_user())
    pgbench = ["pgbench", "-i", "-q", "-h", str(directory), "-U", "postgres", "postgres"]
    end = time.monotonic() + 20
    while subprocess.run(pgbench, capture_output=True).returncode and time.monotonic() < end:
        time.sleep(0.2)
    return process, str(directory)


def postgres_load(address, n):
    return ["pgbench", "-n", "-S", "-M", "simple", "-c", "1", "-t", str(n), "-h", address, "-U", "postgres", "postgres"]


PROGRAMS = [
    ("redis-server", ["redis-server", "redis-benchmark"], lambda turn: servers(turn, redis, redis_load, 100000)),
    ("nginx, gzip", ["nginx", "ab"], lambda turn: servers(turn, nginx, nginx_load, 20000)),
    ("memcached", ["memcached"], lambda turn: servers(turn, memcached, memcached_load, 100000)),
    ("postgres, select", ["pgbench"], lambda turn: servers(turn, postgres, postgres_load, 30000)),
    ("python3, JSON", ["python3"], lambda turn: whole_runs(turn, ["python3", "-c", JSON])),
    ("same, PYTHONMALLOC=malloc", ["python3"], lambda turn: whole_runs(turn, ["python3", "-c", JSON], PYTHONMALLOC="malloc")),
    ("sqlite3", ["sqlite3"], lambda turn: whole_runs(turn, ["sqlite3", ":memory:"], SQL)),
    ("g++ -O0", ["g++"], lambda turn: whole_runs(turn, ["g++", "-O0", "-x", "c++", "-c", "-o", "/dev/null", "-"], CPP)),
    ("node", ["node"], lambda turn: whole_runs(turn, ["node", "-e", JS])),
    ("C++, maps of strings", [], lambda turn: whole_runs(turn, [f"{WORK}/churn_cc", "20"])),
    ("Rust, maps of strings", [], lambda turn: whole_runs(turn, [f"{WORK}/churn_rs", "20"])),
]


def print_row(name, columns):
    """Of each column of figures its median and quartiles."""
    row = f"{name:28}"
    for values in columns:
        low, middle, high = statistics.quantiles(values, n=4)
        row += f"  {middle:.4f} [{low:.4f}..{high:.4f}]"
    print(row, flush=True)


def main():
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 15
    word = sys.argv[2] if len(sys.argv) > 2 else ""
    heads = ("agent", "passing through", "same and a thread", "plain against plain")
    print(f"{'median CPU ratio to plain':28}" + "".join(f"{head:>26}" for head in heads))
    for name, needs, run in PROGRAMS:
        if word not in name or not all(shutil.which(program) for program in needs):
            continue
        ratios = [run(turn) for turn in range(rounds)]
        print_row(name, zip(*ratios))


if __name__ == "__main__":
    main()
