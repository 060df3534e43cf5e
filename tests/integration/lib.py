# SPDX-License-Identifier: Apache-2.0
"""What the integration tests share: programs under the agent, fetches, the go tool, waits.

Everything is judged from outside: HTTP answers, exit status, output, /proc. Nothing here sleeps as a
proof: until() polls a condition against a deadline. Every profile that profile() returns has passed
pprof_rules.validate(), which shares nothing with our encoder.
"""
import atexit
import contextlib
import functools
import http.client
import os
import pathlib
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time

TOP = pathlib.Path(__file__).resolve().parents[2]
BUILD = pathlib.Path(os.environ.get("BUILD", "build"))
BUILD = BUILD if BUILD.is_absolute() else TOP / BUILD
AGENT = BUILD / "libpprofagent.so"
PREFIX = "/debug/pprof/"
SKIPPED = 77

_started = []  # processes to be stopped at the end, newest last
_directories = []
_claims = []  # of ports, as long as the test lives


# ---------------------------------------------------------------- marks and outcomes

def parallel(function):
    """May run beside others: what it judges depends on no load. Two for each core at a time."""
    return function


def waits(function):
    """The same, and it sleeps most of its time: any number of them costs no core."""
    return function


def long(function):
    """Only in `make check-long`."""
    return function


def limit(seconds):
    """More (or less) than 120 seconds; run.py reads the number from the source."""
    return lambda function: function


def skip(why):
    print(why, flush=True)
    raise SystemExit(SKIPPED)


def note(*words):
    """A line that the runner shows even when the test passes: the figures of a measurement."""
    print("#", *words, flush=True)


def needs(*programs):
    """Paths of programs outside the repository; skips the test when one is absent."""
    paths = []
    for name in programs:
        path = shutil.which(name, path=os.environ.get("PATH", "") + ":/usr/sbin:/sbin")
        if path is None:
            skip(f"{name} is not installed")
        paths.append(path)
    return paths[0] if len(paths) == 1 else paths


def until(condition, what, seconds=10.0, every=0.01):
    """Waits for condition() to return something true and returns that; fails at the deadline."""
    end = time.monotonic() + seconds
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > end:
            raise AssertionError(f"not within {seconds:g} s: {what}")
        time.sleep(every)


def equal(got, want, what=""):
    if got != want:
        raise AssertionError(f"{what or 'value'} is {got!r}, not {want!r}")


# ---------------------------------------------------------------- places and programs

def scratch():
    """A new directory, removed at the end of the test."""
    path = pathlib.Path(tempfile.mkdtemp(prefix="pprof-test-"))
    _directories.append(path)
    return path


def program(name):
    """Path of a program of tests/programs."""
    path = BUILD / "tests/programs" / name
    if not path.exists():
        raise AssertionError(f"{path} is not there: run make programs")
    return str(path)


def library(name):
    """Path of a library of tests/libraries."""
    path = BUILD / "tests/libraries" / f"{name}.so"
    if not path.exists():
        raise AssertionError(f"{path} is not there: run make programs")
    return str(path)


def agent():
    """The library under test. PPROF_TEST_AGENT names another file, for trying the tests themselves."""
    path = pathlib.Path(os.environ.get("PPROF_TEST_AGENT", AGENT))
    if not path.exists():
        raise AssertionError(f"{path} is not there: run make")
    return str(path)


def environment(extra=None, preload=None, **settings):
    """The environment of a plain run, or with preload= of one under the agent. settings: PPROF_ names
    in lower case; None removes. Nothing of the caller's own PPROF_* or LD_* comes through."""
    env = {k: v for k, v in os.environ.items() if not k.startswith(("PPROF_", "LD_"))}
    env["LC_ALL"] = "C"
    env.update(extra or {})
    if preload:
        env["LD_PRELOAD"] = preload
    for name, value in settings.items():
        if value is not None:
            env["PPROF_" + name.upper()] = str(value)
    return env


# ---------------------------------------------------------------- HTTP

class Answer:
    def __init__(self, status, reason, headers, body):
        self.status, self.reason, self.headers, self.body = status, reason, headers, body

    @property
    def text(self):
        return self.body.decode()

    def header(self, name):
        return self.headers.get(name)


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path, timeout):
        super().__init__("localhost", timeout=timeout)
        self.path = path

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self.path)


class Endpoint:
    """Where an agent listens: ("127.0.0.1", port) or the path of a unix socket."""

    def __init__(self, where):
        self.where = where

    @property
    def base(self):
        host, port = self.where
        return f"http://{host}:{port}"

    def url(self, path="", **query):
        return self.base + self._target(path, query)

    @staticmethod
    def _target(path, query):
        target = path if path.startswith("/") else PREFIX + path
        words = "&".join(f"{k}={v}" for k, v in query.items())
        return target + ("?" + words if words else "")

    def connect(self, timeout=30.0):
        if isinstance(self.where, str):
            return _UnixConnection(self.where, timeout)
        return http.client.HTTPConnection(*self.where, timeout=timeout)

    def get(self, path="", method="GET", body=None, headers=None, timeout=None, **query):
        wait = timeout or 30.0 + float(query.get("seconds", 0) if str(query.get("seconds", "0")).replace(".", "").isdigit() else 0)
        connection = self.connect(wait)
        try:
            connection.request(method, self._target(path, query), body=body, headers=headers or {})
            answer = connection.getresponse()
            data = answer.read()
            return Answer(answer.status, answer.reason, answer.headers, data)
        finally:
            connection.close()

    def profile(self, name="profile", **query):
        """A fetched, validated profile. For the CPU profile seconds= is 1 unless given."""
        if name == "profile":
            query.setdefault("seconds", 1)
        answer = self.get(name, **query)
        if answer.status != 200:
            raise AssertionError(f"GET {name}: {answer.status} {answer.body[:300]!r}")
        return decoded(answer.body)

    def answers(self):
        with contextlib.suppress(OSError, http.client.HTTPException):
            return self.get("", timeout=5).status == 200
        return False


def decoded(data, names=True):
    """Bytes of a profile, through the independent decoder and its validator."""
    import pprof_decode
    import pprof_rules
    profile = pprof_decode.Profile.parse(data)
    problems = pprof_rules.validate(profile, names=names)
    assert not problems, "the profile breaks rules of its format: " + "; ".join(problems[:10])
    return profile


# ---------------------------------------------------------------- programs under the agent

class App(Endpoint):
    """A program under the agent. The agent listens on any free port of 127.0.0.1 (or on a unix
    socket with unix=True) before main begins, and says where in its port file."""

    def __init__(self, *argv, env=None, unix=False, preload=None, wait=True, stdin=subprocess.DEVNULL,
                 stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=None, preexec=None, seconds=20,
                 pass_fds=(), **settings):
        self.directory = scratch()
        self.port_file = self.directory / "port"
        settings.setdefault("addr", f"unix:{self.directory}/agent.sock" if unix else "127.0.0.1:0")
        settings.setdefault("port_file", self.port_file)
        self.argv = [str(a) for a in argv]
        self.env = environment(env, preload or agent(), **settings)
        self.process = subprocess.Popen(self.argv, env=self.env, stdin=stdin, stdout=stdout, stderr=stderr,
                                        cwd=cwd, preexec_fn=preexec, pass_fds=pass_fds)
        self.pid = self.process.pid
        _started.append(self)
        super().__init__(None)
        if wait:
            self.wait_listening(seconds)

    def wait_listening(self, seconds=20):
        text = until(lambda: self._read_port() or self.process.poll() is not None and "ended",
                     f"{self.argv[0]} under the agent writes {self.port_file}", seconds)
        if text == "ended":
            raise AssertionError(f"{self.argv} ended with {self.process.returncode} before its agent listened; "
                                 f"stderr: {self.process.stderr.read() if self.process.stderr else '?'}")
        self.where = text if text.startswith("/") else ("127.0.0.1", int(text))
        return self

    def _read_port(self):
        with contextlib.suppress(OSError):
            text = self.port_file.read_text()
            # Whole only with its newline: the file may be read while it is written.
            if text.endswith("\n"):
                return text.strip().removeprefix("unix:")
        return None

    def readable(self, seconds):
        """True when there is output to read within that time."""
        import select
        return bool(select.select([self.process.stdout], [], [], max(0, seconds))[0])

    def line(self, seconds=60):
        """The next line that the program prints."""
        import select
        end = time.monotonic() + seconds
        data = b""
        out = self.process.stdout
        while not data.endswith(b"\n"):
            left = end - time.monotonic()
            if left <= 0 or not select.select([out], [], [], left)[0]:
                raise AssertionError(f"{self.argv} printed no line within {seconds} s (so far {data!r})")
            byte = os.read(out.fileno(), 1)
            if not byte:
                raise AssertionError(f"{self.argv} ended instead of printing a line (so far {data!r}); "
                                     f"status {self.process.wait(10)}")
            data += byte
        return data.decode().rstrip("\n")

    def say(self, text):
        os.write(self.process.stdin.fileno(), (text + "\n").encode())

    def finish(self, seconds=60):
        """Waits for the program's own end. (status, stdout, stderr)"""
        try:
            out, err = self.process.communicate(timeout=seconds)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"{self.argv} did not end within {seconds} s") from None
        return self.process.returncode, out, err

    def stop(self):
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(10)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        for stream in (self.process.stdin, self.process.stdout, self.process.stderr):
            if stream:
                with contextlib.suppress(OSError):
                    stream.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stop()

    def cpu_timers(self):
        """POSIX timers of the process, as the kernel lists them."""
        return pathlib.Path(f"/proc/{self.pid}/timers").read_text().count("ID:")

    def listening(self):
        """Processes' own view of the net: does something listen on our TCP port?"""
        return listening_on(self.where[1])


def agent_task(pid):
    """The directory of the agent's thread in /proc; None: it has none."""
    for task in pathlib.Path(f"/proc/{pid}/task").iterdir():
        with contextlib.suppress(OSError):  # a thread that has ended meanwhile
            if (task / "comm").read_bytes() == b"pprof-agent\n":
                return task
    return None


def listening_on(port):
    want = f":{port:04X}"
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        for line in pathlib.Path(table).read_text().splitlines()[1:]:
            words = line.split()
            if words[1].endswith(want) and words[3] == "0A":
                return True
    return False


def background(argv, **options):
    """A helper program (load, a server without agent); stopped at the end of the test."""
    options.setdefault("stdin", subprocess.DEVNULL)
    options.setdefault("stdout", subprocess.DEVNULL)
    options.setdefault("stderr", subprocess.DEVNULL)
    options.setdefault("env", environment())
    process = subprocess.Popen([str(a) for a in argv], **options)
    _started.append(process)
    return process


def plain_and_under(argv, seconds=60, stdin=None, env=None, **settings):
    """Runs the same command without and with the agent. Two (status, stdout, stderr)."""
    results = []
    settings.setdefault("addr", "127.0.0.1:0")
    for preload in (None, agent()):
        done = subprocess.run([str(a) for a in argv], env=environment(env, preload, **settings), input=stdin,
                              capture_output=True, timeout=seconds)
        results.append((done.returncode, done.stdout, done.stderr))
    return results


def free_port(first=None):
    """A TCP port of 127.0.0.1 that was free a moment ago, below the kernel's own range for ':0', so
    that a stranger's ephemeral socket does not take it in between; nor does a test beside this one."""
    for port in range(first or 20000 + os.getpid() % 9000, 32000):
        claim = socket.socket(socket.AF_UNIX)
        with socket.socket() as probe, contextlib.suppress(OSError):
            claim.bind(f"\0pprof-test-port-{port}")
            probe.bind(("127.0.0.1", port))
            _claims.append(claim)
            return port
        claim.close()
    raise AssertionError("no free port")


def stop_everything():
    """Called by the runner behind every test: stops what it started, removes its directories."""
    while _started:
        one = _started.pop()
        if isinstance(one, App):
            one.stop()
        elif one.poll() is None:
            one.terminate()
            try:
                one.wait(10)
            except subprocess.TimeoutExpired:
                one.kill()
                one.wait()
    while _directories:
        shutil.rmtree(_directories.pop(), ignore_errors=True)


class OutOfTime(BaseException):
    """The runner's SIGTERM at the time limit."""


def _on_sigterm(*_):
    # Raised where the test is, so that the locks of the call that it interrupts are given back.
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    raise OutOfTime()


atexit.register(stop_everything)
signal.signal(signal.SIGTERM, _on_sigterm)


# ---------------------------------------------------------------- the go tool

@functools.lru_cache(None)
def go_home():
    return scratch()


def go_environment(directory=None):
    home = directory or go_home()
    return environment({"HOME": str(home), "GOCACHE": str(home / "cache"), "GOFLAGS": "", "GOTOOLCHAIN": "local",
                        "PPROF_TMPDIR": str(home / "saved"), "PPROF_NO_BROWSER": "1"})


def go_pprof(*args, stdin=None, seconds=120, check=True, directory=None):
    """`go tool pprof args` with a home of its own. Saved profiles are in go_home()/saved."""
    go = needs("go")
    done = subprocess.run([go, "tool", "pprof", *map(str, args)], env=go_environment(directory), text=True,
                          capture_output=True, timeout=seconds, input=stdin if stdin is not None else "")
    if check and done.returncode != 0:
        raise AssertionError(f"go tool pprof {' '.join(map(str, args))}: status {done.returncode}\n{done.stderr}")
    return done


if sys.version_info < (3, 9):
    sys.exit("the tests need Python 3.9 or newer")
