# SPDX-License-Identifier: Apache-2.0
"""The pages that draw profiles: over plain HTTP, and in a real browser. What the page shows is compared
with what the program did and with what `go tool pprof` says of the same bytes."""
import base64
import contextlib
import gzip
import http.server
import re
import subprocess
import threading

import lib
from lib import App, equal, go_pprof, limit, parallel, program, until

MARKUP = "<script>alert(1)</script><img src=x onerror=alert(2)>"
MIB = 1 << 20
DRAWN = ["allocs", "block", "goroutine", "goroutineleak", "heap", "leak", "mutex", "peakheap", "profile",
         "threadcreate", "wall"]


@contextlib.contextmanager
def holder(**settings):
    """tests/programs/markup, called by a name that is markup; every allocation is recorded."""
    name = lib.scratch() / "<img src=x onerror=alert(3)>"
    name.symlink_to(program("markup"))
    with App(name, stdin=subprocess.PIPE, memprofilerate=1, **settings) as app:
        equal(app.line(), "ready")
        yield app


def policy(answer):
    parts = [p.strip() for p in answer.header("Content-Security-Policy").split(";")]
    return {p.split(" ")[0]: p.split(" ")[1:] for p in parts}


# ---------------------------------------------------------------- plain HTTP

@parallel
def test_pages_over_http():
    with holder() as app:
        size = 0
        for name, kind in (("pprof.js", "text/javascript; charset=utf-8"), ("pprof.css", "text/css; charset=utf-8"),
                           ("icon.svg", "image/svg+xml"), ("heap", "text/html; charset=utf-8")):
            answer = app.get("ui/" + name)
            equal((answer.status, answer.header("Content-Type")), (200, kind), name)
            equal(answer.header("X-Content-Type-Options"), "nosniff", name)
            size += len(answer.body)
        assert size < 150_000, f"{size} bytes for one page"
        rules = policy(app.get("ui/heap"))
        equal(rules["default-src"], ["'none'"])
        for kind in ("script-src", "style-src", "connect-src", "img-src"):
            equal(rules[kind], ["'self'"], kind)
        # What is no page can run nothing, whatever it contains.
        equal(sorted(policy(app.get("heap", debug=1))), ["base-uri", "default-src", "form-action", "frame-ancestors"])
        equal(policy(app.get("ui/pprof.js"))["default-src"], ["'none'"])
        for name in DRAWN:
            equal(app.get("ui/" + name).status, 200, name)
        for name in ("cmdline", "symbol", "agent", "nosuch", "delta_heap", "ui/heap"):
            answer = app.get("ui/" + name)
            equal((answer.status, answer.header("X-Go-Pprof")), (404, "1"), name)
        equal(app.get("ui").status, 301)
        assert 'data-name="profile"' in app.get("ui/").text
        equal(app.get("ui/heap", method="POST", body=b"x").status, 405)
        equal(app.get("ui/symbol", method="POST", body=b"x").status, 405)


@parallel
def test_no_markup_of_the_program_in_pages():
    with holder() as app:
        for path in ("", "ui/heap"):
            page = app.get(path).text
            assert "onerror" in page and "<img" not in page, path
            # The policy would stop them; there are none.
            assert not re.search(r"<style|<script(?! src=)|\son\w+=|\sstyle=|javascript:", re.sub(r"&lt;.*?&gt;", "", page)), path


@parallel
def test_index_links_to_pages_that_exist():
    with App(program("idle"), stdin=subprocess.PIPE) as app:
        page = app.get().text
        links = re.findall(r'<a href="(ui/[^"]+)"', page)
        names = {link.split("/")[1].split("?")[0] for link in links}
        equal(sorted(names), DRAWN)
        for name in DRAWN:
            assert f"ui/{name}?seconds=5" in links and f"ui/{name}?seconds=30" in links, name
        # The shape that third-party tools scrape.
        rows = re.findall(r"<tr>\s*<td>(\d+)</td>\s*<td>\s*<a href='([^']*)\?debug=1'>(\w+)</a>", page)
        assert set(DRAWN) <= {name for _, path, name in rows if path == name}, rows


# ---------------------------------------------------------------- in the browser

def new_browser(*flags, **options):
    import browser
    return browser.Browser(*flags, **options)


def shown(browser):
    browser.until("page.profile !== null && page.abort === null", "the page shows a profile")


def table(browser):
    """Rows of the page's table by function: (flat, flat%, cum, cum%)."""
    rows = browser.js("Array.from(document.querySelectorAll('#top tbody tr')).map(r => Array.from(r.cells).map(c => c.textContent))")
    return {r[5]: (r[0], r[1], r[3], r[4]) for r in rows}


def go_table(*args):
    out = go_pprof("-top", "-unit=auto", "-nodefraction=0", "-nodecount=100000", *args).stdout
    rows = re.findall(r"^ *(\S+) +(\S+%) +\S+% +(\S+) +(\S+%)  (.*)$", out, re.M)
    # The tool takes what stands in brackets for parameters, and leaves them out.
    return {MARKUP if name == "alert" else name.removesuffix(" (inline)"): (flat, flat_share, cum, cum_share) for flat, flat_share, cum, cum_share, name in rows}


def widths(browser):
    """Share of the graph's width of each frame that is drawn, by name; summed."""
    frames = browser.js("Array.from(page.elements).map(([e, n]) => [n.name, parseFloat(e.style.width)])")
    out = {}
    for name, width in frames:
        out[name] = out.get(name, 0) + width / 100
    return out


@parallel
@limit(300)
def test_heap_page():
    with holder() as app, contextlib.closing(Tab()) as tab:
        browser = tab.browser
        browser.open(app.url("ui/heap"))
        shown(browser)
        data = app.get("heap").body
        equal(table(browser)["keeps_blocks"][0], "64MB", "what the program holds")
        assert widths(browser)["keeps_blocks"] > 0.99, widths(browser)
        assert "inuse_space 64" in browser.js("$('facts').textContent")

        # Names are text, and the only script is ours.
        assert MARKUP in table(browser) and MARKUP in widths(browser)
        equal(browser.js("document.scripts.length + document.images.length"), 1)
        assert "onerror" in browser.js("document.title") and "onerror" in browser.js("$('program').textContent")

        # Another sample type.
        browser.js("$('type').value = '2'; $('type').dispatchEvent(new Event('change'))")
        equal(browser.js("page.type.type"), "inuse_objects")
        equal(table(browser)["keeps_blocks"][0], "64")
        assert "type=inuse_objects" in browser.js("location.search")
        browser.js("$('type').value = '3'; $('type').dispatchEvent(new Event('change'))")

        # The same file in the go tool: the same table, to the last digit.
        first = lib.scratch() / "first.pb.gz"
        first.write_bytes(data)
        browser.js("fileUse = 'open'")
        browser.choose_file("#file", first)
        browser.until("page.profile.title === 'first.pb.gz'")
        browser.js("page.all = true; table()")
        for kind, index in (("inuse_space", 3), ("alloc_objects", 0), ("inuse_space", 3)):
            browser.js(f"$('type').value = '{index}'; $('type').dispatchEvent(new Event('change'))")
            equal(table(browser), go_table(f"-sample_index={kind}", first), kind)

        # Search, zoom, focus, callers; and back step by step.
        browser.key("/")
        equal(browser.js("document.activeElement.id"), "search")
        for key in "keeps_b":
            browser.key(key)
        browser.until("page.search === 'keeps_b' && !$('found').hidden")
        assert re.match(r"keeps_b: 64(\.\d+)?MB, (100|99\.\d+)% of all", browser.js("$('found').textContent"))
        equal(browser.js("Array.from(page.elements).every(([e, n]) => e.classList.contains('dim') === "
                         "(n !== page.root && !n.name.includes('keeps_b')))"), True)
        browser.key("Enter")
        equal(browser.js("document.activeElement.id"), "graph")
        browser.js("Array.from(page.elements).find(([e, n]) => n.name === 'keeps_blocks')[0].click()")
        equal(browser.js("page.zoomed.name"), "keeps_blocks")
        equal(browser.js("Array.from(page.elements).every(([e, n]) => e.style.width === '100%')"), True)
        browser.key("ArrowUp")
        equal(browser.js("page.chosen.name"), MARKUP)
        browser.key("i")
        equal(browser.js("page.root.below[0].name"), "keeps_blocks")
        equal(browser.js("page.root.below[0].below[0].name"), MARKUP)
        browser.key("i")
        browser.js("Array.from(document.querySelectorAll('#top td')).find(c => c.textContent === 'main').click()")
        equal(browser.js("page.root.below.length === 1 && page.root.below[0].name"), "main")
        browser.key("Escape")
        equal(browser.js("page.focus + page.search"), "keeps_b")
        browser.key("Escape")
        equal(browser.js("page.search"), "")

        # The difference of two fetches, and from a file.
        browser.open(app.url("ui/heap"))
        shown(browser)
        app.say("more")
        equal(app.line(), "done")
        browser.key("d")
        browser.until("page.baseline !== null && page.abort === null")
        assert "32MB" in browser.js("$('facts').textContent"), browser.js("$('facts').textContent")
        equal(table(browser)["keeps_more"][0], "32MB")
        assert 0.3 < widths(browser)["keeps_more"] < 0.36, widths(browser)
        colors = dict(browser.js("Array.from(page.elements).map(([e, n]) => [n.name, e.style.backgroundColor])"))
        red, green, blue = map(int, re.findall(r"\d+", colors["keeps_more"])[:3])
        assert red > green + 60 and red > blue + 60, colors
        red, green, blue = map(int, re.findall(r"\d+", colors["keeps_blocks"])[:3])
        assert max(red, green, blue) - min(red, green, blue) < 30, colors
        second = lib.scratch() / "second.pb.gz"
        second.write_bytes(app.get("heap").body)
        for use, file in (("open", second), ("base", first)):
            browser.js(f"fileUse = '{use}'")
            browser.choose_file("#file", file)
            browser.until(f"page.{'profile' if use == 'open' else 'baseline'}?.title === '{file.name}'")
        browser.js("page.all = true; table()")
        ours = {name: row for name, row in table(browser).items() if row[0] != "0" or row[2] != "0"}
        theirs = {name: row for name, row in go_table("-sample_index=inuse_space", f"-diff_base={first}", second).items()
                  if row[0] != "0" or row[2] != "0"}
        equal(ours, theirs, "difference of two files")

        # What is no profile is refused, and what was shown stays. A cut between two of its parts may leave a
        # profile; anything else is told, gzipped or not.
        plain = gzip.decompress(data)
        cuts = [plain[:at] for at in range(1, len(plain), 97)] + [data[:-9], b"no profile at all", b""]
        refused = 0
        for number, cut in enumerate(cuts):
            bad = lib.scratch() / f"bad{number}.pb.gz"
            bad.write_bytes(cut)
            browser.js("say('error', '')")
            browser.choose_file("#file", bad)
            answer = browser.until(f"page.profile.title === '{bad.name}' ? 'shown' : $('error').textContent")
            assert answer == "shown" or answer.startswith(f"{bad.name} cannot be used: "), f"{answer}: the first {len(cut)} bytes"
            refused += answer != "shown"
        assert refused > 0.8 * len(cuts) and answer != "shown", f"{refused} of {len(cuts)}, the last: {answer}"
        tab.expect_no_complaints()


class Tab:
    """A browser that must have nothing to complain of."""

    def __init__(self, *flags, **options):
        self.browser = new_browser(*flags, **options)

    def expect_no_complaints(self):
        assert not self.browser.complaints, self.browser.complaints

    def close(self):
        self.browser.process.terminate()


@parallel
@limit(300)
def test_cpu_page_and_empty_pages():
    with holder() as app, contextlib.closing(Tab()) as tab:
        browser = tab.browser
        # Progress while it runs; cancelled, the program is not sampled any longer.
        browser.open(app.url("ui/profile", seconds=30))
        browser.until("!$('progress').hidden && /of 30 s/.test($('doing').textContent)")
        until(lambda: app.cpu_timers() > 0, "the profile runs")
        browser.js("$('cancel').click()")
        browser.until("$('progress').hidden")
        until(lambda: app.cpu_timers() == 0, "the profile has ended with its page's wish")
        browser.open(app.url("ui/profile", seconds=2, labels=1))
        shown(browser)
        assert widths(browser)["burns"] > 0.8, widths(browser)
        assert "over 2" in browser.js("$('facts').textContent")
        # Grouped by thread: its name, markup and all, is a frame.
        browser.js("$('group').value = 'thread'; $('group').dispatchEvent(new Event('change'))")
        equal(browser.js("page.root.below[0].name"), "thread: <b>bold</b>")
        browser.open(app.url("ui/goroutineleak"))
        shown(browser)
        equal(browser.js("$('empty').textContent"), "No deadlock: every thread can still go on.")
        browser.open(app.url("ui/mutex", seconds=1))
        shown(browser)
        equal(browser.js("$('empty').textContent"), "No change of mutex in 1 s.")
        for name in set(DRAWN) - {"profile", "mutex", "goroutineleak", "heap"}:
            browser.open(app.url("ui/" + name, **({"seconds": 1} if name == "wall" else {})))
            shown(browser)
            equal(browser.js("$('profile').value"), name)
        tab.expect_no_complaints()
        # Asked again while it runs: the second request is the one that counts, its progress stays in sight.
        browser.open(app.url("ui/profile", seconds=30))
        browser.until("/of 30 s/.test($('doing').textContent)")
        browser.js("$('window').value = '60'; $('window').dispatchEvent(new Event('change'))")
        browser.until("!$('progress').hidden && /of 60 s/.test($('doing').textContent)")
        browser.js("$('cancel').click()")
        browser.until("$('progress').hidden && page.abort === null")
        # An answer that is no profile is shown as what it is. (The browser itself logs the 400.)
        browser.open(app.url("ui/leak", age="junk"))
        browser.until("!$('error').hidden")
        assert browser.js("$('error').textContent").startswith("400: "), browser.js("$('error').textContent")


@parallel
@limit(120)
def test_page_behind_a_token():
    with App(program("idle"), stdin=subprocess.PIPE, token="s3cret") as app, contextlib.closing(Tab()) as tab:
        browser = tab.browser
        browser.open(f"http://x:s3cret@127.0.0.1:{app.where[1]}/debug/pprof/ui/goroutine")
        shown(browser)
        assert "main" in table(browser), table(browser)
        tab.expect_no_complaints()


@parallel
@limit(120)
def test_pages_of_a_worker():
    """Through the process that holds the port: same page, same policy, and no complaint of the browser."""
    with App(lib.BUILD / "cookbook/prefork") as app, contextlib.closing(Tab()) as tab:
        links = until(lambda: re.findall(r'href="(child/\d+/ui/heap)"', app.get().text), "the index lists a worker")
        equal(policy(app.get(links[0])), policy(app.get("ui/heap")))
        equal(policy(app.get(links[0].replace("ui/heap", "heap?debug=1"))), policy(app.get("heap", debug=1)))
        tab.browser.open(app.url(links[0].replace("heap", "goroutine")))
        shown(tab.browser)
        assert "main" in table(tab.browser), table(tab.browser)
        tab.expect_no_complaints()


@parallel
@limit(180)
def test_light_dark_and_narrow():
    def luminance():
        return sum(map(int, re.findall(r"\d+", browser.js("getComputedStyle(document.body).backgroundColor"))[:3]))

    with holder() as app, contextlib.closing(Tab()) as tab:
        browser = tab.browser
        for path in ("", "ui/heap"):
            browser.open(app.url(path))
            assert luminance() > 700, path
            browser.theme(True)
            browser.until("matchMedia('(prefers-color-scheme: dark)').matches")
            assert luminance() < 120, path
            browser.theme(False)
            browser.until("!matchMedia('(prefers-color-scheme: dark)').matches")
        shown(browser)
        browser.key("t")
        assert luminance() < 120
        browser.open(app.url("ui/heap"))  # it is remembered
        assert luminance() < 120
        shown(browser)
        browser.key("t")
        assert luminance() > 700
        browser.resize(390, 800)
        for path in ("", "ui/heap"):
            browser.open(app.url(path))
            if path:
                shown(browser)
            assert browser.js("document.documentElement.scrollWidth") <= 390, path
        tab.expect_no_complaints()


# ---------------------------------------------------------------- other people's pages

ATTACK = """<!DOCTYPE html><title>attack</title><script>
window.got = [];
async function attempt(how, url, options) {
	try {
		const answer = await fetch(url, options);
		window.got.push([how, answer.type, answer.status, (await answer.text()).slice(0, 80)]);
	} catch (e) {
		window.got.push([how, "refused"]);
	}
}
async function run(base) {
	await attempt("cors", base + "heap?debug=1", {mode: "cors"});
	await attempt("no-cors", base + "heap?debug=1", {mode: "no-cors"});
	await attempt("same", "/debug/pprof/heap?debug=1", {});
	await attempt("page", base + "ui/heap", {mode: "cors"});
	await attempt("start", base + "profile?seconds=1", {mode: "no-cors"});
	for (const kind of ["script", "img", "image", "iframe"]) {
		const element = document.createElement(kind === "image" ? "img" : kind);
		await new Promise(done => {
			element.onload = () => { window.got.push([kind, "loaded"]); done(); };
			element.onerror = () => { window.got.push([kind, "refused"]); done(); };
			element.src = base + (kind === "script" ? "ui/pprof.js" : kind === "img" ? "ui/icon.svg" : kind === "image" ? "profile?seconds=1" : "ui/heap");
			document.body.append(element);
		});
	}
	window.over = true;
}
</script><body></body>"""


class Attacker(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        data = ATTACK.encode() if self.path == "/attack" else b"not here"
        self.send_response(200 if self.path == "/attack" else 404)
        self.send_header("Content-Type", "text/html")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_):
        pass


@parallel
@limit(180)
def test_other_origins_read_nothing():
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Attacker)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    with holder() as app, contextlib.closing(Tab(
            # Without the browser's own walls around this machine: ours must hold alone.
            "--host-resolver-rules=MAP *.example 127.0.0.1", "--disable-features=LocalNetworkAccessChecks,"
            "BlockInsecurePrivateNetworkRequests,PrivateNetworkAccessSendPreflights")) as tab:
        browser = tab.browser
        # Another origin on the same machine, and one elsewhere.
        for host in ("127.0.0.1", "evil.example"):
            browser.open(f"http://{host}:{server.server_port}/attack")
            browser.js(f"run('{app.url()}')")
            browser.until("window.over")
            got = browser.js("window.got")
            for how, *what in got:
                if how == "same":
                    equal(what[-1], "not here")  # the attacker's own server
                elif how == "iframe":
                    # An error page counts as loaded; it is none of ours, and nobody can look into it.
                    equal(browser.js("document.querySelector('iframe').contentDocument"), None)
                else:
                    equal(what, ["refused"], f"{how} from {host}")
            equal(sorted(how for how, *_ in got), sorted(["cors", "no-cors", "same", "page", "start", "script", "img", "image", "iframe"]))

        # DNS rebinding: a name of the attacker's that now means this machine, with the page that his server
        # gave a moment ago.
        rebound = f"http://rebound.example:{app.where[1]}"
        browser.requests["Fetch.requestPaused"] = lambda paused: browser._send(
            "Fetch.fulfillRequest", requestId=paused["requestId"], responseCode=200,
            responseHeaders=[{"name": "Content-Type", "value": "text/html"}], body=base64.b64encode(ATTACK.encode()).decode())
        browser.call("Fetch.enable", patterns=[{"urlPattern": rebound + "/attack"}])
        browser.open(rebound + "/attack")
        browser.js(f"run('{rebound}/debug/pprof/')")
        browser.until("window.over")
        got = {how: what for how, *what in browser.js("window.got")}
        for how in ("cors", "no-cors", "same", "page", "start"):
            equal(got[how][1], 403, how)
            assert "not allowed" in got[how][2], got[how]
        equal((got["script"], got["img"], got["image"]), (["refused"],) * 3)
        # and none of the requests for a profile began one
        counters = dict(re.findall(r"^(\w+) +(\d+)  ", app.get("agent").text, re.M))
        equal((counters["cpu_samples"], counters["cpu_periods_settled"], app.cpu_timers()), ("0", "0", 0), "samples taken")
        assert int(counters["http_requests_denied"]) >= 20, counters["http_requests_denied"]
        # Opened by hand it is as closed, and says what to do.
        browser.open(rebound + "/debug/pprof/heap?debug=1")
        text = browser.js("document.body.textContent")
        assert "PPROF_HOSTS" in text and "heap profile" not in text, text
    server.shutdown()
