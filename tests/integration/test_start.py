# SPDX-License-Identifier: Apache-2.0
"""Start, descriptors, exit: the program must not be able to tell that the agent is there."""
import contextlib
import os
import pathlib
import resource
import shutil
import socket
import subprocess
import threading
import time

import lib
from lib import App, agent, environment, equal, limit, long, needs, note, parallel, program, scratch, until


# ---------------------------------------------------------------- descriptors

def first_numbers(closed, preload, **settings):
    """What first_open sees when it is started with these of its standard descriptors closed."""
    out = scratch() / "out"
    command = f'exec "$0" "$1" {closed}'
    done = subprocess.run(["/bin/sh", "-c", command, program("first_open"), out], env=environment(None, preload, **settings),
                          stdin=subprocess.DEVNULL, capture_output=True, timeout=30)
    equal(done.returncode, 0, f"status of first_open with {closed or 'all open'}: {done.stderr}")
    return out.read_text()


@parallel
def test_first_open_is_3():
    for settings in ({"addr": "127.0.0.1:0"}, {"addr": f"unix:{scratch()}/s"}, {"addr": "off"}):
        equal(first_numbers("", agent(), **settings), "3 4 5, 3 open before\n", f"descriptors with {settings}")


@parallel
def test_closed_standard_descriptors():
    for closed in ("<&-", ">&-", "2>&-", "<&- >&-", ">&- 2>&-", "<&- >&- 2>&-"):
        plain = first_numbers(closed, None)
        equal(first_numbers(closed, agent(), addr="127.0.0.1:0"), plain, f"descriptors with {closed}")


@parallel
def test_agent_holds_no_descriptor_of_the_program():
    """Closing a descriptor really closes it: the agent's private table keeps no copy."""
    ours, theirs = socket.socketpair()
    code = f"import os, sys, time; print('ready', flush=True); sys.stdin.readline(); os.close({theirs.fileno()}); time.sleep(1000)"
    with App(needs("python3"), "-c", code, stdin=subprocess.PIPE, pass_fds=[theirs.fileno()]) as app:
        theirs.close()
        equal(app.line(), "ready")
        lib.until(app.answers, "the agent answers")
        app.say("close it")
        ours.settimeout(10)
        equal(ours.recv(1), b"", "what comes from a socket whose only holder closed it")
        equal(app.process.poll(), None, "end of the program")


@parallel
@limit(40)
def test_stdout_closed_by_the_program_reaches_the_reader():
    """`program | cat`: when the program closes its stdout, cat ends although the program lives on."""
    code = "import os, time; os.write(1, b'x'); os.close(1); os.close(2); time.sleep(1000)"
    with App(needs("python3"), "-c", code) as app:
        out = until(lambda: app.process.stdout.read(), "end of the program's output")
        equal(out, b"x", "output")
        assert app.process.poll() is None
        until(app.answers, "the agent answers")


def reuses_all(profiles, **options):
    directory = scratch()
    with App(program("closes_all"), directory / "echo", directory / "file", **options) as app:
        path = str(directory / "echo")
        until(lambda: os.path.exists(path), "the program's own server")
        rounds = served = 0
        while served < profiles:
            # a profile runs all the time, echo clients come and go meanwhile
            box = []
            fetch = threading.Thread(target=lambda: box.append(app.get("profile", seconds=1, hz=1000)))
            fetch.start()
            while fetch.is_alive():
                with socket.socket(socket.AF_UNIX) as client:
                    client.settimeout(20)
                    until(lambda: connected(client, path), "connection to the program's server")
                    for k in range(20):
                        message = f"message {rounds} {k} ".encode() * 5
                        client.sendall(message)
                        got = b""
                        while len(got) < len(message):
                            part = client.recv(4096)
                            assert part, f"the program's server hung up; status {app.process.poll()}"
                            got += part
                        equal(got, message, "echo of the program's own server")
                        rounds += 1
            fetch.join()
            equal(box[0].status, 200, "status of the profile")
            lib.decoded(box[0].body)
            served += 1
            equal(app.process.poll(), None, "the program's status while it should run")
        note(f"{rounds} echoes while {served} profiles were taken")
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(path)
            client.sendall(b"end")
        equal(app.process.wait(20), 0, "status: 10-12 file bytes, 13-17 descriptor numbers")


@parallel
@limit(120)
def test_program_that_reuses_all_descriptors_keeps_its_bytes():
    reuses_all(4)


def connected(client, path):
    try:
        client.connect(path)
        return True
    except (ConnectionRefusedError, BlockingIOError):
        return False


# ---------------------------------------------------------------- exit

WAYS = ("return", "exit", "_exit", "quick_exit", "abort", "kill", "segv", "main_first", "main_first_two", "main_last",
        "main_alone", "thread_exits", "return_beside_thread", "exec")


def ways_equal(times):
    for way in WAYS:
        plain = subprocess.run([program("exit_ways"), way], env=environment(), capture_output=True, timeout=30)
        for _ in range(times):
            under = subprocess.run([program("exit_ways"), way], env=environment(None, agent(), addr="127.0.0.1:0"),
                                   capture_output=True, timeout=30)
            equal((under.returncode, under.stdout, under.stderr), (plain.returncode, plain.stdout, plain.stderr), f"exit by {way}")


@parallel
@limit(120)
def test_ways_to_exit():
    ways_equal(5)


@long
@limit(1800)
def test_ways_to_exit_many_times():
    ways_equal(300)


@parallel
@limit(120)
def test_exit_during_a_profile():
    """The program ends while somebody profiles it: at once, with its own status and output."""
    for way in ("main_first", "return_beside_thread", "_exit", "abort"):
        plain = subprocess.run([program("exit_ways"), way], env=environment(), capture_output=True, timeout=30)
        with App(program("exit_ways"), way, wait=False) as app:
            # main may be over before the port is known: then there is nobody to ask
            with contextlib.suppress(AssertionError, OSError):
                app.wait_listening(5)
                client = socket.create_connection(app.where, timeout=5)
                client.sendall(b"GET /debug/pprof/profile?seconds=30 HTTP/1.1\r\nHost: localhost\r\n\r\n")
            got = app.finish(20)
            equal(got, (plain.returncode, plain.stdout, plain.stderr), f"exit by {way} during a profile")


# ---------------------------------------------------------------- programs that others rely on

def repeated(name, argv, times, stdin=None, env=None):
    """Output and status equal to plain, each time."""
    plain = subprocess.run(argv, env=environment(env), input=stdin, capture_output=True, timeout=60)
    for n in range(times):
        under = subprocess.run(argv, env=environment(env, agent(), addr="127.0.0.1:0"), input=stdin, capture_output=True, timeout=60)
        equal((under.returncode, under.stdout, under.stderr), (plain.returncode, plain.stdout, plain.stderr), f"{name}, run {n + 1}")


def env_equal(times):
    """env prints its environment: equal but for the variables that were added."""
    added = {"LD_PRELOAD", "PPROF_ADDR"}
    plain = sorted(subprocess.run(["env", "-0"], env=environment(), capture_output=True, check=True).stdout.split(b"\0"))
    for n in range(times):
        done = subprocess.run(["env", "-0"], env=environment(None, agent(), addr="127.0.0.1:0"), capture_output=True, timeout=60)
        equal((done.returncode, done.stderr), (0, b""), f"env, run {n + 1}")
        kept = sorted(v for v in done.stdout.split(b"\0") if v.split(b"=")[0].decode() not in added)
        equal(kept, plain, f"env, run {n + 1}")


SHELL = "x=$(ls /nonexistent 2>&1; true); echo \"$x\"; for i in 1 2 3; do echo $i | cat; done; (exit 7); echo $?; exit 5"


def commands():
    make = scratch() / "Makefile"
    make.write_text("all: a b\nb: a\na b:\n\t@echo making $@\n\t@sh -c 'echo by shell'\nbad: all\n\t@false\n")
    repository = scratch()
    git = needs("git")
    quiet = {"GIT_CONFIG_GLOBAL": "/dev/null", "GIT_AUTHOR_DATE": "2020-01-01T00:00:00Z", "HOME": str(repository)}
    for argv in (["init", "-q"], ["-c", "user.name=a", "-c", "user.email=a@b", "commit", "-q", "--allow-empty", "-m", "one"]):
        subprocess.run([git, "-C", repository, *argv], env=environment(quiet), check=True)
    return (
        ("dash", [needs("dash"), "-c", SHELL], None),
        ("bash", [needs("bash"), "-c", SHELL + " <(echo x)"], None),
        ("perl", [needs("perl"), "-e", '$|=1; print "a\\n"; print `echo b`; fork || exit 3; wait; print $? >> 8, "\\n"; exit 4'], None),
        ("git", [git, "-C", str(repository), "status", "--short", "--branch"], quiet),
        ("git log", [git, "-C", str(repository), "log", "--format=%s %ad"], quiet),
        ("make", [needs("make"), "-s", "-j2", "-O", "-f", str(make), "bad"], None),
    )


def all_equal(times):
    env_equal(times)
    for name, argv, env in commands():
        repeated(name, argv, times, env=env)


@parallel
@limit(300)
def test_env_shells_perl_git_make():
    all_equal(100)


@long
@limit(3600)
def test_env_shells_perl_git_make_1000_times():
    all_equal(1000)


@parallel
def test_malformed_settings_never_change_the_program():
    """A bad address or value costs one line on stderr; output and status stay."""
    for settings in ({"addr": "nonsense"}, {"addr": "127.0.0.1:99999"}, {"addr": "127.0.0.1:0", "cpuprofilerate": "fast"}, {"addr": "unix:"}):
        done = subprocess.run([program("exit_ways"), "return"], env=environment(None, agent(), **settings), capture_output=True, timeout=30)
        plain = subprocess.run([program("exit_ways"), "return"], env=environment(), capture_output=True, timeout=30)
        equal((done.returncode, done.stdout), (plain.returncode, plain.stdout), f"program with {settings}")
        lines = done.stderr.decode().splitlines()
        equal(len(lines), 1, f"lines on stderr with {settings}: {lines}")
        assert "pprof" in lines[0], lines


# ---------------------------------------------------------------- privileges and limits

@parallel
def test_setuid_program():
    """The loader drops the preload of a privileged program, or the agent stands aside in it."""
    if os.getuid() != 0:
        skip_root()
    directory = scratch()
    directory.chmod(0o755)
    copy = directory / "id"
    shutil.copy(needs("id"), copy)
    copy.chmod(0o4755)
    library = directory / "libpprofagent.so"
    shutil.copy(agent(), library)
    library.chmod(0o755)
    runs = [subprocess.run([copy], env=environment(None, preload, addr="127.0.0.1:0"), capture_output=True, user=65534, group=65534, extra_groups=[], timeout=30)
            for preload in (None, library)]
    equal((runs[1].returncode, runs[1].stdout, runs[1].stderr), (runs[0].returncode, runs[0].stdout, runs[0].stderr), "setuid id")
    assert b"euid=0" in runs[0].stdout, runs[0].stdout


def skip_root():
    lib.skip("needs root to make a setuid program")


LIMITS = (
    ("4 descriptors", resource.RLIMIT_NOFILE, 4, None),
    ("5 descriptors", resource.RLIMIT_NOFILE, 5, None),
    ("no more threads", resource.RLIMIT_NPROC, 0, 65534),
    ("64 MiB of addresses", resource.RLIMIT_AS, 64 << 20, None),
    ("16 MiB of addresses", resource.RLIMIT_AS, 16 << 20, None),
    ("no pending signals", resource.RLIMIT_SIGPENDING, 0, 65534),
    ("no locked memory", resource.RLIMIT_MEMLOCK, 0, 65534),
    ("64 KiB of stack", resource.RLIMIT_STACK, 64 << 10, None),
)


@parallel
def test_small_limits():
    """Under each limit the program does what it does without the agent."""
    directory = scratch()
    directory.chmod(0o755)
    library, binary = directory / "libpprofagent.so", directory / "exit_ways"
    shutil.copy(agent(), library)
    shutil.copy(program("exit_ways"), binary)
    for what, which, value, user in LIMITS:
        if user is not None and os.getuid() != 0:
            continue  # root is above these limits, another user needs no other id, but may not take one
        results = []
        for preload in (None, library):
            done = subprocess.run([binary, "return"], env=environment(None, preload, addr="127.0.0.1:0"), capture_output=True, timeout=30, user=user,
                                  preexec_fn=lambda: resource.setrlimit(which, (value, value)))
            results.append((done.returncode, done.stdout, [l for l in done.stderr.splitlines() if b"pprof" not in l]))
        equal(results[1], results[0], f"with {what}")


@parallel
def test_agent_thread_is_quiet_when_idle():
    """Nobody asks: the agent burns no CPU and holds no timer."""
    with App(program("idle"), stdin=subprocess.PIPE) as app:
        equal(app.line(), "ready")
        until(app.answers, "the agent answers")
        equal(app.cpu_timers(), 0, "timers")
        task = lib.agent_task(app.pid)

        def switches():
            text = (task / "status").read_text()
            return int(text.split("\nvoluntary_ctxt_switches:")[1].split()[0])

        until(lambda: (task / "stat").read_text().rsplit(")", 1)[1].split()[0] == "S", "the agent sleeps")
        before = switches()
        time.sleep(3)  # the time over which it is counted
        assert switches() - before <= 3, f"the idle agent woke {switches() - before} times in 3 s"


@parallel
def test_signals_of_the_process_never_end_in_the_agent_thread():
    with App(program("spin")) as app:
        equal(app.line(), "ready")
        tids = {t: pathlib.Path(f"/proc/{app.pid}/task/{t}/status").read_text() for t in os.listdir(f"/proc/{app.pid}/task")}
        status = [text for text in tids.values() if text.startswith("Name:\tpprof-agent\n")]
        equal(len(status), 1, "threads named pprof-agent")
        blocked = int(status[0].split("\nSigBlk:\t")[1].split()[0], 16)
        # everything but SIGKILL, SIGSTOP and the two that glibc keeps for itself
        equal(blocked, (1 << 64) - 1 & ~sum(1 << (s - 1) for s in (9, 19, 32, 33)), "signals blocked in the agent thread")
