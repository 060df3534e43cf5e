# SPDX-License-Identifier: Apache-2.0
"""Looks up orders in a table that has no index. For docs/cookbook.md; ends after two minutes."""
import sqlite3
import time

db = sqlite3.connect(":memory:")
db.execute("create table orders (customer text, amount integer)")
db.executemany("insert into orders values (?, ?)", ((f"customer {i}", i) for i in range(20000)))
end = time.monotonic() + 120
while time.monotonic() < end:
    db.execute("select sum(amount) from orders where customer = ?", ("customer 17",)).fetchone()
