# SPDX-License-Identifier: Apache-2.0
"""How many stacks reach a root, program by program: at least 99.5 % of at least 2,000 samples (of 500 in
the short form, which takes the cheap ones). The table of docs/limits.md is the long form's output.

A stack is complete when its outermost frame is code that by its own unwind table has no caller (stacks.py).
The exception is a coroutine: glibc gives the code to which it returns no table, so there it is the
coroutine's own start function that has to be there."""
import functools
import re

import lib
import stock
from lib import equal, limit, long, note, parallel
from stacks import View, bare, is_root

INCOMPLETE_AT_MOST = 0.005
JAVA = r"\bWork(?:\.|::)(hot|inner|middle|outer)\b"
HZ = 250  # the kernel's tick: a sample is a signal


def in_coroutine(frames):
    """Complete: the root is the thread's, or the frame before the last is where the coroutine began."""
    return is_root(frames) or (len(frames) > 1 and "coroutine" in (frames[-1].name, frames[-2].name))


def cut_at_512(frames):
    """Complete, or longer than the longest stack that is kept: the compiler's recursion has no bound."""
    return is_root(frames) or (len(frames) == 513 and frames[-1].name == "[truncated]")


CASES = {
    "nginx": stock.nginx,
    "memcached": stock.memcached,
    "node": stock.node,
    "node --perf-basic-prof": functools.partial(stock.node, "--perf-basic-prof"),
    "openssl aes-256-gcm": functools.partial(stock.openssl, "-evp", "aes-256-gcm"),
    "openssl sha256": functools.partial(stock.openssl, "-evp", "sha256"),
    "openssl rsa2048": functools.partial(stock.openssl, "rsa2048"),
    "openssl chacha20-poly1305": functools.partial(stock.openssl, "-evp", "chacha20-poly1305"),
    "sort": stock.sort,
    "xz": stock.xz,
    "perl": stock.perl,
    "php": stock.php,
    "g++ (cc1plus)": functools.partial(stock.gxx, max_frames=512),
    "java": stock.java,
    "400 calls deep": functools.partial(stock.odd_stacks, "recursion"),
    "handler on an alternate stack": functools.partial(stock.odd_stacks, "alternate"),
    "nested handlers": functools.partial(stock.odd_stacks, "nested"),
    "PTHREAD_STACK_MIN": functools.partial(stock.odd_stacks, "minimal"),
    "coroutines of 2 to 16 KiB": functools.partial(stock.odd_stacks, "coroutines"),
}
ROOTS = {"coroutines of 2 to 16 KiB": in_coroutine, "g++ (cc1plus)": cut_at_512}


def without_late(view):
    """Without the periods that no signal hit: those have no stack to be complete."""
    view.samples = [s for s in view.samples if not s.frames or s.frames[0].name != "[after last tick]"]
    return view


def measure(name, want):
    with CASES[name]() as app:
        seconds = 4 if want >= 2000 else 2
        view = without_late(View(app.profile(seconds=seconds, hz=HZ)))
        for _ in range(30):
            if view.total("samples") >= want:
                break
            view.samples += without_late(View(app.profile(seconds=seconds, hz=HZ))).samples
        samples = view.total("samples")
        share, causes = view.incomplete(complete=ROOTS.get(name, is_root))
        depth = sum(len(s.frames) * s.values["samples"] for s in view.samples) / max(1, samples)
        note(f"| {name} | {samples} | {depth:.1f} | {100 * (1 - share):.2f} % |")
        for cause, count in causes.most_common(6):
            note(f"    {count} {cause}")
        assert samples >= want, f"{name}: only {samples} samples"
        assert share <= INCOMPLETE_AT_MOST, f"{name}: {100 * share:.2f} % of {samples} samples do not reach a root: {causes.most_common(10)}"
        equal(bare(view), set(), f"{name}: names that are none")
        if app.process.stdin:
            equal(app.finish()[0], 0, f"{name}: exit status")


@parallel
@limit(120)
def test_cheap_programs_are_complete():
    for name in ("nginx", "openssl aes-256-gcm", "coroutines of 2 to 16 KiB"):
        measure(name, 500)


@long
@limit(300)
def test_servers():
    for name in ("nginx", "memcached"):
        measure(name, 2000)


@long
@limit(300)
def test_generated_code():
    for name in ("node", "node --perf-basic-prof", "java"):
        measure(name, 2000)


def calls(view, pattern, leaf):
    """For each sample whose leaf is the planted one: the planted names in the order of the stack."""
    for s in view.samples:
        names = [m.group(1) for f in s.frames if (m := re.search(pattern, f.name))]
        if names and names[0] == leaf:
            yield [n for n, before in zip(names, [None] + names) if n != before], s.values["samples"]


def check_chain(view, what, pattern, chain):
    """The program's own source says who calls whom: an unwinder that loses or invents frames of generated
    code shows another order."""
    seen = list(calls(view, pattern, chain[0]))
    total, right = sum(n for _, n in seen), sum(n for names, n in seen if names == chain)
    note(f"{what}: {total} samples in the planted function, {100 * right / max(1, total):.2f} % with its four callers in order")
    assert total >= 500, total
    assert right >= 0.995 * total, [(names, n) for names, n in seen if names != chain][:10]


@parallel
@limit(120)
def test_generated_frames_are_those_of_the_source():
    with stock.node("--perf-basic-prof", "--interpreted-frames-native-stack", "--no-turbo-inlining", script=stock.NODE_CHAIN) as app:
        view = View(app.profile(seconds=4, hz=HZ))
        while view.total("samples") < 600:
            view.samples += View(app.profile(seconds=2, hz=HZ)).samples
        check_chain(view, "node", r"\b(planted_\w+)", stock.CHAIN)


@long
@limit(180)
def test_generated_frames_of_java_are_those_of_the_source():
    with stock.java_chain() as app:
        view = View(app.profile(seconds=2, hz=HZ))
        while sum(n for _, n in calls(view, JAVA, "hot")) < 500:
            view.samples += View(app.profile(seconds=2, hz=HZ)).samples
        check_chain(view, "java", JAVA, stock.JAVA_CHAIN)


@long
@limit(300)
def test_assembly():
    for name in CASES:
        if name.startswith("openssl"):
            measure(name, 2000)


@long
@limit(400)
def test_tools():
    for name in ("xz", "perl", "php"):
        measure(name, 2000)
    for name in ("sort", "g++ (cc1plus)"):  # which end
        measure(name, 500)


@long
@limit(300)
def test_odd_stacks():
    for name in ("400 calls deep", "handler on an alternate stack", "nested handlers", "PTHREAD_STACK_MIN", "coroutines of 2 to 16 KiB"):
        measure(name, 2000)
