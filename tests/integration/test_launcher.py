# SPDX-License-Identifier: Apache-2.0
"""scripts/pprofagent: what it starts, what it refuses and with which words, what its doctor says."""
import contextlib
import os
import pathlib
import re
import shutil
import socket
import subprocess

import lib
from lib import TOP, Endpoint, agent, environment, equal, limit, needs, parallel, program, until

LAUNCHER = pathlib.Path(os.environ.get("PPROF_TEST_LAUNCHER", TOP / "scripts/pprofagent"))
HELLO = 'int main(void) { return write(1, "hello\\n", 6) != 6; }\n'


def launch(*args, seconds=60, shell=(), env=None, **settings):
    """Runs the launcher to its end: (status, stdout, stderr)."""
    done = subprocess.run([*shell, str(LAUNCHER), f"--library={agent()}", *map(str, args)], env=environment(env, **settings),
                          capture_output=True, text=True, timeout=seconds, stdin=subprocess.DEVNULL)
    return done.returncode, done.stdout, done.stderr


def compiled(*flags, name="hello", source=HELLO):
    directory = lib.scratch()
    (directory / "a.c").write_text("#include <unistd.h>\n" + source)
    subprocess.run(["gcc", *flags, "-o", directory / name, directory / "a.c"], check=True, capture_output=True)
    return directory / name


@contextlib.contextmanager
def running(*args, launcher=LAUNCHER, env=None, library=True):
    """A program that was started by the launcher, as an endpoint at the address that it printed."""
    process = lib.background([launcher, *([f"--library={agent()}"] if library else []), *args], env=environment(env),
                             stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    os.set_blocking(process.stderr.fileno(), False)
    said = b""

    def address():
        nonlocal said
        said += process.stderr.read() or b""
        assert process.poll() is None, said
        return re.search(rb"listening on http://([\d.]+):(\d+)/debug/pprof/\n", said)
    found = until(address, "the launcher says where the program listens")
    endpoint = Endpoint((found[1].decode(), int(found[2])))
    endpoint.process, endpoint.said = process, said.decode()
    try:
        yield endpoint
    finally:
        process.terminate()
        process.wait(20)


@parallel
def test_the_program_is_as_without_it():
    argv = ["sh", "-c", 'printf "%s|" "$0" "$@"; echo oops >&2; exit 7', "a b", "", "--port", "*", "x\ny"]
    plain = subprocess.run(argv, env=environment(), capture_output=True, text=True)
    for shell in ((), ("dash",), ("bash",)):
        equal(launch("--quiet", "--addr=off", "--", *argv, shell=shell), (7, plain.stdout, plain.stderr))
    # Names that the script uses itself, and one that it should not touch.
    mine = {name: "kept" for name in ("file", "name", "value", "option", "library", "port", "strings", "at", "why")}
    mine["LC_ALL"] = "C.UTF-8"
    env = environment(mine)
    plain = subprocess.run(["env", "-0"], env=env, capture_output=True, text=True).stdout
    _, under, _ = launch("--quiet", "--addr=off", "env", "-0", env=mine)

    def variables(text):
        return {v for v in text.split("\0") if v and not v.startswith(("LD_PRELOAD=", "PPROF_ADDR=", "_="))}
    equal(variables(under), variables(plain))


@parallel
def test_address_is_printed_and_free_ports_are_found():
    with running("--port", "auto", program("idle")) as one, running("-p", "auto", program("idle")) as two:
        assert one.where != two.where and all(6060 <= e.where[1] <= 6159 for e in (one, two)), (one.where, two.where)
        for endpoint in (one, two):
            equal(endpoint.said.count("\n"), 1, endpoint.said)
            equal(endpoint.get("cmdline").text, program("idle"))
        status, out, err = launch("--port", one.where[1], "sleep", "0")
        equal((status, out), (0, ""))
        assert "is taken: not listening" in err and err.count("\n") == 1, err
        status, out, _ = launch("--check", f"--port={one.where[1]}", program("idle"))
        assert re.search(rf"^port +no +{one.where[1]} is taken: --port auto", out, re.M), out
    status, out, err = launch("--quiet", "--port", "auto", "sleep", "0")
    equal((status, out, err), (0, "", ""))


@parallel
def test_preload_that_is_there_stays():
    other = compiled("-shared", "-fPIC", name="other.so", source="int other_library_is_here;\n")
    with running("-p", "auto", program("idle"), env={"LD_PRELOAD": str(other)}) as app:
        maps = open(f"/proc/{app.process.pid}/maps", encoding="utf-8").read()
        assert str(other) in maps and agent() in maps, maps
    # Once is enough: a launcher below a launcher adds nothing.
    _, out, _ = launch("-q", "--addr=off", LAUNCHER, f"--library={agent()}", "-q", "sh", "-c", 'echo "$LD_PRELOAD"')
    equal(out, os.path.realpath(agent()) + "\n")


@parallel
def test_only_library_and_launcher_are_needed():
    home = lib.scratch()
    for place, file in (("bin", LAUNCHER), ("lib", agent())):
        (home / place).mkdir()
        shutil.copy(file, home / place)
    with running("-p", "auto", program("idle"), launcher=home / "bin/pprofagent", library=False) as app:
        maps = open(f"/proc/{app.process.pid}/maps", encoding="utf-8").read()
        assert str(home / "lib/libpprofagent.so") in maps
    done = subprocess.run([home / "bin/pprofagent", "--version"], capture_output=True, text=True, env=environment())
    assert re.fullmatch(r"libpprofagent \d+\.\d+\.\d+\n", done.stdout), done
    odd = home / "with blank"
    odd.mkdir()
    shutil.copy(agent(), odd)
    status, _, err = launch(f"--library={odd}/libpprofagent.so", "true")
    equal(status, 125)
    assert "blank or a colon" in err, err


def refused(file, words):
    for args in (["--", file], ["--check", file]):
        status, out, err = launch(*args)
        equal(status, 125, f"{args}: {out}{err}")
        text = err if args[0] == "--" else out
        assert words in text and "hello" not in out.splitlines(), text
        if args[0] == "--":
            equal(err.count("\n"), 1, err)
        else:
            assert re.search(r"^verdict +no +", out, re.M), out


@parallel
@limit(180)
def test_what_cannot_be_profiled_is_refused_in_one_sentence():
    refused(compiled("-static"), "linked statically")
    refused(compiled("-static-pie"), "linked statically")
    for sanitizer in ("address", "thread"):
        refused(compiled(f"-fsanitize={sanitizer}"), "built with a sanitizer")
    equal(launch("-q", "--addr=off", compiled("-fsanitize=undefined"))[:2], (0, "hello\n"))
    if os.getuid() == 0:
        owned = compiled()
        os.chown(owned, 65534, 65534)
        owned.chmod(0o4755)
        os.chmod(owned.parent, 0o755)
    else:
        owned = needs("su")
    refused(owned, "setuid or setgid")
    text = lib.scratch() / "text"
    text.write_text("no program\n")
    text.chmod(0o755)
    refused(text, "neither a program for Linux (ELF) nor a script")
    status, _, err = launch("env", "true", env={"LD_PRELOAD": "/nowhere/libasan.so.8"})
    assert status == 125 and "sanitizer" in err, err


@parallel
def test_usage_errors():
    for args, want, words in ((["nosuchprogram"], 127, "not found"), (["/etc/passwd"], 126, "cannot be executed"),
                              (["/nowhere/at/all"], 127, "not found"), ([], 2, "no program given"),
                              (["--nosuch", "true"], 2, "unknown option --nosuch"), (["--port"], 2, "needs a value"),
                              (["--port", "x", "true"], 2, "--port needs a number"),
                              (["--no-addr", "true"], 2, "unknown option --no-addr")):
        status, out, err = launch(*args)
        equal((status, out), (want, ""), str(args))
        assert words in err and err.count("\n") == 1, err
    status, out, err = launch("--help")
    equal((status, err), (0, ""))
    assert "usage: pprofagent" in out and "--memprofilerate VALUE" in out, out


@parallel
def test_every_setting_is_an_option():
    rows = re.findall(r'^OPTION\(\w+,\s*(\w+),\s*"(\w+)"', (TOP / "agent/options.def").read_text(), re.M)
    assert len(rows) > 15, rows
    args, want = [], {}
    for number, (kind, name) in enumerate(rows):
        option = "--" + name.lower().replace("_", "-")
        if kind == "SWITCH":
            args.append("--no-" + option[2:] if number % 2 else option)
            want["PPROF_" + name] = str(1 - number % 2)
        else:
            value = f"/value {number}" if name != "ADDR" else "off"
            args += [f"{option}={value}"] if number % 2 else [option, value]
            want["PPROF_" + name] = value
    _, out, err = launch(*args, "--", "env", "-0")
    equal({k: v for k, _, v in (line.partition("=") for line in out.split("\0")) if k.startswith("PPROF_")}, want, err)


@parallel
@limit(180)
def test_doctor():
    status, out, _ = launch("--check", program("hot_cpp"))
    equal(status, 0, out)
    for words in (r"linking +ok", r"allocator +ok +the system's malloc", r"debug info +ok +in the file", r"port +",
                  r"verdict +ok +run: pprofagent "):
        assert re.search("^" + words, out, re.M), out
    stripped = compiled("-s")
    assert re.search(r"^debug info +partly +stripped", launch("--check", stripped)[1], re.M)
    # A script: its interpreter is what counts, also behind env.
    for first in (f"#!{needs('python3')}", "#!/usr/bin/env python3", "#! /usr/bin/env -S python3 -u"):
        script = lib.scratch() / "script"
        script.write_text(first + "\nprint('hello')\n")
        script.chmod(0o755)
        status, out, _ = launch("--check", script)
        equal(status, 0, out)
        assert re.search(rf"^program +{script} \(a script, run by \S*/python3\)$", out, re.M), out
        equal(launch("-q", "--addr=off", script)[:2], (0, "hello\n"))
    assert re.search(r"^role +partly +starts other programs", launch("--check", "bash")[1], re.M)
    assert not re.search(r"^role", launch("--check", needs("git"))[1], re.M)
    table = re.search(r"names\[\]\[18\] = \{(.*?)\};", (TOP / "agent/launchers.c").read_text(), re.S)[1]
    listed = re.search(r'^starters="(.*?)"', LAUNCHER.read_text(), re.M | re.S)[1].split()
    equal(sorted(listed), sorted(re.findall(r'"([^"]+)"', table)), "programs that only start others")
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        assert re.search(r"^port +no", launch("--check", f"--port={taken.getsockname()[1]}", "sh")[1], re.M)
    status, out, _ = launch("--check", needs("redis-server"))
    assert status == 0 and re.search(r"^allocator +ok +libjemalloc.so.2, a library", out, re.M), out


@parallel
def test_relative_directories_hold_in_other_directories():
    """Children that work elsewhere write into the directory that the person meant, percent signs and all."""
    top = lib.scratch() / "50% of %p"
    (top / "elsewhere").mkdir(parents=True)
    (top / "token").write_text("secret\n")
    done = subprocess.run([LAUNCHER, f"--library={agent()}", "-q", "-o", "out", "--sd-dir=sd", "--token-file", "token", "--addr=127.0.0.1:0",
                           "sh", "-c", f"cd elsewhere && env | grep ^PPROF_ && exec {program('ends')} burn 0.2 0"],
                          cwd=top, env=environment(), capture_output=True, text=True, timeout=60)
    equal(done.returncode, 0, done.stderr)
    got = dict(line.split("=", 1) for line in done.stdout.splitlines() if "=" in line)
    doubled = str(top).replace("%", "%%")
    equal((got["PPROF_OUTPUT"], got["PPROF_SD_DIR"], got["PPROF_TOKEN_FILE"]), (f"{doubled}/out", f"{doubled}/sd", f"{top}/token"))
    assert list((top / "out").glob("ends.*.cpu.pb.gz")), os.listdir(top)
    equal(os.listdir(top / "elsewhere"), [])
