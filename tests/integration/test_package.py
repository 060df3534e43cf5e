# SPDX-License-Identifier: Apache-2.0
"""make install, the man pages, the Debian package and the source archive: made, used and removed."""
import os
import pathlib
import re
import shutil
import subprocess
import tarfile

from lib import App, BUILD, TOP, environment, equal, limit, long, needs, parallel, program, scratch

LIB = "libpprofagent.so"


def make(*words, cwd=TOP, seconds=110, build=BUILD):
    """make, as a person would call it: nothing of the make that runs the tests comes through."""
    env = {k: v for k, v in environment().items() if not k.startswith("MAKE") and k != "MFLAGS"}
    done = subprocess.run(["make", f"BUILD={build}", f"CC={os.environ.get('CC', 'cc')}", *words], cwd=cwd, env=env, capture_output=True,
                          text=True, timeout=seconds)
    equal(done.returncode, 0, f"status of make {' '.join(words)}: {done.stdout[-2000:]}{done.stderr[-2000:]}")
    return done.stdout


def files(directory):
    return sorted(str(p.relative_to(directory)) for p in directory.rglob("*") if not p.is_dir())


def library_below(root):
    (found,) = root.rglob(LIB)
    return found


def works(library, launcher):
    """The installed library profiles an unmodified program, by LD_PRELOAD with $LIB and by the launcher."""
    with App(program("spin"), preload=str(library)) as app:
        assert app.profile(seconds=1).total("cpu") > 0
    prefix = str(library.parent).removesuffix("/lib/x86_64-linux-gnu")
    if prefix != str(library.parent):
        with App(program("spin"), preload=f"{prefix}/$LIB/{LIB}") as app:
            equal(app.get("").status, 200, "status with $LIB in the path")
    if launcher.exists():
        with App(str(launcher), "--", program("spin"), preload=" ", stderr=subprocess.DEVNULL) as app:
            mapped = pathlib.Path(f"/proc/{app.pid}/maps").read_text()
            assert str(library) in mapped, f"the launcher took another library than {library}"


@parallel
@limit(120)
def test_install_and_uninstall():
    root = scratch()
    make("install", f"DESTDIR={root}", "PREFIX=/usr")
    there = files(root)
    assert "usr/share/man/man1/pprofagent.1" in there and "usr/share/man/man7/libpprofagent.7" in there, there
    assert (TOP / "scripts/pprofagent").exists() == ("usr/bin/pprofagent" in there), there
    works(library_below(root), root / "usr/bin/pprofagent")
    make("uninstall", f"DESTDIR={root}", "PREFIX=/usr")
    equal(files(root), [], "files after uninstall")
    make("install", f"DESTDIR={root}", "PREFIX=/opt/x", "LIBDIR=/opt/x/my libs")
    assert (root / "opt/x/my libs" / LIB).exists(), files(root)
    make("uninstall", f"DESTDIR={root}", "PREFIX=/opt/x", "LIBDIR=/opt/x/my libs")
    equal(files(root), [], "files after uninstall")


@parallel
@limit(60)
def test_man_pages():
    """Both pages have every setting and nothing that mandoc or man complains of."""
    mandoc = needs("mandoc")
    make("man")
    pages = [BUILD / "man/pprofagent.1", BUILD / "man/libpprofagent.7"]
    done = subprocess.run([mandoc, "-T", "lint", *map(str, pages)], capture_output=True, text=True, timeout=30)
    # pages that are not installed here cannot be found
    left = [line for line in done.stdout.splitlines() if "referenced manual not found" not in line]
    equal(left, [], "what mandoc says")
    names = re.findall(r'^OPTION\(\w+,\s*\w+,\s*"(\w+)"', (TOP / "agent/options.def").read_text(), re.M)
    assert len(names) > 20, names
    text = pages[1].read_text()
    equal([n for n in names if f".It Ev PPROF_{n}\n" not in text], [], "settings without an entry")
    text = pages[0].read_text()
    equal([n for n in names if f".It Fl -{n.lower().replace('_', '-')}" not in text], [], "options without an entry")
    if shutil.which("man"):
        for page in pages:
            done = subprocess.run(["man", "--warnings", "-l", str(page)], env=environment({"MANPAGER": "cat", "MANWIDTH": "80"}),
                                  capture_output=True, text=True, timeout=30)
            equal((done.returncode, done.stderr), (0, ""), f"man {page.name}")


@parallel
@limit(120)
def test_debian_package():
    """Built, its fields read, installed by the real dpkg into a root of its own, run from there, removed."""
    dpkg, dpkg_deb = needs("dpkg", "dpkg-deb")
    deb = BUILD / make("deb").splitlines()[-1].rsplit("/", 1)[-1]
    fields = dict(line.split(": ", 1) for line in
                  subprocess.run([dpkg_deb, "-f", deb], capture_output=True, text=True, check=True).stdout.splitlines() if ": " in line)
    equal((fields["Package"], fields["Depends"]), ("pprofagent", "libc6 (>= 2.35)"), "fields")
    first = deb.read_bytes()
    make("deb")
    assert deb.read_bytes() == first, "the same source gives another package"
    root = scratch()
    for directory in ("info", "updates", "triggers"):
        (root / "var/lib/dpkg" / directory).mkdir(parents=True, exist_ok=True)
    for name in ("status", "available"):
        (root / "var/lib/dpkg" / name).write_text("")
    as_root = [dpkg, f"--root={root}", "--force-not-root", "--force-depends", "--force-script-chrootless", f"--log={root}/log"]
    path = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin"}
    subprocess.run([*as_root, "-i", deb], env=environment(path), check=True, capture_output=True, timeout=60)
    status = subprocess.run([*as_root, "-s", "pprofagent"], env=environment(path), check=True, capture_output=True, text=True).stdout
    assert "Status: install ok installed" in status, status
    listed = subprocess.run([*as_root, "-L", "pprofagent"], env=environment(path), check=True, capture_output=True, text=True).stdout.split()
    for name in ("/usr/share/man/man1/pprofagent.1.gz", "/usr/share/doc/pprofagent/copyright", "/usr/share/doc/pprofagent/deploy.md"):
        assert name in listed, listed
    verified = subprocess.run([*as_root, "-V", "pprofagent"], env=environment(path), capture_output=True, text=True).stdout
    equal(verified, "", "files that are not as in the package")
    works(library_below(root), root / "usr/bin/pprofagent")
    subprocess.run([*as_root, "-P", "pprofagent"], env=environment(path), check=True, capture_output=True, timeout=60)
    equal([f for f in files(root / "usr")] if (root / "usr").exists() else [], [], "files after removal")


def extracted_archive():
    if not (TOP / ".git").exists():
        # an archive of the archive's tree cannot be made
        return None
    make("dist")
    (archive,) = BUILD.glob("libpprofagent-*.tar.gz")
    out = scratch()
    with tarfile.open(archive) as tar:
        tar.extractall(out)
    (top,) = out.iterdir()
    return top


@parallel
@limit(60)
def test_archive_holds_all_that_make_needs():
    """Every rule of make finds its files in the archive; make itself is only asked what it would do."""
    top = extracted_archive()
    if top:
        said = make("-n", "all", "man", cwd=top, build=top / "build")
        assert said.count(" -c -o ") > 80, f"{said.count(' -c -o ')} files would be compiled"


@long
@limit(600)
def test_archive_builds():
    top = extracted_archive()
    if top:
        make("-j2", "all", "man", cwd=top, build=top / "build", seconds=580)
        with App(program("spin"), preload=str(top / "build" / LIB)) as app:
            assert app.profile(seconds=1).total("cpu") > 0
