// SPDX-License-Identifier: Apache-2.0
// draw.js: the flame graph. One element per frame that is at least a pixel wide, placed by the object
// model (the page's policy allows no style in markup); texts only ever become text nodes.

const ROW = 19;
const HUES = [205, 150, 265, 325, 95, 180, 50, 235, 120, 290];

function hash(text) {
	let h = 2166136261;
	for (let i = 0; i < text.length; i++)
		h = Math.imul(h ^ text.charCodeAt(i), 16777619);
	return h >>> 0;
}

const dark = () => (document.documentElement.dataset.theme ||
	(matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light")) === "dark";

function moduleColor(module, name) {
	const shade = hash(name) % 100 / 100;
	if (!module.name)
		return dark() ? "hsl(210 6% 30%)" : "hsl(210 10% 85%)";
	const hue = module.own ? 18 + 26 * shade : HUES[hash(module.name) % HUES.length] + 14 * (shade - 0.5);
	return dark() ? `hsl(${hue} ${module.own ? 55 : 38}% ${29 + 7 * shade}%)`
		: `hsl(${hue} ${module.own ? 88 : 62}% ${70 + 9 * shade}%)`;
}

// Red grew, blue shrank; the stronger the more of the frame changed.
function changeColor(node) {
	const ratio = (node.now - node.base) / (Math.max(node.now, node.base) || 1), strength = Math.abs(ratio);
	const hue = ratio > 0 ? 8 : 212;
	if (strength < 0.005)
		return dark() ? "hsl(210 5% 32%)" : "hsl(210 8% 87%)";
	return dark() ? `hsl(${hue} ${25 + 45 * strength}% ${31 + 8 * strength}%)`
		: `hsl(${hue} ${45 + 45 * strength}% ${88 - 20 * strength}%)`;
}

// The end of a C++ or Rust name says more than its beginning: outer scopes go first when it does not fit.
function shorten(name, room) {
	while (name.length > room) {
		const at = name.indexOf("::");
		if (at <= 0 || at + 2 >= name.length || /[(<]/.test(name.slice(0, at)))
			return name;
		name = name.slice(at + 2);
	}
	return name;
}

// Draws `root` into `box`: zoomed is the node that gets the whole width. view: {diff, matches, chosen}.
// Returns a Map from element to node.
function draw(box, root, zoomed, view) {
	const elements = new Map(), path = [];
	for (let node = zoomed.parent; node; node = node.parent)
		path.unshift(node);
	const width = box.clientWidth || 1000, list = document.createDocumentFragment();
	let deepest = 0;
	const put = (node, left, share, above) => {
		const element = document.createElement("div");
		element.className = "f" + (above ? " above" : "") + (node === view.chosen ? " chosen" : "") +
			(view.matches && node !== root && !view.matches(node.name) ? " dim" : "");
		element.setAttribute("role", "treeitem");
		element.setAttribute("aria-level", node.depth + 1);
		if (node === view.chosen)
			element.id = "chosen";
		element.style.left = left * 100 + "%";
		element.style.width = share * 100 + "%";
		element.style.top = node.depth * ROW + "px";
		element.style.backgroundColor = view.diff ? changeColor(node) : moduleColor(node.frame.module, node.name);
		if (share * width > 28)
			element.textContent = shorten(node.name, (share * width - 8) / 7.3);
		else
			element.style.padding = "0";
		elements.set(element, node);
		list.append(element);
		deepest = Math.max(deepest, node.depth);
	};
	for (const node of path)
		put(node, 0, 1, true);
	const waiting = [[zoomed, 0, 1]];
	while (waiting.length) {
		const [node, left, share] = waiting.pop();
		put(node, left, share, false);
		let at = left;
		for (const child of node.below) {
			const part = node.wide ? share * child.wide / node.wide : 0;
			if (part * width >= 1)
				waiting.push([child, at, part]);
			at += part;
		}
	}
	box.replaceChildren(list);
	box.style.height = (deepest + 1) * ROW + "px";
	return elements;
}

// The frame that an arrow key leads to from `node`.
function neighbour(node, key, zoomed) {
	if (key === "ArrowUp")
		return node.parent || node;
	if (key === "ArrowDown")
		return node.below[0] || node;
	if (!node.parent || node === zoomed)
		return node;
	const beside = node.parent.below, at = beside.indexOf(node) + (key === "ArrowRight" ? 1 : -1);
	return beside[Math.min(Math.max(at, 0), beside.length - 1)];
}

// Lines of a tooltip.
function describe(node, type, total, diff) {
	const where = node.frame.file ? node.frame.file + (node.frame.line ? ":" + node.frame.line : "") : "";
	const amount = (now, base) => diff
		? `${label(now - base, type.unit)} (${percent(now - base, total.whole)}): ${label(base, type.unit)} → ${label(now, type.unit)}`
		: `${label(now, type.unit)} (${percent(now, total.whole)})`;
	return [node.name, [where, node.frame.module.name, node.frame.inlined ? "inlined" : ""].filter(Boolean).join(" · "),
		"flat  " + amount(node.selfNow, node.selfBase), "cum   " + amount(node.now, node.base)].filter(Boolean);
}
