# SPDX-License-Identifier: Apache-2.0
"""The runner of these tests: what it counts, what it kills, what it says."""
import os
import signal
import subprocess
import sys
import time

from lib import TOP, equal, parallel, scratch, until

RUN = TOP / "tests/integration/run.py"


def suite(text, *options, preexec=None, **variables):
    top = scratch()
    (top / "test_some.py").write_text(text)
    done = subprocess.run([sys.executable, RUN, "--name", "some", *options, top], text=True, capture_output=True,
                          env={**os.environ, **variables}, preexec_fn=preexec)
    return done.returncode, done.stdout


@parallel
def test_counts_each_outcome():
    status, out = suite("import lib, os\n"
                        "def test_good(): lib.note('figure 7')\n"
                        "def test_bad(): assert 1 == 2, 'said why'\n"
                        "def test_skipped(): lib.skip('no moon')\n"
                        "def test_dies(): os.kill(os.getpid(), 9)\n"
                        "def test_exits(): raise SystemExit(0)\n"
                        "@lib.long\ndef test_later(): pass\n"
                        "def helper(): raise 1\n")
    equal(status, 1, "status")
    equal(out.splitlines()[-1], "some: 1 passed, 3 failed, 1 skipped", "last line")
    for want in ("ok - test_some.test_good", "# figure 7", "not ok - test_some.test_bad", "said why",
                 "skipped: test_some.test_skipped: no moon", "failed: test_some.test_dies"):
        assert want in out, f"{want!r} is missing in {out}"
    assert "later" not in out and "helper" not in out, out


@parallel
def test_all_good_and_long_and_words():
    text = "import lib\n@lib.parallel\ndef test_a(): pass\n@lib.long\ndef test_b(): pass\n"
    equal(suite(text)[0], 0, "status")
    assert suite(text, "--long")[1].endswith("some: 2 passed, 0 failed, 0 skipped\n")
    assert suite(text, "--long", "-k", "test_b")[1].endswith("some: 1 passed, 0 failed, 0 skipped\n")
    equal(suite("x = 1\n")[0], 1, "status of a suite without tests")
    equal(suite("import lib\nlib.nothing\ndef test_a(): pass\n")[0], 1, "status of a file that cannot be imported")


@parallel
def test_limit_stops_the_test_and_what_it_started():
    top = scratch()
    begin = time.monotonic()
    status, out = suite("import lib\n@lib.limit(2)\ndef test_slow():\n"
                        f"    p = lib.background(['sleep', '1000'])\n    open({str(top / 'pid')!r}, 'w').write(str(p.pid))\n    p.wait()\n")
    equal(status, 1, "status")
    assert "took more than 2 s" in out, out
    assert time.monotonic() - begin < 30
    pid = int((top / "pid").read_text())
    until(lambda: not alive(pid), "the helper program is gone")


@parallel
def test_nothing_survives_a_test():
    """Daemons in sessions of their own too, however the test ends."""
    top = scratch()
    daemon = ("import os, time\nif os.fork() == 0:\n    os.setsid()\n    if os.fork() == 0:\n"
              "        open({0!r} + '/%d' % os.getpid(), 'w')\n        time.sleep(1000)\n    os._exit(0)\n")
    ways = {"returns": "pass", "fails": "assert 0", "dies": "os.kill(os.getpid(), 9)", "hangs": "time.sleep(1000)"}
    body = "import lib, os, subprocess, sys, time\n"
    for way, end in ways.items():
        place = top / way
        place.mkdir()
        # the one that hangs has its daemon by then
        body += (f"@lib.limit({8 if way == 'hangs' else 60})\ndef test_{way}():\n    subprocess.run([sys.executable, '-c', {daemon.format(str(place))!r}])\n"
                 f"    lib.until(lambda: os.listdir({str(place)!r}), 'the daemon')\n    {end}\n")
    equal(suite(body)[1].splitlines()[-1], "some: 1 passed, 3 failed, 0 skipped", "outcome")
    for way in ways:
        pids = [int(name) for name in os.listdir(top / way)]
        equal(len(pids), 1, f"daemons of the test that {way}")
        assert not alive(pids[0]), f"the daemon of the test that {way} lives on"


@parallel
def test_nothing_is_left_in_the_temporary_directory():
    """Nor by what a test started and killed; and each test has the directory for itself."""
    top = scratch()
    equal(suite("import lib, os, subprocess, tempfile\n"
                "def leave():\n"
                "    assert os.listdir(tempfile.gettempdir()) == [], 'not mine alone'\n"
                "    subprocess.run(['mktemp', '-d'], check=True, stdout=subprocess.DEVNULL)\n"
                "    open(tempfile.gettempdir() + '/file', 'w').close()\n"
                "def test_returns(): leave()\n"
                "def test_returns_too(): leave()\n"
                "@lib.parallel\ndef test_beside(): leave()\n"
                "def test_dies():\n    leave()\n    os.kill(os.getpid(), 9)\n", TMPDIR=str(top))[1].splitlines()[-1],
          "some: 3 passed, 1 failed, 0 skipped", "outcome")
    equal(os.listdir(top), [], "files left behind")


@parallel
def test_background_jobs_test_the_same():
    """A shell starts those with interrupts ignored, nohup with hang-ups: programs under test must not inherit it."""
    def ignore():
        for number in (signal.SIGINT, signal.SIGHUP, signal.SIGQUIT):
            signal.signal(number, signal.SIG_IGN)
    status, out = suite("import lib, signal\ndef test_a():\n    for number in (signal.SIGINT, signal.SIGHUP, signal.SIGQUIT):\n"
                        "        p = lib.background(['sleep', '100'])\n        p.send_signal(number)\n"
                        "        lib.equal(p.wait(20), -number)\n", preexec=ignore)
    equal(status, 0, out)


@parallel
def test_waiting_tests_overlap_and_others_never():
    """Each test notes when it ran: 2 that wait and 2 of 2 jobs met; one without a mark met nobody."""
    top = scratch()
    meet = (f"def meet(n):\n    open({str(top)!r} + '/%d' % os.getpid(), 'w').close()\n"
            f"    lib.until(lambda: len(os.listdir({str(top)!r})) >= n, 'the others')\n")
    text = "import lib, os\n" + meet
    text += "".join(f"@lib.waits\ndef test_waits{i}(): meet(4)\n" for i in range(2))
    text += "".join(f"@lib.parallel\ndef test_parallel{i}(): meet(4)\n" for i in range(2))
    text += "".join(f"def test_alone{i}(): meet({5 + i}); assert len(os.listdir({str(top)!r})) == {5 + i}\n" for i in range(2))
    out = suite(text, "--jobs", "2")[1]
    equal(out.splitlines()[-1], "some: 6 passed, 0 failed, 0 skipped", out)


def alive(pid):
    try:
        with open(f"/proc/{pid}/stat", encoding="ascii") as stat:
            return stat.read().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False
