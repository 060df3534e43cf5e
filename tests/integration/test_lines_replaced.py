# SPDX-License-Identifier: Apache-2.0
"""Files that are replaced, removed or in memory only while a program runs them: names and lines are those of what
runs, or they are missing; wrong ones never come."""
import os
import shutil

import lib
from lib import App, equal
from symbolizers import agent_beside
from test_lines import SOURCES, build, check_chain, run, settled

DRIVER = """
#include <dlfcn.h>
#include <stdio.h>
int main(int argc, char **argv)
{
	void *library = dlopen(argv[1], RTLD_NOW);
	int (*work)(void) = library ? (int (*)(void))dlsym(library, "work") : 0;
	if (!work) { puts(dlerror()); return 1; }
	puts("loaded");
	fflush(stdout);
	return work();
}
"""
PLANTED = SOURCES / "planted.c"


def library(directory, *flags, source=PLANTED):
    path = directory / "libplanted.so"
    run("gcc", "-g", "-fPIC", "-shared", "-Dmain=work", *flags, "-o", path, source)
    return path


def another(directory):
    """A library of the same name, whose functions and lines are others."""
    source = directory / "another.c"
    source.write_text("\n" * 50 + PLANTED.read_text().replace("outer", "wrong").replace("middle", "wrong2"))
    return library(directory, "-O0", source=source)


def driver(directory):
    (directory / "driver.c").write_text(DRIVER)
    run("gcc", "-o", directory / "driver", directory / "driver.c", "-ldl")
    return directory / "driver"


def become_nobody():
    os.setgroups([])
    os.setgid(65534)
    os.setuid(65534)


def may_open_mapped_files():
    """CAP_SYS_ADMIN or CAP_CHECKPOINT_RESTORE, in the first user namespace."""
    first = open("/proc/self/maps").readlines()[0].split()[0]
    low, high = (int(n, 16) for n in first.split("-"))
    try:
        os.close(os.open(f"/proc/self/map_files/{low:x}-{high:x}", os.O_RDONLY))
        return True
    except OSError:
        return False


def replaced(how):
    """A running library is replaced: all that profiles say of it, as root."""
    lib.needs("gcc")
    directory, other = lib.scratch(), lib.scratch()
    path = library(directory, "-O2")
    with App(driver(directory), path) as app:
        equal(app.line(), "loaded")
        how(path, other)
        for _ in range(2):
            profile = settled(app)[1]
            assert not any("wrong" in line.function.name for loc in profile.locations for line in loc.lines)
            if may_open_mapped_files():
                check_chain(profile, "c", PLANTED)
            else:
                assert profile.flat("cpu").get("outer", 0) > 0.9 * profile.total("cpu"), profile.flat("cpu")


@lib.parallel
@lib.limit(240)
def test_replaced_library():
    replaced(lambda path, other: os.replace(another(other), path))


@lib.parallel
@lib.limit(240)
def test_removed_library():
    replaced(lambda path, other: path.unlink())


@lib.parallel
@lib.limit(240)
def test_replaced_library_without_privileges():
    """The kernel does not let others open the old file: the names that are mapped remain, and no line is
    taken from the new file."""
    lib.needs("gcc")
    if os.geteuid() != 0:
        lib.skip("needs root to become another user")
    directory, other = lib.scratch(), lib.scratch()
    os.chmod(directory, 0o777)
    path, program = library(directory, "-O2"), driver(directory)
    copy = agent_beside((lib.BUILD / "pprofagent-symbolize").read_bytes())
    with App(program, path, preload=copy, preexec=become_nobody, port_file=directory / "port", wait=False) as app:
        app.port_file = directory / "port"
        app.wait_listening()
        equal(app.line(), "loaded")
        os.replace(another(other), path)
        profile = settled(app)[1]
        assert profile.flat("cpu").get("outer", 0) > 0.9 * profile.total("cpu"), profile.flat("cpu")
        lines = [line for location in profile.locations for line in location.lines if line.function.name == "outer"]
        equal({(line.function.filename, line.line) for line in lines}, {("", 0)})


@lib.parallel
@lib.limit(240)
def test_program_in_memory_only():
    lib.needs("gcc")
    path = build(lib.scratch(), "c", "gcc", "-O2")
    fd = os.memfd_create("planted")
    with open(path, "rb") as source, os.fdopen(os.dup(fd), "wb") as target:
        shutil.copyfileobj(source, target)
    with App(f"/proc/self/fd/{fd}", pass_fds=(fd,)) as app:
        os.close(fd)
        check_chain(settled(app)[1], "c", PLANTED)
