# SPDX-License-Identifier: Apache-2.0
"""Hazard A4 in the object code: glibc declares dlsym a `leaf`, so a compiler may drop stores to file-static
variables around it. Those that keep the agent's look-up from entering itself must be there, by every compiler at
every level; and the same look at code with plain stores must miss them."""
import platform
import re
import subprocess

from lib import TOP, BUILD, equal, limit, note, parallel, scratch, skip

LEVELS = ("-O0", "-O1", "-O2", "-O3", "-Os")
FLAGS = ["-std=gnu17", "-fPIC", "-fvisibility=hidden", "-fno-plt", "-fno-semantic-interposition", "-ftls-model=initial-exec", "-fexceptions",
         "-fno-strict-aliasing", "-D_GNU_SOURCE", '-DVERSION="x"', f"-I{TOP}", f"-I{TOP}/agent/arch/{platform.machine()}", f"-I{BUILD}/gen"]


def listing(directory, compiler, options, source):
    """The instructions of real_resolve and of what it calls in the same file, or why there are none."""
    out, rest = directory / "real.so", directory / "rest.c"
    # what lies elsewhere in the library
    rest.write_text("char real[1 << 16]; long sys_enter(void) { long r; __asm__ volatile(\"\" : \"=r\"(r)); return r; } void log_line(void) {}\n"
                    "void real_resolve(void); void *real_boot(unsigned long); __attribute__((visibility(\"default\"))) void *kept[] = { real_resolve, real_boot };\n")
    built = subprocess.run([*compiler, *FLAGS, *options, "-w", "-shared", "-Wl,--unresolved-symbols=ignore-all", "-o", out, source, TOP / "hooks/boot.c", rest],
                           capture_output=True, text=True, cwd=TOP)
    if built.returncode != 0:
        return None, built.stderr
    text = subprocess.run(["objdump", "-d", "--no-show-raw-insn", out], capture_output=True, text=True, check=True).stdout
    functions = {name: body.splitlines() for name, body in re.findall(r"^\w+ <([^>]+)>:\n((?:.+\n)*)", text, re.M)}
    return functions, ""


def asks(functions, line, seen=()):
    """Whether this instruction goes where dlsym is called."""
    if not re.search(r"\b(call|jmp)\b", line):
        return False
    if re.search(r"<dlv?sym", line):
        return True
    name = (re.search(r"<([^>+@]+)>", line) or [None, None])[1]
    return name in functions and name not in seen and any(asks(functions, l, (*seen, name)) for l in functions[name])


def missing(functions):
    """Which of the three stores is not where it must be: the state and the thread before the look-up, the state behind it."""
    parts = ("real_resolve", "real_resolve.cold")
    body = [line for name in parts for line in functions.get(name, [])]
    calls = [n for n, line in enumerate(body) if asks(functions, line, parts)]
    if not calls:
        return ["no look-up at all"]

    def stores(lines, name):
        there = rf"# \w+ <{name}(\.\w+)*>"
        for n, line in enumerate(lines):
            if re.search(rf"\b(cmpxchg|xchg|mov)\w* .*0x\w+\(%rip\) +{there}", line) and not re.search(r"\bmov\w* +0x\w+\(%rip\)", line):
                return True
            # without optimization by way of a pointer on the stack
            if re.search(rf"\blea .*{there}", line) and any(re.search(r"\b(cmpxchg|xchg|mov)\w* .*,\(%r\w+\)", l) for l in lines[n:n + 16]):
                return True
        return False
    want = (("state before", body[:calls[0]], "state"), ("thread before", body[:calls[0]], "resolver"), ("state behind", body[calls[-1]:], "state"))
    return [what for what, lines, name in want if not stores(lines, name)]


PLAIN = (("static _Atomic int state;", "static int state;"), ("static _Atomic int resolver;", "static int resolver;"),
         ("atomic_compare_exchange_strong(&state, &expected, RESOLVING)", "(state == expected && ((state = RESOLVING), 1))"),
         ("atomic_store(&resolver, sys_gettid());", "resolver = 1;"), ("atomic_store_explicit(&state, RESOLVED, memory_order_release);", "resolver = 0; state = RESOLVED;"),
         ("atomic_load_explicit(&state, memory_order_acquire)", "state"), ("atomic_load(&resolver)", "resolver"),
         # as glibc's header says it, whatever other call lies in between
         ("static COLD void give_up(const char *name)\n{", "static COLD void give_up(const char *name)\n{\n\treturn;"))


@parallel
@limit(120)
def test_stores_around_dlsym_are_in_the_object_code():
    if platform.machine() != "x86_64":
        skip("reads instructions of x86-64 only")
    directory = scratch()
    looked, source = [], TOP / "hooks/real.c"
    for compiler in ("gcc", "clang"):
        for options in [(level,) for level in LEVELS] + [("-O2", "-flto"), ("-O3", "-flto")]:
            functions, why = listing(directory, [compiler], options, source)
            if functions is None:
                assert compiler == "clang" or "-flto" in options, why
                note(f"not looked at: {compiler} {' '.join(options)}: {why.splitlines()[0] if why else '?'}")
                continue
            equal(missing(functions), [], f"{compiler} {' '.join(options)}: stores that are missing")
            looked.append(f"{compiler} {' '.join(options)}")
    note(f"{len(looked)} builds looked at")
    assert len(looked) >= 5, looked
    # with plain variables gcc does what the hazard says, and this look sees it
    text = source.read_text()
    for old, new in PLAIN:
        assert old in text, f"hooks/real.c does not say {old!r} any more"
        text = text.replace(old, new)
    planted = directory / "planted.c"
    planted.write_text(text)
    functions, why = listing(directory, ["gcc"], ("-O2",), planted)
    assert functions, why
    note(f"with plain stores gcc -O2 leaves out: {', '.join(missing(functions))}")
    assert missing(functions), "plain stores around dlsym are all there"
