# SPDX-License-Identifier: Apache-2.0
"""The static checks themselves: each passes on a small sound tree and fails on each planted fault."""
import os
import pathlib
import shutil
import subprocess

from lib import TOP, equal, limit, parallel, scratch

SCRIPTS = TOP / "scripts"
CC = os.environ.get("CC", "cc").split()


def run(*argv, cwd):
    done = subprocess.run([str(a) for a in argv], cwd=cwd, text=True, capture_output=True)
    return done.returncode, done.stdout + done.stderr


def passes(*argv, cwd):
    status, text = run(*argv, cwd=cwd)
    equal(status, 0, f"{argv} on a sound tree ({text})")


def fails(*argv, cwd, saying):
    status, text = run(*argv, cwd=cwd)
    assert status != 0, f"{argv} did not see the planted fault: {text}"
    assert saying in text, f"{argv} does not say {saying!r} but {text!r}"


def write(top, name, text):
    path = top / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


# ---------------------------------------------------------------- check-layers

def small_tree():
    top = scratch()
    write(top, "scripts/layers.txt", (SCRIPTS / "layers.txt").read_text())
    write(top, "agent/base/low.h", "#include <stdint.h>\n")
    write(top, "agent/base/low.c", '#include "agent/base/low.h"\n')
    write(top, "agent/collect/mid.h", '#include "agent/base/low.h"\n')
    write(top, "agent/collect/snapshot.h", "")
    write(top, "encode/top.c", '#include "agent/collect/snapshot.h"\n#include "encode/profile.pb-c.h"\n')
    write(top, "hooks/real.h", "")
    write(top, "hooks/mutex.c", '#include "agent/collect/mid.h"\n#include "hooks/real.h"\n')
    write(top, "agent/agent.c", '#include "hooks/real.h"\n')
    return top


@parallel
def test_check_layers():
    check = SCRIPTS / "check-layers"
    passes(check, cwd=small_tree())
    for name, text, saying in (
            ("agent/base/up.c", '#include "agent/collect/mid.h"\n', "agent/base/up.c:1: agent/base may not include"),
            ("encode/deep.c", '\n  #  include "agent/collect/mid.h"\n', "encode/deep.c:2"),
            ("agent/collect/hook.c", '#include "hooks/real.h"\n', "may not include hooks/real.h"),
            ("agent/other.c", '#include "hooks/private.h"\n', "hooks/private.h does not exist"),
            ("agent/http/lost.c", '#include "agent/agent.h"\n', "does not exist")):
        top = small_tree()
        write(top, name, text)
        fails(check, cwd=top, saying=saying)
    top = small_tree()
    write(top, "hooks/private.h", "")
    write(top, "agent/other.c", '#include "hooks/private.h"\n')
    fails(check, cwd=top, saying="agent may not include hooks/private.h")


# ---------------------------------------------------------------- check-sigsafe

def objects_tree(body, rows="* memcpy any pure\nagent/http/door.o getpid agent needs its own number\n"):
    top = scratch()
    write(top, "scripts/sigsafe.txt", rows)
    write(top, "agent/base/low.c", body)
    write(top, "agent/http/door.c", "int getpid(void);\nint low(char *, char *);\nint door(void)\n{ return getpid() + low(0, 0); }\n")
    for source in ("agent/base/low", "agent/http/door"):
        out = top / f"obj/{source}.o"
        out.parent.mkdir(parents=True, exist_ok=True)
        subprocess.run([*CC, "-O1", "-fno-builtin", "-fno-stack-protector", "-c", "-o", out, top / f"{source}.c"], check=True)
    write(top, "agent/base/low.h", "/* Owns the floor. */\n\n/* Copies. Context: signal, agent. */\nint low(char *a, char *b);\n")
    write(top, "hooks/none.h", "")
    return top


SOUND = "void *memcpy(void *, const void *, unsigned long);\nint low(char *a, char *b)\n{ memcpy(a, b, 9); return 1; }\n"


@parallel
def test_check_sigsafe_calls():
    check = [SCRIPTS / "check-sigsafe", "--obj", "obj"]
    passes(*check, cwd=objects_tree(SOUND))
    planted = (
        ("void *malloc(unsigned long);\nint low(char *a, char *b)\n{ return malloc(8) != 0; }\n", "agent/base/low.o calls malloc"),
        ("int printf(const char *, ...);\nint low(char *a, char *b)\n{ return printf(a, b); }\n", "calls printf"),
        ("int *__errno_location(void);\nint low(char *a, char *b)\n{ return *__errno_location(); }\n", "calls __errno_location"),
        ("char *getenv(const char *);\nint low(char *a, char *b)\n{ return getenv(a) == b; }\n", "calls getenv"),
        # allowed to another object only
        ("int getpid(void);\nint low(char *a, char *b)\n{ return getpid(); }\n", "agent/base/low.o calls getpid"),
    )
    for body, saying in planted:
        fails(*check, cwd=objects_tree(body), saying=saying)


@parallel
def test_check_sigsafe_rows():
    check = [SCRIPTS / "check-sigsafe", "--obj", "obj"]
    getpid = "agent/http getpid agent reason\n"
    passes(*check, cwd=objects_tree(SOUND, "* memcpy any pure\n" + getpid))
    fails(*check, cwd=objects_tree(SOUND, "* memcpy any pure\n" + getpid + "hooks dlsym init gone\n"), saying="nothing needs 'hooks dlsym'")
    fails(*check, cwd=objects_tree(SOUND, "* memcpy any\n" + getpid), saying="expected 'room-or-object")
    fails(*check, cwd=objects_tree(SOUND, "* memcpy sometimes pure\n" + getpid), saying="unknown context sometimes")
    fails(*check, "--obj", "nowhere", cwd=objects_tree(SOUND), saying="no objects")


@parallel
def test_check_sigsafe_contexts():
    check = [SCRIPTS / "check-sigsafe", "--contexts-only"]
    sound = (
        "/* Opening. Context of everything here: agent. */\nint one(void);\n",
        "/* Opening. */\n\n/* Does. Context: hook. */\nint one(void);\nint two(struct thing *t, int (*call)(void));\n",
        "/* Opening. */\n\n/* Does. Context: any. */\nstatic inline int one(int a)\n{\n\treturn f(a);\n}\n",
        "/* Opening. */\n\nstruct thing {\n\tint (*call)(void); /* no declaration */\n};\n#define MACRO(x) \\\n\tcall(x)\n/* x. Context: init. */\nextern int f(void) __attribute__((format(printf, 1, 2)));\n",
        "/* Opening. */\n\n/* --- reading; Context: agent --- */\n\n/* Does. */\nint one(void);\n\nextern _Atomic(struct x *) two;\n",
    )
    for text in sound:
        top = objects_tree(SOUND)
        write(top, "hooks/none.h", text)
        passes(*check, cwd=top)
    faulty = (
        ("/* Opening. */\n\n/* Does. */\nint one(void);\n", "hooks/none.h:4: one has no Context line"),
        ("/* Opening. */\n\n/* A. Context: hook. */\nint one(void);\n\n/* B. */\nvoid *two(void);\n", "two has no Context line"),
        ("/* Opening. */\n\n/* A. Context: hook. */\nint one(void); /* x */\n/* B */\nstatic inline int three(int a)\n{\n\treturn a;\n}\n", "three has no Context line"),
        ("/* Opening. */\n\n/* A. Context: whenever. */\nint one(void);\n", "names no context"),
        ("/* Opening. */\nint one(void);\n", "one has no Context line"),
        ("/* Opening. */\n\n/* --- A; Context: agent --- */\nint one(void);\n\n/* --- B --- */\n\n/* Does. */\nint two(void);\n", "two has no Context line"),
    )
    for text, saying in faulty:
        top = objects_tree(SOUND)
        write(top, "hooks/none.h", text)
        fails(*check, cwd=top, saying=saying)


# ---------------------------------------------------------------- gen-exports and check-exports

TABLE = "/* rows */\nHOOK(plain, ANY, REQUIRED)\nHOOK(cond, GLIBC_2_2_5, REQUIRED)\nHOOK(cond,\tGLIBC_2_3_2, REQUIRED)\n"
LIBRARY = """
#define EXPORT __attribute__((visibility("default")))
EXPORT int plain(void) { return 1; }
EXPORT int cond_old(void) { return 2; }
EXPORT int cond_new(void) { return 3; }
int inner(void) { return 4; }
"""
VERSIONS = "__asm__(\".symver cond_old, cond@GLIBC_2.2.5, remove\\n.symver cond_new, cond@@GLIBC_2.3.2, remove\");\n"
LINK = ["-Wl,-z,relro,-z,now,-z,nodelete,-z,noexecstack"]


def library(table=TABLE, source=LIBRARY + VERSIONS, link=LINK, flags=("-fPIC",)):
    """A small library built as the Makefile builds ours; its directory."""
    top = scratch()
    write(top, "hooks.def", table)
    write(top, "lib.c", source)
    script = subprocess.run([SCRIPTS / "gen-exports", *CC, "hooks.def"], cwd=top, check=True, text=True, capture_output=True).stdout
    write(top, "exports.map", script)
    subprocess.run([*CC, "-O1", "-fvisibility=hidden", "-shared", *flags, *link, "-Wl,--version-script=exports.map", "-o", "lib.so", "lib.c"],
                   cwd=top, check=True, capture_output=True)
    return top


def check_exports(top):
    return [SCRIPTS / "check-exports", "--lib", "lib.so", "--table", "hooks.def", "--cc", " ".join(CC)], top


def exports_fail(saying, **options):
    argv, top = check_exports(library(**options))
    fails(*argv, cwd=top, saying=saying)


@parallel
def test_gen_exports():
    top = scratch()
    generate = SCRIPTS / "gen-exports"
    for table, want in ((TABLE, "GLIBC_2.2.5 { };\nGLIBC_2.3.2 { };\n"), ("HOOK(a, ANY, OPTIONAL)\n", "{ };\n")):
        write(top, "t.def", table)
        equal(run(generate, *CC, "t.def", cwd=top), (0, want), "version script")
    for table, saying in (("HOOK(a, 2.2.5, X)\n", "gen-exports"), ("HOOK(a, GLIBC_new, X)\n", "neither ANY nor a version"), ("\n", "no row")):
        write(top, "t.def", table)
        fails(generate, *CC, "t.def", cwd=top, saying=saying)
    fails(generate, cwd=top, saying="usage")


@parallel
@limit(120)
def test_check_exports():
    argv, top = check_exports(library())
    passes(*argv, cwd=top)
    exports_fail("exports extra", source=LIBRARY + VERSIONS + "EXPORT int extra(void) { return 1; }\n")
    exports_fail("exports cond_old", source=LIBRARY + VERSIONS.replace(", remove", ""))
    exports_fail("does not export gone", table=TABLE + "HOOK(gone, ANY, OPTIONAL)\n")
    exports_fail("does not export plain@GLIBC_2.2.5", table=TABLE.replace("plain, ANY", "plain, GLIBC_2_2_5"))
    exports_fail("needs libm.so.6", link=LINK + ["-Wl,--no-as-needed", "-lm"])
    exports_fail("is not linked with -z now", link=["-Wl,-z,relro,-z,nodelete,-z,noexecstack,-z,lazy"])
    exports_fail("is not linked with -z nodelete", link=["-Wl,-z,relro,-z,now,-z,noexecstack"])
    exports_fail("bytes of TLS", source=LIBRARY + VERSIONS + "static __thread __attribute__((tls_model(\"initial-exec\"))) char much[65];\n"
                 "__attribute__((visibility(\"hidden\"))) char *use(void) { return much; }\n")
    exports_fail("__tls_get_addr", source=LIBRARY + VERSIONS + "static __thread char some[8];\nchar *use(void) { return some; }\n")
    exports_fail("executable stack", link=[LINK[0].replace("noexecstack", "execstack")])
    exports_fail("imports dlvsym", source=LIBRARY + VERSIONS + "void *dlvsym(void *, const char *, const char *);\n"
                 "void *use(void) { return dlvsym(0, \"a\", \"b\"); }\n")
    exports_fail("imports __printf_chk", source=LIBRARY + VERSIONS + "int __printf_chk(int, const char *, ...);\n"
                 "int use(void) { return __printf_chk(1, \"a\"); }\n")
    argv, top = check_exports(library(source=LIBRARY + VERSIONS + "__attribute__((weak)) void *dlvsym(void *, const char *, const char *);\n"
                                      "void *use(void) { return dlvsym ? dlvsym(0, \"a\", \"b\") : 0; }\n"))
    passes(*argv, cwd=top)
    text_relocation = "__asm__(\".text\\n.long plain\\n\");\n" if os.uname().machine != "x86_64" else "__asm__(\".text\\n.quad plain\\n\");\n"
    exports_fail("has text relocations", source=LIBRARY + VERSIONS + text_relocation)


# ---------------------------------------------------------------- check-docs

@parallel
def test_check_docs():
    check = SCRIPTS / "check-docs"
    sound = "# Title\n\n[a](docs/b.md) [b](docs/b.md#two-words) [c](#title) [d](https://example.org/x) `scripts/thing`\n```\n[x](nowhere)\n```\n"

    def tree(readme, generator=None):
        top = scratch()
        write(top, "README.md", readme)
        write(top, "docs/b.md", "# B\n\n## Two `words`\n\n[up](../README.md)\n")
        write(top, "scripts/thing", "")
        if generator:
            write(top, "scripts/gen-docs", generator).chmod(0o755)
        return top

    passes(check, cwd=tree(sound))
    for fault, saying in (("[a](docs/c.md)", "docs/c.md does not exist"), ("[a](docs/b.md#three)", "no such heading"),
                          ("[a](#three)", "no such heading"), ("`scripts/gone`", "scripts/gone does not exist"),
                          ("[a](../../../../etc/passwd)", "outside the repository"), ('<img src="docs/x.png">', "docs/x.png does not exist")):
        fails(check, cwd=tree(sound + fault + "\n"), saying=saying)
    made = "#!/bin/sh\nmkdir -p $1/docs && printf '# B\\n\\n## Two `words`\\n\\n[up](../README.md)\\n' > $1/docs/b.md\n"
    passes(check, cwd=tree(sound, made))
    fails(check, cwd=tree(sound, made.replace("Two", "Three")), saying="docs/b.md is stale")


# ---------------------------------------------------------------- install-deps

@parallel
def test_install_deps_needs_no_network_when_all_is_there():
    """With a dpkg-query that knows every package it ends silently and never reaches apt-get."""
    top = scratch()
    tools = top / "bin"
    write(top, "bin/dpkg-query", "#!/bin/sh\necho installed\n").chmod(0o755)
    write(top, "bin/apt-get", f"#!/bin/sh\ntouch {top}/called\nexit 1\n").chmod(0o755)
    env = {**os.environ, "PATH": f"{tools}:{os.environ['PATH']}"}
    done = subprocess.run([SCRIPTS / "install-deps"], env=env, capture_output=True, text=True)
    equal((done.returncode, done.stdout, done.stderr, (top / "called").exists()), (0, "", "", False), "install-deps")


@parallel
def test_install_deps_says_what_fedora_needs():
    top = scratch()
    tools = top / "bin"
    tools.mkdir()
    for name in ("bash", "sort", "tr", "sed"):
        (tools / name).symlink_to(shutil.which(name))
    write(top, "bin/dnf", "#!/bin/sh\n").chmod(0o755)
    done = subprocess.run([shutil.which("bash"), SCRIPTS / "install-deps", "--build"], env={"PATH": str(tools)}, capture_output=True, text=True)
    equal(done.returncode, 1, "status")
    assert "sudo dnf install" in done.stderr and "protobuf-c-devel" in done.stderr, done.stderr
    (tools / "dnf").unlink()
    done = subprocess.run([shutil.which("bash"), SCRIPTS / "install-deps", "--build"], env={"PATH": str(tools)}, capture_output=True, text=True)
    equal((done.returncode, done.stderr.count("\n")), (1, 1), "one line without any package manager")


@parallel
def test_scripts_are_executable_and_documented():
    for path in sorted(pathlib.Path(SCRIPTS).iterdir()):
        if path.is_file() and path.suffix == "" and path.read_bytes()[:2] == b"#!":
            assert os.access(path, os.X_OK), f"{path} is not executable"
            assert "SPDX-License-Identifier" in path.read_text()[:200], f"{path} has no license line"



# ---------------------------------------------------------------- the makefiles

@parallel
def test_make_help_names_each_target_once():
    """Merges of makefiles leave doubled rules behind; make itself warns only of doubled recipes."""
    done = subprocess.run(["make", "-s", "help"], cwd=TOP, capture_output=True, text=True,
                          env={k: v for k, v in os.environ.items() if not k.startswith("MAKE") and k != "MFLAGS"})
    names = [line.split()[0] for line in done.stdout.splitlines() if line.startswith("  ")]
    equal((done.returncode, done.stderr), (0, ""), "make help")
    assert {"all", "check", "check-unit", "bench", "install"} < set(names), names
    equal([name for name in names if names.count(name) > 1], [], "targets that stand there twice")
