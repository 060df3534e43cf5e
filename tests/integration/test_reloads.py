# SPDX-License-Identifier: Apache-2.0
"""Programs that load and unload libraries all the time: profiles stay right, and memory does not fill with copies of stacks
that differ in nothing but the libraries that came and went meanwhile (hazards F3, H1)."""
import re
import shutil
import subprocess

from lib import App, BUILD, equal, limit, note, program, scratch, until
from stacks import View


def libraries(n):
    directory = scratch()
    return [shutil.copy(BUILD / "tests/libraries/inner.so", directory / f"lib{i}.so") for i in range(n)]


def figure(app, name):
    return int(re.search(rf"^{name}=(\d+)", app.get("agent").text, re.M)[1])


@limit(90)
def test_library_that_comes_back_is_one():
    """Profiles of it are valid: no stack is in them twice."""
    with App(program("reloads"), *libraries(1)) as app:
        app.line()
        until(lambda: figure(app, "module_generation") > 10, "ten unloads")
        before = figure(app, "module_generation")
        profile = app.profile("profile", seconds=1, hz=1000)
        loads = figure(app, "module_generation") - before
        view = View(profile)
        share = view.below("inner_burn", "cpu") / view.total("cpu")
        note(f"{len(profile.samples)} stacks, {loads} loads, {share:.0%} in the library")
        assert loads > 20 and share > 0.5, f"{loads} loads, {share:.0%} in the library: it was not sampled"
        assert len(profile.samples) < loads / 2, f"{len(profile.samples)} stacks behind {loads} loads"


@limit(90)
def test_stacks_of_others_stay_few():
    """Threads, forks and allocations beside hundreds of unloads: none of their stacks passes through the libraries."""
    with App(program("soak"), *libraries(20), stdin=subprocess.PIPE, memprofilerate=4096, mutexprofilefraction=1, blockprofilerate=1) as app:
        until(lambda: figure(app, "module_generation") > 300, "three hundred unloads", 60)
        app.profile("profile", seconds=1, hz=1000)
        stacks, generations = figure(app, "distinct_stacks"), figure(app, "module_generation")
        note(f"{stacks} stacks, {generations} generations")
        assert stacks < generations, f"{stacks} stacks behind {generations} unloads"
        equal(app.finish(20)[0], 0, "end of the program")
