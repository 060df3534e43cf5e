# SPDX-License-Identifier: Apache-2.0
"""Forks at every instruction: a thread takes single steps through malloc, free, locks, the start of a thread and our signal
handler while another one forks, and each child must be able to go on (hazards B2, D2)."""
import contextlib
import subprocess
import threading

from lib import Endpoint, agent, environment, equal, limit, long, note, program, scratch, until


def torture(stride, rounds, seconds):
    directory = scratch()
    settings = dict(addr="127.0.0.1:0", port_file=directory / "port", memprofilerate=1, mutexprofilefraction=1, blockprofilerate=1)
    process = subprocess.Popen([program("torture"), agent(), str(stride), str(rounds)], env=environment(**settings), stdout=subprocess.PIPE, text=True)
    try:
        port = until(lambda: (directory / "port").exists() and (directory / "port").read_text().endswith("\n") and int((directory / "port").read_text()),
                     "its agent listens", 30)

        def profiles():
            with contextlib.suppress(OSError):
                while process.poll() is None:
                    Endpoint(("127.0.0.1", port)).get("profile", seconds=1, hz=1000, timeout=20)
        beside = threading.Thread(target=profiles)
        beside.start()
        said = process.communicate(timeout=seconds)[0]
        beside.join()
    finally:
        process.kill()
        process.wait()
    equal(process.returncode, 0, f"status of it ({said})")
    steps, forks, signals = map(int, said.split())
    note(f"{steps} steps, {forks} forks, {signals} signals in between")
    return steps, forks, signals


@limit(100)
def test_forks_between_instructions():
    steps, forks, _ = torture(397, 8, 90)
    assert steps > 10000 and forks > steps / 397 / 2, f"{steps} steps, {forks} forks"


@long
@limit(2400)
def test_forks_at_every_instruction():
    steps, forks, signals = torture(1, 2, 2300)
    assert forks > 5000 and signals > 10, f"{steps} steps, {forks} forks, {signals} signals"
