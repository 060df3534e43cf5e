# SPDX-License-Identifier: Apache-2.0
"""Servers that fork their workers: each worker is listed and profiled through the process that holds
the port. Stock nginx and PostgreSQL, configured but not changed. The port is a fixed one: with :0
every process has a port of its own and there is nothing to forward."""
import contextlib
import glob
import os
import pathlib
import pwd
import re
import shutil
import subprocess
import sys

import lib
from lib import App, agent, equal, limit, needs, note, parallel, scratch, until
from stacks import View

LOAD = """
import http.client, sys
c = http.client.HTTPConnection("127.0.0.1", int(sys.argv[1]))
while True:
    c.request("GET", "/big.txt", headers={"Accept-Encoding": "gzip"})
    c.getresponse().read()
"""


def open_directory():
    path = scratch()
    path.chmod(0o755)
    return path


def listed(app, pid):
    """True when the index of the holder names this process and links its own pages."""
    text = app.get("").text
    return f"child/{pid}/" in text and str(pid) in text


@limit(180)
def test_nginx_worker():
    nginx = needs("nginx")
    directory = open_directory()
    port = lib.free_port()
    (directory / "big.txt").write_bytes(bytes(range(32, 127)) * 5000)
    (directory / "nginx.conf").write_text(f"""
worker_processes 2;
pid {directory}/pid;
error_log {directory}/error.log;
events {{ worker_connections 64; }}
http {{
    access_log off;
    client_body_temp_path {directory}/a; proxy_temp_path {directory}/b; fastcgi_temp_path {directory}/c;
    uwsgi_temp_path {directory}/d; scgi_temp_path {directory}/e;
    gzip on; gzip_types *; gzip_comp_level 6;
    server {{ listen 127.0.0.1:{port}; root {directory}; }}
}}
""")
    # As it starts by default: in the background, by forking.
    agent_port = lib.free_port(port + 1)
    env = lib.environment(None, agent(), addr=f"127.0.0.1:{agent_port}")
    started = subprocess.run([nginx, "-p", directory, "-c", directory / "nginx.conf"], env=env, capture_output=True, timeout=30)
    equal((started.returncode, started.stderr), (0, b""), "start of nginx")
    master = int(until(lambda: (directory / "pid").exists() and (directory / "pid").read_text().strip(), "nginx' pid file"))
    try:
        holder = lib.Endpoint(("127.0.0.1", agent_port))
        until(holder.answers, "the holder of the port")
        workers = until(lambda: two_children(master), "nginx' workers")
        for _ in range(3):
            lib.background([sys.executable, "-c", LOAD, str(port)])
        worker = busiest(workers)
        until(lambda: listed(holder, worker), "the worker is listed on the index", 15)
        view = View(holder.profile(f"child/{worker}/profile", seconds=3, hz=250))
        check_worker(view, "nginx")
        answer = holder.get(f"child/{worker}/cmdline")
        equal((answer.status, answer.body.startswith(b"nginx: worker process")), (200, True), f"cmdline of the worker {answer.body!r}")
        done = lib.go_pprof("-top", holder.url(f"child/{worker}/profile", seconds=2))
        assert "Type: cpu" in done.stdout and "deflate" in done.stdout, done.stdout
        stranger = holder.get("child/1/profile?seconds=1")
        assert stranger.status in (404, 502) and stranger.header("X-Go-Pprof") == "1", stranger.status
    finally:
        stop_master(master)


def two_children(pid):
    with contextlib.suppress(OSError):
        pids = pathlib.Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        return [int(p) for p in pids] if len(pids) >= 2 else None
    return None


def ticks(pid):
    fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return int(fields[11]) + int(fields[12])


def busiest(pids):
    """The worker that works: decided once one of them has used half a second of CPU."""
    return until(lambda: max(pids, key=ticks) if max(map(ticks, pids)) > 50 else None, "a worker that works", 60)


def check_worker(view, what):
    share, causes = view.incomplete()
    samples = view.total("samples")
    note(f"{what}: {samples} samples, {100 * share:.2f} % incomplete, hottest {view.hottest()}")
    assert samples >= 20, f"{samples} samples of a busy worker"
    assert share <= 0.005, f"{100 * share:.2f} % incomplete: {causes.most_common(5)}"


def stop_master(pid):
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, 15)
        until(lambda: not pathlib.Path(f"/proc/{pid}").exists() or state(pid) == "Z", "the server's end", 20)


def state(pid):
    with contextlib.suppress(OSError):
        return pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
    return "Z"


@limit(240)
def test_postgres_worker():
    found = sorted(glob.glob("/usr/lib/postgresql/*/bin/postgres")) or [needs("postgres")]
    tools = pathlib.Path(found[-1]).parent
    directory = open_directory()
    user = None
    if os.getuid() == 0:
        # It refuses to run as root.
        try:
            user = pwd.getpwnam("postgres").pw_uid
        except KeyError:
            user = 65534
        os.chown(directory, user, -1)
    library = directory / "libpprofagent.so"
    shutil.copy(agent(), library)
    library.chmod(0o755)
    data = directory / "data"
    env = lib.environment({"HOME": str(directory)})
    subprocess.run([tools / "initdb", "-D", data, "-A", "trust", "--no-locale", "-N", "-U", "tester"], user=user, env=env, cwd=directory,
                   check=True, capture_output=True, timeout=120)
    log = open(directory / "log", "wb")
    port = lib.free_port()
    lib.background([tools / "postgres", "-D", data, "-k", directory, "-c", "listen_addresses="], user=user, cwd=directory,
                   env=lib.environment({"HOME": str(directory)}, library, addr=f"127.0.0.1:{port}"), stdout=log, stderr=log)
    psql = [tools / "psql", "-h", directory, "-U", "tester", "-d", "postgres", "-At"]

    def query(text):
        done = subprocess.run([*psql, "-c", text], env=env, capture_output=True, text=True, timeout=60)
        return done.stdout.strip() if done.returncode == 0 else None

    until(lambda: query("select 1") == "1", "PostgreSQL answers", 60)
    holder = lib.Endpoint(("127.0.0.1", port))
    until(holder.answers, "the holder of the port")
    client = lib.background([*psql], env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    client.stdin.write(b"select pg_backend_pid();\ndo $$ declare x int := 1; begin loop x := (x * 31 + 7) % 1000003; end loop; end $$;\n")
    client.stdin.flush()
    worker = int(client.stdout.readline())
    busiest([worker])
    until(lambda: listed(holder, worker), "the backend is listed on the index", 15)
    view = View(holder.profile(f"child/{worker}/profile", seconds=3, hz=250))
    check_worker(view, "postgres")
    done = lib.go_pprof("-top", holder.url(f"child/{worker}/profile", seconds=2))
    assert "Type: cpu" in done.stdout and re.search(r"%  ?(ExecInterpExpr|int4\w+|plpgsql\S*)", done.stdout), done.stdout
    os.kill(worker, 15)
    until(lambda: not listed(holder, worker), "the backend leaves the index", 15)


SOCKETS = """
import os, sys, time
for _ in range(8):
    if os.fork() == 0:
        kept = []
        while True:
            kept.append(bytearray(100000)); time.sleep(0.02); del kept[50:]
print(os.getpid(), flush=True)
sys.stdin.readline()
"""


@parallel
@limit(60)
def test_each_worker_has_its_own_socket():
    """%p in PPROF_ADDR: nine processes, nine sockets, and each answers for itself."""
    directory = scratch()
    with App(sys.executable, "-c", SOCKETS, addr=f"unix:{directory}/s.%p", wait=False, stdin=subprocess.PIPE, port_file=None) as app:
        app.line()
        found = until(lambda: len(s := sorted(directory.glob("s.*"))) == 9 and s, "nine sockets", 30, 0.05)
        for path in found:
            there = lib.Endpoint(str(path))
            until(there.answers, f"{path.name} answers")
            equal(there.get("agent").text.split(",")[1].strip(), f"pid {path.name[2:]}", f"who answers on {path.name}")


CHILDREN = """
import ctypes, os, sys, time
libc, good, late = ctypes.CDLL(None, use_errno=True), 0, 0
for n in range(60):
    begin = time.monotonic()
    pid = os.fork()
    if pid == 0:
        status = libc.unshare(0x10000000)
        threads = len(os.listdir("/proc/self/task"))
        # after a fifth of a second it may be a worker that wants to be seen
        os._exit(2 if time.monotonic() - begin > 0.15 else 0 if status == 0 and threads == 1 else 1)
    code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    good += code == 0
    late += code == 2
print(good, late, flush=True)
sys.stdin.readline()
"""


@parallel
@limit(60)
def test_children_stay_single_threaded_at_first():
    """Hazard D5: a child of fork that wants a user namespace, which only a process of one thread may have."""
    plain = subprocess.run([sys.executable, "-c", CHILDREN], env=lib.environment(), stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60)
    if plain.stdout.split()[0] == "0":
        lib.skip("no user namespaces here")
    with App(sys.executable, "-c", CHILDREN, stdin=subprocess.PIPE, memprofilerate=1, blockprofilerate=1) as app:
        good, late = map(int, app.line().split())
        note(f"{good} children of 60 made a namespace, {late} were slow")
        assert good >= 1, "no child was quick enough"
        equal(good + late, 60, "children that could make a namespace, or were slow")
