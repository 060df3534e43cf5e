# SPDX-License-Identifier: Apache-2.0
"""What the tests call a complete stack: the rule must refuse one that ends too early."""
import collections
import subprocess

from lib import equal, needs, parallel, program
from stacks import Frame, is_root, roots_of

Mapping = collections.namedtuple("Mapping", "start offset filename")


@parallel
def test_only_code_without_a_caller_is_a_root():
    needs("readelf")
    path = program("spin")
    mapping = Mapping(0x7000000, 0, path)
    ((low, high),) = roots_of(path)
    head = subprocess.run(["readelf", "-hW", path], check=True, capture_output=True, text=True).stdout
    equal(low, int(head.split("Entry point address:")[1].split()[0], 16), "the only root of a program, its entry point")

    def ends_at(offset, name="f"):
        return is_root([Frame("leaf", "leaf", 1, None), Frame(name, name, mapping.start + offset, mapping)])

    equal([ends_at(low), ends_at(high - 1), ends_at(high), ends_at(low - 2), ends_at(high + 100, "_start")],
          [True, True, False, False, False], "roots")
    for name in ("[unknown caller]", "[registers unknown]", "[truncated]"):
        assert not is_root([Frame("leaf", "leaf", 1, None), Frame(name, name, 6, None)]), name
    assert not is_root([])
