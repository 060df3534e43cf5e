# SPDX-License-Identifier: Apache-2.0
"""Runs the commands of a document as they are written.

Commands are the lines that begin with "$ " in blocks of kind ```console; all commands under one heading run in one
bash, from a directory that looks like the top of the repository. A comment "<!-- expect: regex -->" before a block
demands a line of the block's real output for each of its expressions. After a command that ends in "&" the next one
waits until the program listens, as a person would. The commands use port 6060: they run in a network of their own.

    python3 tests/integration/doc_commands.py docs/cookbook.md [word of a heading]     prints what happens
"""
import contextlib
import ctypes
import fcntl
import os
import pathlib
import re
import signal
import socket
import struct
import subprocess
import sys
import tempfile

import lib

MARK = "=+=+= "
PRELUDE = r"""
wait_for_port() {
	for _ in $(seq 300); do
		if (exec 3<>/dev/tcp/127.0.0.1/6060) 2>/dev/null; then return; fi
		sleep 0.1
	done
	echo "nothing listens on port 6060"
}
"""


def sections(path):
    """Per heading: (title, [(commands, expectations)])."""
    out, title, expected, block = [], "", [], None  # block: None outside, a list in console blocks, else False
    for line in path.read_text().splitlines():
        if block is not None:
            if line.startswith("```"):
                if block:
                    out[-1][1].append((block, expected))
                    expected = []
                block = None
            elif line.startswith("$ "):
                block.append(line[2:])
            continue
        heading = re.match(r"#+ (.*)", line)
        if heading:
            title = heading[1]
        if heading or not out:
            out.append((title, []))
        wish = re.match(r"<!-- expect: (.*) -->$", line)
        if wish:
            expected = expected + [wish[1]]
        elif line.startswith("```"):
            block = [] if line.strip() == "```console" else None
            if block is None:
                block = False
    return [(title, blocks) for title, blocks in out if blocks]


def own_network():
    """Puts this process, and what it starts, into a network where every port is free. False if it may not."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(0x40000000) != 0:
        return False
    with socket.socket() as any_socket:
        # SIOCSIFFLAGS: the loopback interface goes up and runs
        fcntl.ioctl(any_socket, 0x8914, struct.pack("16sh22x", b"lo", 0x1 | 0x40))
    return True


def place():
    """A directory with the repository's names in it, and what documents call ./your-program."""
    top = lib.scratch()
    for entry in lib.TOP.iterdir():
        if entry.name not in ("build", ".git"):
            (top / entry.name).symlink_to(entry)
    (top / "build").symlink_to(lib.BUILD)
    (top / "your-program").symlink_to(lib.program("hot_cpp"))
    return top


def run_section(blocks, top, seconds=120):
    """(what was printed, marks of the commands that failed)"""
    script = [PRELUDE]
    number = 0
    for commands, _ in blocks:
        for command in commands:
            number += 1
            script.append(f"echo '{MARK}{number}'")
            script.append(command)
            if command.endswith("&"):
                script.append("wait_for_port")  # its status says nothing yet
                continue
            script.append(f'[ $? = 0 ] || echo "{MARK}failed {number}"')
            if command.startswith("kill %"):
                script.append("wait 2>/dev/null")  # at a prompt, the number of an ended job is free again
    home = lib.scratch()
    env = lib.environment({"HOME": str(home), "PATH": f"{lib.TOP / 'scripts'}:{os.environ['PATH']}", "PPROF_TMPDIR": str(home)})
    for name in ("BUILD", "MAKEFLAGS", "MFLAGS", "MAKELEVEL", "MAKEOVERRIDES", "CC", "TEST"):
        env.pop(name, None)  # of the make that runs the tests
    with tempfile.TemporaryFile() as out:
        shell = subprocess.Popen(["bash", "-c", "\n".join(script)], cwd=top, stdin=subprocess.DEVNULL, stdout=out,
                                 stderr=subprocess.STDOUT, env=env, start_new_session=True)
        try:
            shell.wait(seconds)
        except subprocess.TimeoutExpired:
            out.write(f"\n{MARK}failed 0\nnot done within {seconds} s\n".encode())
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(shell.pid, signal.SIGKILL)
            shell.wait()
        out.seek(0)
        text = out.read().decode(errors="replace")
    return text, re.findall(rf"^{re.escape(MARK)}failed \d+$", text, re.M)


def check(path, word="", seconds=120):
    """Runs the sections whose heading has that word; all that is expected is there and every command succeeds."""
    found = 0
    for title, blocks in sections(lib.TOP / path):
        if word not in title:
            continue
        found += 1
        text, failed = run_section(blocks, place(), seconds)
        assert not failed, f"{path}, {title}: a command fails:\n{text}"
        for _, expected in blocks:
            for wish in expected:
                assert re.search(wish, text, re.M), f"{path}, {title}: no line has {wish!r}:\n{text}"
    assert found, f"{path} has no heading with {word!r} and commands"


def prepare():
    """For the tests: the network, or a skip when port 6060 is somebody else's and we cannot leave."""
    if not own_network() and lib.listening_on(6060):
        lib.skip("port 6060 is in use, and this user may not make a network of its own")


if __name__ == "__main__":
    own_network()
    for name, listed in sections(pathlib.Path(sys.argv[1])):
        if len(sys.argv) < 3 or sys.argv[2] in name:
            print(f"##### {name}\n{run_section(listed, place())[0]}")
