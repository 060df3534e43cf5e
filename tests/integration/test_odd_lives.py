# SPDX-License-Identifier: Apache-2.0
"""What programs may do and profilers stumble over, each run alone and under the agent: the same output,
the same end. Most run under a CPU profile at the highest rate, with every allocation and lock recorded."""
import os
import pathlib
import re
import shutil
import signal
import subprocess
import sys
import threading

import lib
from lib import App, agent, environment, equal, library, limit, needs, note, parallel, plain_and_under, program, scratch

STORM = dict(memprofilerate=1, blockprofilerate=1, mutexprofilefraction=1)


def same_in_a_storm(*argv, must=b"", env=None):
    """Runs the command plain, then under the agent with a CPU profile at 1000 Hz from its first moment to
    its end. Output and end are the same; `must` is in it. Returns the number of profiles that were taken."""
    plain = subprocess.run(argv, env=environment(env), capture_output=True, stdin=subprocess.DEVNULL, timeout=60)
    assert must in plain.stdout + plain.stderr, f"the plain run says {plain.stdout!r} {plain.stderr!r}"
    taken = 0
    with App(*argv, env=env, **STORM) as app:
        done = threading.Event()

        def take():
            nonlocal taken
            while not done.is_set():
                try:
                    taken += app.get("profile", seconds=1, hz=1000, timeout=30).status == 200
                    app.get("heap", timeout=30)
                except OSError:
                    return
        taker = threading.Thread(target=take)
        taker.start()
        under = app.finish(110)
        done.set()
        taker.join()
    equal(under, (plain.returncode, plain.stdout, plain.stderr), f"end of {argv} under the agent")
    return taken


@parallel
def test_stack_overflow_is_the_programs_own():
    same_in_a_storm(program("odd_lives"), "overflow", must=b"stack overflow 4: signal 11")


@parallel
def test_keys_all_taken():
    same_in_a_storm(program("odd_lives"), "keys", must=b"1600 threads, 0 broken")


@parallel
def test_keys_all_taken_before_the_agent_starts():
    """Without a key the end of threads is noticed later; nothing else differs, and profiles are taken."""
    preload = f"{agent()} {library('early')}"
    env = environment({"EARLY_KEYS": "1"}, preload, addr="127.0.0.1:0", **STORM)
    done = subprocess.run([program("last_words")], env=env, capture_output=True, timeout=60)
    plain = subprocess.run([program("last_words")], env=environment(), capture_output=True, timeout=60)
    # no key is left for the program either: it says so by its status
    equal((plain.returncode, done.returncode, done.stdout, done.stderr), (0, 1, b"early: done\n", b""), "end")
    with App(program("idle"), env={"EARLY_KEYS": "1"}, preload=preload, stdin=subprocess.PIPE, **STORM) as app:
        equal(app.line(), "early: done")
        assert app.profile("heap").samples, "no allocations of the constructor"


@parallel
def test_alternate_stacks():
    """A thread without an alternate signal stack has one of ours: the program never sees it."""
    same_in_a_storm(program("odd_lives"), "altstack", must=b" handled, 0 broken")


@parallel
def test_bounds_are_asked_while_all_is_recorded():
    same_in_a_storm(program("odd_lives"), "bounds", must=b"15000 answers, 0 broken")


@parallel
@limit(240)
def test_children_of_every_kind():
    taken = same_in_a_storm(program("odd_lives"), "spawn", must=b"children: 0 wrong")
    note(f"{taken} profiles")


@parallel
def test_last_words_of_threads():
    same_in_a_storm(program("last_words"), must=b"locals 2400, rounds 14400, broken 0")


@parallel
def test_calls_before_the_constructor():
    """Another library's constructor and IFUNC resolver use everything before ours has run."""
    for first, second in ((agent(), library("early")), (library("early"), agent())):
        with App(program("idle"), preload=f"{first} {second}", stdin=subprocess.PIPE, **STORM) as app:
            equal(app.line(), "early: done")
            equal(app.line(), "ready")
            assert app.profile("heap").samples, "no allocations are in the profile"
            app.say("")
            equal(app.finish(), (0, b"", b""), f"end with {first} {second}")


@parallel
def test_names_that_are_not_ours():
    """The program exports read, open, inflate, log, init ... each of which ends it."""
    plain = lib.background([program("hostile_names")], stdout=subprocess.PIPE)
    equal(plain.stdout.readline(), b"ready\n", "first words of the plain run")
    with App(program("hostile_names")) as app:
        equal(app.line(), "ready")
        for name in ("profile", "heap", "goroutine", "mutex", "threadcreate", "allocs", "block"):
            app.profile(name)
        for name in ("", "agent", "cmdline", "symbol", "trace?seconds=0.1", "heap?debug=1", "goroutine?debug=2"):
            equal(app.get(name).status, 200, f"status of {name}")
        assert app.process.poll() is None, f"the program ended with {app.process.poll()}"


@parallel
def test_under_an_auditor():
    for argv in (["/bin/true"], [program("last_words")]):
        plain, under = plain_and_under(argv, env={"LD_AUDIT": library("audit")})
        equal(under, plain, f"end of {argv} with LD_AUDIT")
        equal(plain[0], 0, "status")


@parallel
def test_loaded_late_and_unloaded():
    """By dlopen instead of a preload: it stays in, and out of the way."""
    argv = [program("odd_lives"), "late", agent()]
    done = subprocess.run(argv, env=environment(addr="127.0.0.1:0"), capture_output=True, timeout=60)
    equal((done.returncode, done.stdout, done.stderr), (0, b"loaded 100 times, 0 broken, still there\n", b""), "end")
    done = subprocess.run(argv, env=environment(None, agent(), addr="127.0.0.1:0"), capture_output=True, timeout=60)
    equal((done.returncode, done.stdout, done.stderr), (0, b"loaded 100 times, 0 broken, still there\n", b""), "end under a preload")


@parallel
def test_who_calls_dlopen_decides_where_it_looks():
    place = scratch()
    (place / "plugins/inner").mkdir(parents=True)
    shutil.copy(program("loads_plugins"), place / "loads_plugins")
    shutil.copy(library("plugin"), place / "plugins/libplugin.so")
    shutil.copy(library("inner"), place / "plugins/inner/libinner_of_plugin.so")
    plain, under = plain_and_under([place / "loads_plugins"])
    equal(under, plain, "what the plug-ins find")
    equal(plain[1].count(b"run: 7"), 2, f"plug-ins that work in {plain[1]}")


def locked_kb(preload):
    process = subprocess.Popen([program("odd_lives"), "locked"], env=environment(None, preload, addr="127.0.0.1:0"),
                               stdin=subprocess.DEVNULL, stdout=subprocess.PIPE)
    try:
        words = process.stdout.readline().split()
        equal(process.stdout.readline(), b"ready\n")
        # the agent's thread may still be about to map what it needs
        status = lambda: int(re.search(r"VmLck:\s+(\d+)", pathlib.Path(f"/proc/{process.pid}/status").read_text())[1])
        return max(int(words[1]), status())
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


@parallel
def test_locked_memory():
    """mlockall makes every page real: the agent's share must be small."""
    if os.geteuid() != 0:
        lib.skip("locking memory needs root here")
    more = locked_kb(agent()) - locked_kb(None)
    note(f"{more} kB more are locked")
    assert 0 < more <= 8192, f"{more} kB"


CRASH = "import faulthandler, ctypes; faulthandler.enable(); print('ready', flush=True)\ni = 0\nwhile i < 3000000: i += 1\nctypes.string_at(0)"


@parallel
def test_crash_reports_are_the_programs_own():
    """A fault under a profile at 1000 Hz: the same report, the same signal."""
    python = needs("python3")
    plain = subprocess.run([python, "-c", CRASH], env=environment(), capture_output=True, stdin=subprocess.DEVNULL, timeout=60)
    equal(plain.returncode, -signal.SIGSEGV, "end of the plain run")
    assert b"Fatal Python error: Segmentation fault" in plain.stderr, plain.stderr
    with App(python, "-c", CRASH) as app:
        equal(app.line(), "ready")
        with lib.contextlib.suppress(OSError, lib.http.client.HTTPException):
            app.get("profile", seconds=30, hz=1000)
        status, out, err = app.finish()
    same = lambda text: re.sub(rb"0x[0-9a-f]+", b"0x", text)
    equal((status, out, same(err)), (plain.returncode, b"", same(plain.stderr)), "end under the agent")


@parallel
def test_unshare_where_another_program_is_meant():
    """One more thread makes unshare(CLONE_NEWUSER) fail: PPROF_EXE keeps the agent's out."""
    unshare = needs("unshare")
    plain = subprocess.run([unshare, "-U", "/bin/true"], env=environment(), capture_output=True, timeout=30)
    if plain.returncode != 0:
        lib.skip(f"this machine allows no user namespaces: {plain.stderr.decode().strip()}")
    for settings in ({"exe": "myapp"}, {}):
        done = subprocess.run([unshare, "-U", "/bin/true"], env=environment(None, agent(), addr="127.0.0.1:0", **settings),
                              capture_output=True, timeout=30)
        equal((done.returncode, done.stdout, done.stderr), (0, b"", b""), f"unshare with {settings}")


@parallel
def test_programs_of_another_libc():
    """They inherit the preload: they must start, and print what they print."""
    compiler = needs("musl-gcc")
    place = scratch()
    (place / "hello.c").write_text('#include <stdio.h>\n#include <stdlib.h>\n#include <pthread.h>\n'
                                   'static void *work(void *p) { free(malloc(100)); return p; }\n'
                                   'int main(void) { pthread_t t; if (pthread_create(&t, 0, work, 0)) return 1;\n'
                                   'pthread_join(t, 0); puts("hello"); return 0; }\n')
    subprocess.run([compiler, "-O", "-o", place / "hello", place / "hello.c"], check=True, timeout=60)
    plain, under = plain_and_under([place / "hello"])
    equal(plain, (0, b"hello\n", b""), "plain")
    equal(under[:2], plain[:2], "under the agent")
    note("stderr:", under[2].decode().strip() or "nothing")


THREADS = """
#include <mutex>
#include <thread>
#include <vector>
#include <cstdio>
static std::mutex lock;
static long sum;
int main()
{
	for (int round = 0; round < 50; round++) {
		std::vector<std::thread> all;
		for (int i = 0; i < 8; i++)
			all.emplace_back([i] {
				for (int k = 0; k < 100; k++) {
					std::vector<int> some(static_cast<size_t>(k + 1), i);
					std::lock_guard<std::mutex> guard(lock);
					sum += some.back();
				}
			});
		for (auto &one : all)
			one.join();
	}
	printf("sum %ld\\n", sum);
	return 0;
}
"""


@parallel
@limit(240)
def test_sanitizers_runtimes():
    """Programs built with a sanitizer, whose runtime wraps what we wrap: no report, the same end. The
    address sanitizer wants to be the first library, as it would with any preload."""
    place = scratch()
    (place / "threads.cc").write_text(THREADS)
    for kind in ("thread", "undefined", "address"):
        binary = place / kind
        built = subprocess.run([os.environ.get("CXX", "g++"), f"-fsanitize={kind}", "-g", "-O1", "-o", binary, place / "threads.cc"],
                               capture_output=True, timeout=120)
        if built.returncode != 0:
            lib.skip(f"the compiler has no {kind} sanitizer: {built.stderr.decode()[:200]}")
        env = {}
        preload = agent()
        if kind == "address":
            runtime = subprocess.run([os.environ.get("CXX", "g++"), "-print-file-name=libasan.so"], capture_output=True, text=True)
            preload = f"{runtime.stdout.strip()} {preload}"
            env = {"ASAN_OPTIONS": "detect_leaks=0"}
        plain = subprocess.run([binary], env=environment(env), capture_output=True, timeout=60)
        equal(plain, plain if plain.returncode == 0 else None, f"the plain run with the {kind} sanitizer")
        done = subprocess.run([binary], env=environment(env, preload, addr="127.0.0.1:0", **STORM), capture_output=True, timeout=100)
        equal((done.returncode, done.stdout, done.stderr), (0, plain.stdout, plain.stderr), f"end with the {kind} sanitizer")


if __name__ == "__main__":
    sys.exit("run it with tests/integration/run.py")
