# SPDX-License-Identifier: Apache-2.0
"""The distribution's stripped programs at work: every frame has a name, be it a placeholder, and none is a bare
address or a file in brackets. The table of docs/limits.md is what these tests print."""
import glob
import os
import pathlib
import pwd
import re
import shutil
import subprocess

import lib
import stock
from lib import App, limit, long, needs, note, parallel, until

PLACEHOLDER = re.compile(r".+@0x[0-9a-f]+$")
# What no file names: the marks of the agent, the kernel's page, and code that a program generates.
GENERATED = ("[anon]", "[heap]")
NO_NAME = re.compile(r"(0x[0-9a-f]+|.*\+0x[0-9a-f]+|\[[^]]*\.so[^]]*\]|)$")


def names_of(profile):
    """(file, name) of the function of each location of a file; names of code that is in none."""
    in_files, others = set(), set()
    for location in profile.locations:
        for line in location.lines[-1:]:
            name = line.function.name
            if location.mapping and location.mapping.filename:
                in_files.add((location.mapping.filename, name))
            else:
                others.add(name)
        assert location.lines, "a location without a name"
    return in_files, others


def measure(app, title, seconds=3):
    """Of CPU and allocations of a program at work: no frame without a name; counts what the names are."""
    in_files, others = set(), set()

    def look():
        for data in (app.profile("profile", seconds=seconds, hz=500), app.profile("allocs")):
            found, outside = names_of(data)
            in_files.update(found)
            others.update(outside)
        return len(in_files) > 20

    with app:
        until(look, f"{title} has more than twenty functions", 60)
    files = {os.path.basename(file) for file, _ in in_files}
    wrong = [(file, name) for file, name in in_files
             if NO_NAME.match(name) or name in files or name.strip("[]") in files]
    wrong += [name for name in others if not name.startswith("[") and NO_NAME.match(name)]
    placeholders = sorted(name for _, name in in_files if PLACEHOLDER.match(name))
    where = {}
    for name in placeholders:
        where[name.split("@")[0]] = where.get(name.split("@")[0], 0) + 1
    generated = "yes" if any(name in GENERATED for name in others) else "no"
    # Frames, not functions: code generated without a map is one name.
    note(f"| {title} | {len(in_files)} | {len(in_files) - len(placeholders)} | {len(placeholders)} | "
         f"{', '.join(f'{file} {n}' for file, n in sorted(where.items(), key=lambda item: -item[1])) or '-'} | {generated} |")
    assert not wrong, f"frames of {title} without a name: {wrong[:20]}"


def version(*argv):
    text = subprocess.run([str(a) for a in argv], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True).stdout
    return re.search(r"\d+(\.\d+)+", text).group()


@parallel
@limit(240)
def test_redis():
    import test_real
    app, path = test_real.redis(memprofilerate=4096)
    lib.background(["redis-benchmark", "-s", path, "-l", "-q", "-c", "20", "-P", "8", "-n", "100000", "-t",
                    "set,get,lpush,lrange_100,hset,zadd,spop"])
    measure(app, "redis-server " + version("redis-server", "--version"))


@parallel
@long
@limit(240)
def test_nginx():
    measure(stock.nginx(memprofilerate=4096), "nginx " + version(needs("nginx"), "-v"))


PYTHON = """
import json, re, hashlib, zlib, sqlite3, decimal, random
words = [str(random.random()) for _ in range(2000)]
while True:
    text = json.dumps({w: [w, len(w)] for w in words})
    json.loads(text)
    re.findall(r"(\\d+)\\.(\\d+)", text)
    zlib.compress(text.encode())
    hashlib.sha256(text.encode()).digest()
    sorted(words, key=lambda w: w[::-1])
    sum(decimal.Decimal(w) for w in words[:50])
    base = sqlite3.connect(":memory:")
    base.execute("create table t (w)")
    base.executemany("insert into t values (?)", [(w,) for w in words])
    base.execute("select count(*), max(w) from t where w like '%7%'").fetchall()
"""


@parallel
@limit(240)
def test_python():
    if not os.path.exists("/usr/bin/python3"):
        lib.skip("no python3 of the distribution")
    measure(App("/usr/bin/python3", "-c", PYTHON, memprofilerate=4096), "python3 " + version("/usr/bin/python3", "-V"))


@parallel
@long
@limit(240)
def test_node():
    measure(stock.node(memprofilerate=4096), "node " + version(needs("node"), "-v"))


SQL = """create table t as select i, i % 97 as k, md5(i::text) as s from generate_series(1, 20000) i;
create index on t (s);
analyze t;
""" + """select k, count(*), max(s), sum(length(s)) from t group by k order by k;
select count(*) from t a join t b using (s) where a.k < 50;
select s from t where s like '%ab%' order by s limit 10;
update t set k = k + 1 where i % 10 = 3;
select avg(i), stddev(i), percentile_cont(0.5) within group (order by i) from t;
""" * 2000


@parallel
@long
@limit(240)
def test_postgres():
    """A backend alone, which reads its queries from a file."""
    found = sorted(glob.glob("/usr/lib/postgresql/*/bin/postgres")) or [needs("postgres")]
    tools = pathlib.Path(found[-1]).parent
    directory = lib.scratch()
    directory.chmod(0o777)
    user = None
    if os.geteuid() == 0:  # it refuses to run as root
        try:
            user = pwd.getpwnam("postgres").pw_uid
        except KeyError:
            user = 65534
        os.chown(directory, user, -1)
    for name in ("libpprofagent.so", "pprofagent-symbolize"):
        shutil.copy(lib.BUILD / name, directory)
    env = lib.environment({"HOME": str(directory)})
    subprocess.run([tools / "initdb", "-D", directory / "data", "-A", "trust", "--no-locale", "-N", "-U", "tester"], user=user,
                   env=env, cwd=directory, check=True, capture_output=True, timeout=120)
    sql = directory / "sql"
    sql.write_text(SQL)
    sql.chmod(0o644)
    app = App(tools / "postgres", "--single", "-D", directory / "data", "postgres", stdin=open(sql), cwd=directory,
              preload=directory / "libpprofagent.so", memprofilerate=4096, port_file=directory / "port", wait=False,
              stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, preexec=lambda: user is None or os.setuid(user))
    app.port_file = directory / "port"
    app.wait_listening()
    measure(app, "postgres " + version(tools / "postgres", "--version"))
