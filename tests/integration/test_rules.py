# SPDX-License-Identifier: Apache-2.0
"""Rules that each have a mutant (tests/mutants) and that no other test would miss."""
import contextlib
import errno
import os
import pathlib
import re
import shutil
import subprocess
import time

import lib
from lib import App, agent, environment, equal, library, limit, needs, note, parallel, program, scratch, until
from kernels import refusing
from stacks import View


def no_harm(what, says):
    """`keeps WHAT` works for 3 s under a profile with a thousand samples a second, and says so."""
    with App(program("keeps"), what, "3") as app:
        samples = app.profile("profile", seconds=1, hz=1000).total("samples")
        equal(app.finish(), (0, says, b""), "end")
        assert samples > 10, f"{samples} samples"


@parallel
@limit(60)
def test_blocks_of_the_start():
    """dlsym of another preload allocates: those blocks are kept apart and known for ever (hazard A3)."""
    done = subprocess.run([program("keeps"), "errno", "0.1"], env=environment(None, f"{library('allocates')} {agent()}", addr="127.0.0.1:0"),
                          capture_output=True, timeout=30)
    equal((done.returncode, done.stdout, done.stderr), (0, b"all given back\nmany rounds, 0 changed\n", b""), "end")


@parallel
def test_table_of_functions_is_read_only():
    """Who can write to it takes the program over (hazard A5)."""
    nm = needs("nm")
    lines = subprocess.run([nm, agent()], check=True, capture_output=True, text=True).stdout.splitlines()
    (offset,) = (int(line.split()[0], 16) for line in lines if line.split()[-1] == "real")
    with App(program("spin")) as app:
        app.line()
        maps = [line.split() for line in pathlib.Path(f"/proc/{app.pid}/maps").read_text().splitlines() if line.endswith("/libpprofagent.so")]
        base = min(int(words[0].split("-")[0], 16) for words in maps)
        rights = [words[1] for words in maps if int(words[0].split("-")[0], 16) <= base + offset < int(words[0].split("-")[1], 16)]
        equal(rights, ["r--p"], "rights of the page of the table")


@parallel
def test_errno_under_a_profile():
    """A handler that changed errno would do so a thousand times a second (hazard B1)."""
    no_harm("errno", b"many rounds, 0 changed\n")


@parallel
def test_failed_realloc_keeps_the_sample():
    """The block is in use as before (hazard B9)."""
    with App(program("keeps"), "realloc", stdin=subprocess.PIPE, memprofilerate=1) as app:
        equal(app.line(), "failed")
        view = View(app.profile("heap"))
        equal((view.below("keep_block", "inuse_objects"), view.below("keep_block", "inuse_space")), (1, 1 << 20), "block whose realloc failed")
        equal(app.finish()[0], 0, "status")


@parallel
@limit(60)
def test_threads_that_could_not_begin():
    """They do not count: the last thread is the last one, and ends the process (hazards B12, G2)."""
    with App(program("keeps"), "refused") as app:
        equal(app.finish(30), (0, b"last\n", b""), "end")


@parallel
@limit(60)
def test_children_that_only_exec():
    """Neither such a child nor what it becomes gets a thread of ours (hazard D5)."""
    strace = needs("strace")
    directory = scratch()
    done = subprocess.run([strace, "-f", "-e", "trace=clone,clone3", "-o", directory / "calls", "env", f"LD_PRELOAD={agent()}",
                           f"PPROF_ADDR=unix:{directory}/socket", program("keeps"), "execs", "/bin/true"], env=environment(), capture_output=True, timeout=60)
    equal((done.returncode, done.stdout), (0, b""), f"end of it ({done.stderr})")
    calls = (directory / "calls").read_text().splitlines()
    equal(sum("CLONE_THREAD" in line and "resumed" not in line for line in calls), 1, "threads")
    assert sum("SIGCHLD" in line and "clone" in line for line in calls) >= 20, f"children: {calls}"


@parallel
def test_handler_stays():
    """Without it a signal that is late would kill the process (hazard E2)."""
    with App(program("spin")) as app:
        app.line()
        for _ in range(2):
            app.profile(seconds=1)

            def agent_is_done():
                # the agent gives the signal back, if it does, some time behind the profile
                return "cpu_period_ns=0" in app.get("agent").text
            until(agent_is_done, "the end of the profile")
            caught = int(re.search(r"SigCgt:\t(\w+)", pathlib.Path(f"/proc/{app.pid}/status").read_text())[1], 16)
            assert caught >> 26 & 1, f"signals that are caught: {caught:x}"


@parallel
def test_small_stacks():
    """A stack with no room for a handler, and an alternate one for handlers, as Go's (hazard C2)."""
    no_harm("small", b"whole\n")


@parallel
def test_no_destructor():
    """Hooks run until the last instruction (hazard I1). One destructor is the compiler's own."""
    text = subprocess.run([needs("readelf"), "-dW", agent()], check=True, capture_output=True, text=True).stdout
    equal(re.search(r"FINI_ARRAYSZ\)\s+(\d+)", text)[1], "8", "bytes of the table of destructors")


TRUSTED = """set -e
mount -t tmpfs -o size=64m tmpfs {at}/over
mkdir {at}/over/upper {at}/over/work
mount -t overlay -o lowerdir=/usr/lib,upperdir={at}/over/upper,workdir={at}/over/work overlay /usr/lib
cp {agent} /usr/lib/libpprofagent.so
chmod 4755 /usr/lib/libpprofagent.so
exec setpriv --reuid 65534 --regid 65534 --clear-groups env LD_PRELOAD=libpprofagent.so PPROF_ADDR=127.0.0.1:0 PPROF_PORT_FILE={at}/open/port \
PPROF_OUTPUT={at}/open {at}/cat /proc/self/maps /proc/self/status
"""


@parallel
@limit(60)
def test_setuid_program_in_a_trusted_directory():
    """The one way into a privileged program: by a name without slash, from a directory of the system, with a setuid bit of
    its own. There it does nothing (hazard A13). In a mount namespace: the system's own directories stay as they are."""
    if os.getuid() != 0:
        lib.skip("needs root to make a setuid program")
    unshare, _, cat = needs("unshare", "setpriv", "cat")
    at = scratch()
    at.chmod(0o755)
    (at / "over").mkdir()
    (at / "open").mkdir()
    (at / "open").chmod(0o777)
    shutil.copy(cat, at / "cat")
    (at / "cat").chmod(0o4755)
    done = subprocess.run([unshare, "--mount", "--propagation", "private", "sh", "-c", TRUSTED.format(at=at, agent=agent())], env=environment(),
                          capture_output=True, text=True, timeout=40)
    if re.search(r"^(unshare|mount):", done.stderr, re.M):
        lib.skip(f"no mount namespace, or no overlay in it, can be had here: {done.stderr.strip()}")
    equal((done.returncode, done.stderr), (0, ""), "end")
    equal(re.search(r"^Uid:\t.*$", done.stdout, re.M)[0], "Uid:\t65534\t0\t0\t0", "users of the program")
    assert "/usr/lib/libpprofagent.so" in done.stdout, f"the loader did not take it: {done.stdout}"
    equal(re.search(r"^Threads:\t(\d+)", done.stdout, re.M)[1], "1", "threads")
    equal(os.listdir(at / "open"), [], "files of the agent")
    assert not pathlib.Path("/usr/lib/libpprofagent.so").exists(), "the machine's own directory was changed"


@parallel
@limit(60)
def test_standard_error_is_silent_from_main_on():
    """What the agent has to say before main is on standard error, what it has to say later is not: descriptor 2 may be a data
    base by then (hazard I2). Its thread, which is begun late here and gets no table of its own, would write to the program's."""
    neither = refusing(("newer", errno.ENOSYS), ("unshare", errno.EPERM))
    with App(program("confined"), "free", wait=False, stdin=subprocess.PIPE, addr="off", output=scratch(), memprofilerate=1, nonsense=1,
             preexec=neither) as app:
        equal(app.line(), "ready")
        for _ in range(2):
            time.sleep(0.5)  # only what lives for a while gets the thread
            app.say("work")
            equal(app.line(), "done 30000", "work")
        until(lambda: len(os.listdir(f"/proc/{app.pid}/task")) == 1, "the agent's thread has ended")
        app.process.stdin.close()
        app.process.stdin = None
        status, _, error = app.finish()
    said = f"pprofagent[{app.pid}]: warning: PPROF_NONSENSE is not a setting of this agent; see docs/options.md\n"
    equal((status, error.decode()), (0, said), "end")


@parallel
@limit(60)
def test_signal_is_blocked_at_the_call_of_fork():
    """The kernel copies a process undisturbed by samples, and neither side keeps anything of it (hazard D3). Linux before 4.19
    begins a copy anew that a signal met, for ever when they come often; newer ones do not, so only the mask itself is seen there."""
    with App(program("fork_mask"), stdin=subprocess.PIPE, wait=False) as app:
        try:
            equal(app.line(), "ready")
        except AssertionError:
            if app.process.wait(10) == 77:
                lib.skip("no seccomp filter is allowed here")
            raise
        app.wait_listening()
        app.say("")
        equal(app.line(), "000", "SIGPROF blocked at the call, in the parent, in the child, without a profile")
        with contextlib.closing(app.connect()) as connection:
            connection.request("GET", app._target("profile", {"seconds": 30}))
            until(lambda: app.cpu_timers() > 0, "the profile's timers")
            for _ in range(20):
                app.say("")
                equal(app.line(), "100", "SIGPROF blocked at the call, in the parent, in the child, under a profile")


@parallel
@limit(90)
def test_clone_with_the_state_of_another_is_not_sampled():
    """A handler in it would write to its creator's state, whose own samples go missing then (hazard C8). What it used is charged,
    without a stack; each block that the creator allocates beside it is counted, exactly."""
    with App(program("clone_beside"), stdin=subprocess.PIPE, memprofilerate=1) as app:
        equal(app.line(), "ready")
        app.say("")
        view = View(app.profile("profile", seconds=3, hz=1000))
        app.say("")
        count = int(app.line())
        heap = View(app.profile("allocs"))
    note(f"{count} blocks; samples: {view.flat('samples').most_common(3)}")
    equal((view.below("beside_clone", "samples"), view.flat("samples")["[after last tick]"] > 10), (0, True), "samples of the clone, and what it used")
    equal(heap.below("beside_main", "alloc_objects"), count, "blocks that the heap profile counts")


@parallel
@limit(90)
def test_threads_that_nobody_could_count():
    """Of 3,000 threads at once most have no record, because there is no memory for one. When all of them have ended, main lives:
    the agent does not take it for a zombie and itself for the last (hazard G2)."""
    with App(program("crowd"), 3000, stdin=subprocess.PIPE, max_mem=1 << 20) as app:
        try:
            equal(app.line(), "ready")
        except AssertionError:
            if app.process.poll() == 77:
                lib.skip("3,000 threads are not allowed here")
            raise
        text = app.get("agent").text
        assert int(re.search(r"^threads_full\s+(\d+)", text, re.M)[1]) > 0, "there was memory for all"
        # the agent looks every second
        for _ in range(30):
            time.sleep(0.1)
            equal(app.process.poll(), None, "status of the program while main waits")
            app.get("agent")
        app.say("")
        equal(app.finish()[0], 7, "status")


@parallel
@limit(90)
def test_threads_of_libc_outlive_main():
    """The process ends with a thread that nobody counted, as without the agent: its exit handlers run, with its own descriptors (hazard G2)."""
    plain, under = lib.plain_and_under([program("outlived")], addr="127.0.0.1:0")
    equal((plain, under), ((0, b"atexit\nunflushed", b""),) * 2, "end without and with the agent")
