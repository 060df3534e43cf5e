# SPDX-License-Identifier: Apache-2.0
"""The listener (agent/http) over real sockets, against clients that mean it harm.

Usage: run.py SERVE [-v] [-k WORD]
SERVE is tests/http/serve.c: the listener with toy answers.
"""
import os
import sys
import unittest

import serving

serving.SERVE = os.path.abspath(sys.argv[1])
found = ["discover", "-s", os.path.dirname(os.path.abspath(__file__))]
outcome = unittest.main(None, argv=[sys.argv[0], *found, *sys.argv[2:]], exit=False).result
failed, skipped = len(outcome.failures) + len(outcome.errors), len(outcome.skipped)
print(f"http: {outcome.testsRun - failed - skipped} passed, {failed} failed, {skipped} skipped")
sys.exit(not outcome.wasSuccessful())
