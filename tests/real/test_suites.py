# SPDX-License-Identifier: Apache-2.0
"""Python's own tests, of what an agent in the process can break: each case ends as it does without one."""
import subprocess
import xml.etree.ElementTree

from lib import agent, environment, equal, limit, long, note, parallel, scratch, skip
from storm import STORM, Storm

PYTHON = "/usr/bin/python3"  # the one that the suite belongs to
SHORT = ["test_ctypes", "test_epoll", "test_mmap", "test_os", "test_posix", "test_resource", "test_select", "test_thread"]
LONG = SHORT + ["test_dict", "test_eintr", "test_faulthandler", "test_fork1", "test_gc", "test_json", "test_list",
                "test_queue", "test_selectors", "test_signal", "test_sqlite3", "test_ssl", "test_subprocess",
                "test_threading", "test_threadsignals", "test_time", "test_wait3", "test_wait4", "test_weakref", "test_zlib"]


def results(tests, env):
    """How each case ended: {name: "ok" or what else}."""
    where = scratch()
    done = subprocess.run([PYTHON, "-m", "test", "--junit-xml", where / "out.xml", "--tempdir", where, *tests], cwd=where,
                          env=env, capture_output=True, stdin=subprocess.DEVNULL)
    if b"No module named test" in done.stderr:
        skip(f"there is no suite for {PYTHON}: libpython3.*-testsuite (Debian), python3-test (Fedora)")
    found = {"exit status": done.returncode}
    for case in xml.etree.ElementTree.parse(where / "out.xml").iter("testcase"):
        ends = sorted(child.tag for child in case if child.tag in ("skipped", "failure", "error"))
        found[case.get("name")] = " ".join(ends) or "ok"
    return found


def same(tests, plain, under, what):
    different = [f"{name}: {plain.get(name)}, {what}: {under.get(name)}" for name in sorted(plain.keys() | under.keys())
                 if plain.get(name) != under.get(name)]
    failing = sum(end in ("failure", "error") for end in under.values())
    note(f"{what}: {len(under)} cases of {len(tests)} files, {failing} of them fail with and without it")
    equal(different, [], "cases that end differently")


@parallel
@limit(120)
def test_some_cases_of_python():
    plain, under = results(SHORT, environment()), results(SHORT, environment(None, agent(), addr="127.0.0.1:0"))
    assert len(plain) > 500, f"only {len(plain)} cases"
    same(SHORT, plain, under, "an idle agent")


@long
@limit(3600)
def test_suite_of_python():
    plain = results(LONG, environment())
    assert len(plain) > 2000, f"only {len(plain)} cases"
    same(LONG, plain, results(LONG, environment(None, agent(), addr="127.0.0.1:0")), "an idle agent")
    port_file = scratch() / "port"
    storm = Storm(port_file)
    try:
        under = results(LONG, environment(None, agent(), addr="127.0.0.1:0", port_file=port_file, **STORM))
    finally:
        storm.stop()
    note(f"{storm.samples} samples, {len(storm.answered)} endpoints answered")
    same(LONG, plain, under, "in a storm")
