// SPDX-License-Identifier: Apache-2.0
// page.js: the controls. It asks for the same profiles as any other client, at ../NAME, and draws what
// comes. ?seconds= fetches over a time at once; type=, q= and view=callers choose what is shown; every
// other parameter of the page's address goes into the request (age=, hz=, labels=).

const $ = id => document.getElementById(id);
const OWN_PARAMETERS = ["seconds", "type", "q", "view"];
const ROWS_SHOWN = 60;
const parameters = new URLSearchParams(location.search);
const page = {
	name: document.body.dataset.name, profile: null, baseline: null, type: null, group: "",
	inverted: parameters.get("view") === "callers", focus: "", search: parameters.get("q") || "",
	sort: "flat", rows: [], root: null, zoomed: null, chosen: null, elements: new Map(), abort: null, all: false,
};

const isTimed = () => $("profile").selectedOptions[0].dataset.timed === "1";

const EMPTY = {
	profile: "No samples: the program used no processor time while it was watched. Where does it wait? Look at wall or goroutine.",
	heap: "No samples: nothing that is live now was among the sampled allocations (one in about 512 kB, PPROF_MEMPROFILERATE).",
	allocs: "No samples: the program has hardly allocated yet (one sample in about 512 kB, PPROF_MEMPROFILERATE).",
	peakheap: "No samples: the program has hardly allocated yet (one sample in about 512 kB, PPROF_MEMPROFILERATE).",
	leak: "No samples: no live object is that old. age=10s in this page's address asks for younger ones.",
	block: "No samples: no thread has waited for a lock, a condition or another thread.",
	mutex: "No samples: no lock was held while another thread wanted it.",
	threadcreate: "No samples: the program has not created a thread.",
	goroutineleak: "No deadlock: every thread can still go on.",
	wall: "No samples: all threads ended before they were looked at.",
};

function say(id, text) {
	$(id).textContent = text;
	$(id).hidden = !text;
}

// ---- what is shown

function fillTypes() {
	const types = page.profile.types, wanted = page.type ? page.type.type : parameters.get("type");
	const at = types.findIndex(t => t.type === wanted), index = at >= 0 ? at : firstType(page.profile);
	$("type").replaceChildren(...types.map((t, i) => new Option(t.type, i)));
	$("type").value = index;
	page.type = types[index];
}

function fillGroups() {
	const keys = new Set(page.profile.samples.flatMap(s => s.labels.map(l => l.key)));
	if (!keys.has(page.group))
		page.group = "";
	$("group").replaceChildren(new Option("nothing", ""), ...[...keys].sort().map(k => new Option("by " + k, k)));
	$("group").value = page.group;
	$("group-label").hidden = !keys.size;
}

// A CPU profile of 5 s and one of 30 s are compared per second.
function baselineScale() {
	const a = page.profile.duration, b = page.baseline ? page.baseline.duration : 0;
	return a > 0 && b > 0 && Math.abs(a / b - 1) > 0.02 ? a / b : 1;
}

function update() {
	const baseline = page.baseline && page.baseline.types.some(t => t.type === page.type.type) ? page.baseline : null;
	page.rows = rowsOf(page.profile, page.type.type, baseline, baselineScale(), page.group);
	page.total = totalOf(page.rows);
	page.diff = Boolean(baseline) || isDiff(page.rows);
	const empty = !page.rows.length;
	$("main").hidden = empty;
	say("empty", empty ? EMPTY[page.name] || "No samples." : "");
	if (empty && page.profile.samples.length)
		say("empty", `No ${page.type.type}: choose another column in "Show".`);
	else if (empty && !isTimed() && $("window").value)
		say("empty", `No change of ${page.name} in ${$("window").value} s.`);
	facts();
	say("baseline-text", page.baseline ? `Difference from ${page.baseline.title} of ${clock(page.baseline)}` +
		(baselineScale() !== 1 ? ", scaled to the same time" : "") + ". Red grew, blue shrank." : "");
	$("baseline").hidden = !page.baseline;
	say("focus-name", page.focus);
	$("focused").hidden = !page.focus;
	notes();
	legend();
	regrow();
	table();
	remember();
}

const clock = profile => profile.time ? new Date(profile.time).toLocaleTimeString() : "an unknown time";

function facts() {
	const p = page.profile, t = page.total, unit = page.type.unit, words = [];
	words.push(p.title, clock(p));
	if (p.duration)
		words.push("over " + label(p.duration, "nanoseconds"));
	words.push(page.diff ? `${page.type.type} ${label(t.base, unit)} → ${label(t.now, unit)} (${t.now < t.base ? "" : "+"}${label(t.now - t.base, unit)})`
		: `${page.type.type} ${label(t.now, unit)}`);
	if (p.duration && page.type.type === "cpu" && !page.diff)
		words.push(`${(t.now / p.duration).toFixed(2)} processors busy`);
	$("facts").textContent = words.join(" · ");
}

function notes() {
	const list = page.profile.comments;
	$("notes").hidden = !list.length;
	$("notes").querySelector("summary").textContent = `Notes of the profile (${list.length})`;
	$("notes").querySelector("ul").replaceChildren(...list.map(text => {
		const item = document.createElement("li");
		item.textContent = text;
		return item;
	}));
}

function legend() {
	const parts = [];
	for (const m of page.diff ? [] : modulesOf(page.rows).slice(0, 8)) {
		const chip = document.createElement("span");
		chip.className = "chip";
		chip.style.backgroundColor = moduleColor(m.module, "");
		parts.push(chip, `${m.module.name} ${percent(m.value, page.total.whole)}`);
	}
	$("legend").replaceChildren(...parts);
}

// Grows the tree anew: other rows, other direction, other focus.
function regrow() {
	page.root = page.zoomed = treeOf(page.rows, page);
	page.root.name = `all: ${page.diff ? (page.total.now < page.total.base ? "" : "+") + label(page.total.now - page.total.base, page.type.unit)
		: label(page.root.now, page.type.unit)} ${page.type.type}`;
	page.chosen = null;
	redraw();
}

function redraw() {
	$("down").setAttribute("aria-pressed", !page.inverted);
	$("up").setAttribute("aria-pressed", page.inverted);
	const matches = page.search ? matcher(page.search) : null;
	$("search").value !== page.search && ($("search").value = page.search);
	if (page.root)
		page.elements = draw($("graph"), page.root, page.zoomed, {diff: page.diff, matches, chosen: page.chosen});
	$("tip").hidden = true;
	if (page.search && !matches)
		say("found", `${page.search} is not an expression`);
	else if (page.search) {
		const sum = matching(page.rows, matches);
		say("found", `${page.search}: ${label(sum, page.type.unit)}, ${percent(sum, page.total.whole)} of all`);
	} else
		say("found", "");
}

function cell(text) {
	const td = document.createElement("td");
	td.textContent = text;
	return td;
}

function table() {
	const unit = page.type.unit, whole = page.total.whole, matches = page.search ? matcher(page.search) : null;
	const orders = {
		flat: (a, b) => Math.abs(b.flat) - Math.abs(a.flat) || Math.abs(b.cum) - Math.abs(a.cum) || (a.name < b.name ? -1 : 1),
		cum: (a, b) => Math.abs(b.cum) - Math.abs(a.cum) || Math.abs(b.flat) - Math.abs(a.flat) || (a.name < b.name ? -1 : 1),
		name: (a, b) => a.name < b.name ? -1 : 1,
	};
	const entries = tableOf(page.rows).sort(orders[page.sort]);
	let sum = 0;
	const rows = (page.all ? entries : entries.slice(0, ROWS_SHOWN)).map(e => {
		const row = document.createElement("tr");
		sum += e.flat;
		row.append(cell(label(e.flat, unit)), cell(percent(e.flat, whole)), cell(percent(sum, whole)),
			cell(label(e.cum, unit)), cell(percent(e.cum, whole)), cell(e.name));
		row.className = matches && matches(e.name) ? "match" : "";
		row.lastChild.title = "Only stacks through this function";
		return row;
	});
	$("top").tBodies[0].replaceChildren(...rows);
	for (const head of $("top").tHead.rows[0].cells)
		head.classList.toggle("sorted", head.dataset.sort === page.sort);
	say("more", rows.length < entries.length ? `All ${entries.length} functions` : "");
}

// The address of the page says what it shows.
function remember() {
	const query = new URLSearchParams(parameters);
	const set = (key, value) => value ? query.set(key, value) : query.delete(key);
	set("seconds", $("window").value);
	set("type", page.type === page.profile.types[firstType(page.profile)] ? "" : page.type.type);
	set("q", page.search);
	set("view", page.inverted ? "callers" : "");
	const text = query.toString();
	history.replaceState(null, "", location.pathname + (text ? "?" + text : ""));
}

// ---- what people do

function zoom(node) {
	page.zoomed = page.chosen = node;
	redraw();
}

function focus(name) {
	page.focus = name;
	update();
	scrollTo(0, 0);
}

function invert(on) {
	page.inverted = on;
	if (page.profile)
		update();
}

function search(text) {
	page.search = text;
	redraw();
	table();
	remember();
}

function back() {
	if (page.zoomed && page.zoomed !== page.root)
		zoom(page.root);
	else if (page.focus)
		focus("");
	else if (page.search)
		search("");
}

function setTheme(theme) {
	document.documentElement.dataset.theme = theme;
	try {
		localStorage.setItem("pprof-theme", theme);
	} catch (e) {
		// kept for this page only
	}
	recolor();
}

function recolor() {
	if (page.profile) {
		legend();
		redraw();
	}
}

function showTip(node, x, y) {
	const tip = $("tip");
	tip.replaceChildren(...describe(node, page.type, page.total, page.diff).map(text => {
		const line = document.createElement("div");
		line.textContent = text;
		return line;
	}));
	tip.hidden = false;
	const box = tip.getBoundingClientRect();
	tip.style.left = Math.max(4, Math.min(x + 12, innerWidth - box.width - 8)) + "px";
	tip.style.top = (y + 24 + box.height > innerHeight ? y - box.height - 10 : y + 18) + "px";
}

function choose(node) {
	page.chosen = node;
	redraw();
	const element = $("chosen");
	if (!element)
		return;
	$("graph").setAttribute("aria-activedescendant", "chosen");
	element.scrollIntoView({block: "nearest"});
	const box = element.getBoundingClientRect();
	showTip(node, box.left, box.bottom - 12);
}

const KEYS = {
	"/": () => $("search").focus(),
	"i": () => invert(!page.inverted),
	"r": () => fetchProfile(),
	"d": () => compareWithNew(),
	"t": () => setTheme(dark() ? "light" : "dark"),
	"f": () => page.chosen && page.chosen.parent && focus(page.chosen.name),
	"?": () => $("keys").showModal(),
	"Escape": back,
};

function onKey(event) {
	if (event.ctrlKey || event.metaKey || event.altKey || $("keys").open)
		return;
	if (event.target.matches("input, select")) {
		if (event.target.id !== "search" || !["Escape", "Enter"].includes(event.key))
			return;
		if (event.key === "Escape" && page.profile)
			search("");
		$("graph").focus();
	} else if (!page.profile && !["/", "r", "t", "?"].includes(event.key)) {
		return;
	} else if (event.key.startsWith("Arrow") && page.root && document.activeElement === $("graph")) {
		choose(page.chosen ? neighbour(page.chosen, event.key, page.zoomed) : page.zoomed);
	} else if (event.key === "Enter" && page.chosen && document.activeElement === $("graph")) {
		zoom(page.chosen);
	} else if (KEYS[event.key]) {
		KEYS[event.key]();
	} else {
		return;
	}
	event.preventDefault();
}

function listen() {
	const on = (id, event, run) => $(id).addEventListener(event, run);
	on("tools", "submit", event => { event.preventDefault(); fetchProfile(); });
	on("profile", "change", () => { location.href = $("profile").value; });
	on("window", "change", () => fetchProfile());
	on("type", "change", () => { page.type = page.profile.types[$("type").value]; update(); });
	on("group", "change", () => { page.group = $("group").value; update(); });
	on("down", "click", () => invert(false));
	on("up", "click", () => invert(true));
	on("search", "input", () => page.profile && search($("search").value));
	on("compare", "click", compareWithNew);
	on("load", "click", () => pick("open"));
	on("load-base", "click", () => page.profile && pick("base"));
	on("file", "change", filePicked);
	on("cancel", "click", () => page.abort && page.abort.abort());
	on("unbase", "click", () => { page.baseline = null; update(); });
	on("unfocus", "click", () => focus(""));
	on("theme", "click", () => KEYS.t());
	on("help", "click", () => KEYS["?"]());
	on("more", "click", () => { page.all = true; table(); });
	on("graph", "click", event => { const node = page.elements.get(event.target); node && zoom(node); });
	on("graph", "mousemove", event => {
		const node = page.elements.get(event.target);
		node ? showTip(node, event.clientX, event.clientY) : $("tip").hidden = true;
	});
	on("graph", "mouseleave", () => { $("tip").hidden = true; });
	$("top").tHead.addEventListener("click", event => { page.sort = event.target.dataset.sort || page.sort; page.profile && table(); });
	$("top").tBodies[0].addEventListener("click", event => event.target.cellIndex === 5 && focus(event.target.textContent));
	document.addEventListener("keydown", onKey);
	matchMedia("(prefers-color-scheme: dark)").addEventListener("change", recolor);
	let width = 0;
	new ResizeObserver(() => {
		if (page.root && $("graph").clientWidth !== width) {
			width = $("graph").clientWidth;
			redraw();
		}
	}).observe($("graph"));
}

function start() {
	try {
		const theme = localStorage.getItem("pprof-theme");
		if (theme)
			document.documentElement.dataset.theme = theme;
	} catch (e) {
		// no storage: the system's choice
	}
	$("profile").value = page.name;
	fillWindows();
	listen();
	redraw();
	fetchProfile();
}

start();
