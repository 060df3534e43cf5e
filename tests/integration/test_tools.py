# SPDX-License-Identifier: Apache-2.0
"""`go tool pprof` on a running program: every way of looking that Go's users know."""
import contextlib
import re
import subprocess
import time
import urllib.request

import lib
from lib import App, equal, go_home, go_pprof, limit, note, parallel, program, until


@contextlib.contextmanager
def spinning():
    with App(program("spin"), 1) as app:
        equal(app.line(), "ready")
        yield app


@parallel
@limit(180)
def test_top():
    with spinning() as app:
        begin = time.monotonic()
        done = go_pprof("-top", app.url("profile", seconds=2))
        took = time.monotonic() - begin
        assert "Type: cpu" in done.stdout, done.stdout
        rows = re.findall(r"^ *\S+ +([\d.]+)% +\S+% +\S+ +([\d.]+)% +(\S.*)$", done.stdout, re.M)
        equal(rows[0][2], "spin_hot", "hottest function")
        assert float(rows[0][0]) > 90, rows
        names = [name for _, _, name in rows]
        assert {"spin_outer", "main"} <= set(names), names
        # Duration and total agree with two busy threads at most
        duration, total = re.search(r"Duration: ([\d.]+)s, Total samples = ([\d.]+m?s)", done.stdout).groups()
        assert 2 <= float(duration) < took + 0.01, done.stdout
        note(done.stdout.splitlines()[2] if len(done.stdout.splitlines()) > 2 else total)


@parallel
@limit(180)
def test_default_path_and_saved_file_name():
    """host:port alone asks for /debug/pprof/profile; the file is named after the program as with Go."""
    with spinning() as app:
        home = lib.scratch()
        done = go_pprof("-top", "-seconds", "1", f"127.0.0.1:{app.where[1]}", directory=home)
        assert "spin_hot" in done.stdout
        saved = sorted(p.name for p in (home / "saved").iterdir())
        equal(saved, ["pprof.spin.samples.cpu.001.pb.gz"], "saved file")
        assert str(home / "saved" / saved[0]) in done.stderr, done.stderr
        again = go_pprof("-top", home / "saved" / saved[0], directory=home)
        assert "spin_hot" in again.stdout


@parallel
@limit(180)
def test_raw():
    with spinning() as app:
        out = go_pprof("-raw", app.url("profile", seconds=1)).stdout
        assert "PeriodType: cpu nanoseconds\nPeriod: 10000000\n" in out, out[:300]
        assert "samples/count cpu/nanoseconds" in out, out[:600]
        locations = out.split("Locations\n")[1].split("Mappings\n")[0].splitlines()
        for number, line in enumerate(locations, 1):
            # "     1: 0x401136 M=1 spin_hot ..." : sequential, and none is a bare address
            assert re.match(rf"\s*{number}: 0x[0-9a-f]+ (M=\d+ )?\S", line), line
        mappings = out.split("Mappings\n")[1].strip().splitlines()
        assert mappings[0].startswith("1: 0x") and program("spin") in mappings[0], mappings
        used = set(re.findall(r" M=(\d+) ", "\n".join(locations)))
        for line in mappings:
            number = line.split(":")[0].strip()
            assert number not in used or "[FN]" in line, line


@parallel
@limit(180)
def test_svg():
    lib.needs("dot")
    with spinning() as app:
        out = lib.scratch() / "out.svg"
        go_pprof("-svg", "-output", out, app.url("profile", seconds=1))
        text = out.read_text()
        assert "<svg" in text and "spin_hot" in text


@parallel
@limit(180)
def test_interactive():
    with spinning() as app:
        done = go_pprof(app.url("profile", seconds=1), stdin="top 10\npeek spin_hot\nquit\n")
        assert "Entering interactive mode" in done.stdout + done.stderr, done.stderr
        assert re.search(r"Showing (top \d+ )?nodes accounting for", done.stdout), done.stdout
        assert "spin_hot" in done.stdout and "spin_outer" in done.stdout, done.stdout


@parallel
@limit(180)
def test_http_page():
    lib.needs("dot")
    with spinning() as app:
        go = lib.needs("go")
        port = lib.free_port()
        process = lib.background([go, "tool", "pprof", "-no_browser", f"-http=127.0.0.1:{port}", app.url("profile", seconds=1)],
                                 env=lib.go_environment(), stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        until(lambda: process.poll() is not None or lib.listening_on(port), "pprof's own web server", 60)
        equal(process.poll(), None, "pprof's web server")
        for page, words in (("/ui/", "spin_hot"), ("/ui/top", "spin_outer"), ("/ui/flamegraph", "spin_hot"), ("/ui/peek", "spin_hot")):
            with urllib.request.urlopen(f"http://127.0.0.1:{port}{page}", timeout=30) as answer:
                equal(answer.status, 200, page)
                assert words in answer.read().decode(), page


@parallel
@limit(180)
def test_symbolize_remote():
    """The tool asks the agent for names by POST when it is told to."""
    with spinning() as app:
        done = go_pprof("-symbolize=remote:force", "-top", app.url("profile", seconds=1))
        assert "spin_hot" in done.stdout, done.stdout + done.stderr


@parallel
@parallel
@limit(180)
def test_symbolize_options():
    """Names of C++ are short; the tool shows them in full when it is told to, for the profile has the mangled ones too."""
    lib.needs("go", "g++")
    with App(program("hot_cpp")) as app:
        equal(app.line(), "ready")
        url = app.url("profile", seconds=1)
        short, full = r" planted::Hot::churn$", r" planted::Hot<int>::churn\(unsigned long\)( \[clone .*\])?$"
        for option, want in (("none", short), ("remote", short), ("remote:demangle=full", full),
                             ("remote:force:demangle=full", full)):
            out = go_pprof(f"-symbolize={option}", "-top", url).stdout
            assert re.search(want, out.replace(" (inline)", ""), re.M), (option, out[:1500])


@limit(180)
def test_several_sources_and_differences():
    with spinning() as app:
        url = app.url("profile", seconds=1)
        assert "spin_hot" in go_pprof("-top", url, url).stdout
        saved = lib.scratch() / "base"
        saved.write_bytes(app.get("profile", seconds=1).body)
        longer = lib.scratch() / "longer"
        longer.write_bytes(app.get("profile", seconds=3).body)
        for option in ("-base", "-diff_base"):
            nothing = go_pprof("-top", option, saved, saved).stdout
            assert "accounting for 0" in nothing, nothing
            rest = go_pprof("-top", option, saved, longer).stdout
            assert re.search(r"^ +[1-9]\S*s .* spin_hot$", rest, re.M), rest
            # two profiles fetched at once
            assert "Type: cpu" in go_pprof("-top", option, url, url).stdout, option
        assert go_home().exists()


@parallel
@limit(180)
def test_names_do_not_need_the_binary():
    """Deleted, or replaced by a stripped file: same names."""
    import shutil
    directory = lib.scratch()
    copy = directory / "moved"
    shutil.copy(program("spin"), copy)
    with App(copy) as app:
        equal(app.line(), "ready")
        # The first answer reads the names; another program starts while the file is already gone.
        copy.unlink()
        assert "spin_hot" in go_pprof("-top", app.url("profile", seconds=1)).stdout
        shutil.copy(lib.needs("true"), copy)
        out = go_pprof("-top", app.url("profile", seconds=1)).stdout
        assert "spin_hot" in out and "spin_outer" in out, out
