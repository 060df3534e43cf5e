# SPDX-License-Identifier: Apache-2.0
"""The timeline of `go tool trace` in a real browser."""
import subprocess

import browser
import lib
from lib import App, equal, limit, needs, note, parallel, program
from traces import pages

VIEW = "document.querySelector('tr-ui-timeline-view')"


@parallel
@limit(180)
def test_timeline():
    needs("chromium")
    with App(program("cpp_pool"), stdin=subprocess.PIPE) as app:
        equal(app.line(), "ready")
        answer = app.get("trace", seconds=1)
        file = lib.scratch() / "trace"
        file.write_bytes(answer.body)
        with pages(file) as get:
            page = browser.Browser(size=(1500, 1000))
            page.open(get.base + "/trace")
            if not page.js("!!document.registerElement || !!window.Polymer || !!window.WebComponents"):
                lib.skip("this browser has none of what Go 1.19's viewer is made of")
            page.until(f"{VIEW} && {VIEW}.model && {VIEW}.model.getAllThreads().length > 5", "the trace is drawn", 120)
            titles = page.js(f"[...new Set([].concat(...{VIEW}.model.getAllThreads().map(t => t.sliceGroup.slices.map(s => s.title))))]")
            note(titles)
            for word in ("main", "pool-0", "pool-1", "pool-2", "pool-3"):
                assert any(word in title for title in titles), (word, titles)
            flows = page.js(f"{VIEW}.model.flowEvents.length")
            assert flows > 10, flows
            page.until("!document.querySelector('tr-ui-b-overlay')", "nothing lies above it", 60)
            picture = lib.BUILD / "tests" / "timeline.png"
            page.screenshot(picture)
            note(f"{flows} arrows; a picture is {picture}")
