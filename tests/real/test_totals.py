# SPDX-License-Identifier: Apache-2.0
"""CPU profiles of stock programs at 1000 Hz against the clock that the kernel keeps of each process."""
import os

import lib
import stock
from cpuclock import Clock, check
from lib import limit, long, note, until
from stacks import View
from test_real import redis

SECONDS = 4


def totals(app, what):
    until(lambda: View(app.profile(seconds=1)).total("samples") > 5, "the load works", 90)
    threads = len(os.listdir(f"/proc/{app.pid}/task")) - 1
    with Clock(app.pid) as clock:
        profile = app.profile(seconds=SECONDS, hz=1000)
    said = View(profile).total("cpu")
    least, most, slack = check(clock, profile, said, threads, what)
    note(f"{what}: process {least / 1e6:.1f} to {most / 1e6:.1f} ms, profile {said / 1e6:.1f} ms "
         f"({100 * (2 * said / (least + most) - 1):+.2f} %), {threads} threads, allowed {slack / 1e6:.1f} ms beyond")
    assert most > 0.1e9, f"{what} used {most / 1e6:.0f} ms only"


@long
@limit(180)
def test_totals_of_redis():
    app, path = redis()
    with app:
        lib.background(["redis-benchmark", "-s", path, "-l", "-q", "-c", "10", "-P", "16", "-n", "100000", "-t", "lrange_300"])
        totals(app, "redis")


@limit(180)
def test_totals_of_php():
    with stock.php() as app:
        totals(app, "php")


@long
@limit(180)
def test_totals_of_nginx():
    with stock.nginx() as app:
        totals(app, "nginx")


@long
@limit(180)
def test_totals_of_node():
    with stock.node() as app:
        totals(app, "node")


@long
@limit(180)
def test_totals_of_java():
    with stock.java() as app:
        totals(app, "java")
