// SPDX-License-Identifier: Apache-2.0
// graph.js: samples become a tree of frames and a table of functions, for one profile or for the
// difference of two. Everything that is drawn carries {now, base}; what is wide is what is much in either.

// Which of the types is shown first: the profile's own choice, else the last, as the go tool does.
function firstType(profile) {
	const index = profile.types.findIndex(t => t.type === profile.defaultType);
	return index >= 0 ? index : profile.types.length - 1;
}

// Rows {stack, now, base}: of the profile, and of the baseline with its values times `scale`. A negative
// value (a difference made by the server) counts as something that was there before.
function rowsOf(profile, type, baseline, scale, group) {
	const rows = [];
	const add = (from, index, isBase, factor) => {
		for (const sample of from.samples) {
			const value = (sample.values[index] || 0) * factor;
			if (!value)
				continue;
			const rest = Math.max(-value, 0), positive = Math.max(value, 0);
			rows.push({stack: grouped(sample, group), now: isBase ? rest : positive, base: isBase ? positive : rest});
		}
	};
	add(profile, profile.types.findIndex(t => t.type === type), false, 1);
	if (baseline)
		add(baseline, baseline.types.findIndex(t => t.type === type), true, scale);
	return rows;
}

function grouped(sample, key) {
	if (!key)
		return sample.stack;
	const found = sample.labels.find(l => l.key === key);
	const frame = {name: key + ": " + (found ? found.text : "none"), file: "", line: 0, module: {name: "label", own: false}};
	return [frame, ...sample.stack];
}

const isDiff = rows => rows.some(row => row.base);

// What percentages are of: with a baseline its total, as `go tool pprof -diff_base` has it.
function totalOf(rows) {
	let now = 0, base = 0;
	for (const row of rows) {
		now += row.now;
		base += row.base;
	}
	return {now, base, whole: base || now};
}

function newNode(frame, parent) {
	return {name: frame.name, frame, parent, children: new Map(), now: 0, base: 0, selfNow: 0, selfBase: 0, wide: 0,
		depth: parent ? parent.depth + 1 : 0};
}

// options: inverted (from the leaf to its callers), focus (only stacks with that function: what it
// calls, or inverted who calls it).
function treeOf(rows, options) {
	const root = newNode({name: "all", file: "", line: 0, module: {name: "", own: false}}, null);
	for (const row of rows) {
		let stack = row.stack;
		if (options.focus) {
			const names = stack.map(f => f.name);
			const at = options.inverted ? names.lastIndexOf(options.focus) : names.indexOf(options.focus);
			if (at < 0)
				continue;
			stack = options.inverted ? stack.slice(0, at + 1) : stack.slice(at);
		}
		let node = root;
		node.now += row.now;
		node.base += row.base;
		for (let i = 0; i < stack.length; i++) {
			const frame = stack[options.inverted ? stack.length - 1 - i : i];
			let next = node.children.get(frame.name);
			if (!next) {
				next = newNode(frame, node);
				node.children.set(frame.name, next);
			}
			node = next;
			node.now += row.now;
			node.base += row.base;
		}
		node.selfNow += row.now;
		node.selfBase += row.base;
	}
	widen(root);
	return root;
}

// Widths, without recursion: a stack may be 512 deep.
function widen(root) {
	const order = [root];
	for (let i = 0; i < order.length; i++)
		order.push(...order[i].children.values());
	for (const node of order.reverse()) {
		node.wide += Math.max(node.selfNow, node.selfBase);
		if (node.parent)
			node.parent.wide += node.wide;
		node.below = [...node.children.values()].sort((a, b) => b.wide - a.wide || (a.name < b.name ? -1 : 1));
	}
}

// One entry per function: flat is what ended in it, cum what passed through it (once per stack).
function tableOf(rows) {
	const table = new Map();
	const entry = frame => {
		let e = table.get(frame.name);
		if (!e) {
			e = {name: frame.name, frame, flat: 0, cum: 0, most: 0};
			table.set(frame.name, e);
		}
		return e;
	};
	for (const row of rows) {
		const value = row.now - row.base, seen = new Set();
		for (const frame of row.stack) {
			if (seen.has(frame.name))
				continue;
			seen.add(frame.name);
			const e = entry(frame);
			e.cum += value;
			e.most += row.now + row.base;
		}
		if (row.stack.length)
			entry(row.stack[row.stack.length - 1]).flat += value;
	}
	return [...table.values()];
}

// What share of all passes through functions that match.
function matching(rows, matches) {
	let sum = 0;
	for (const row of rows)
		if (row.stack.some(f => matches(f.name)))
			sum += row.now - row.base;
	return sum;
}

// The modules by what ended in them.
function modulesOf(rows) {
	const modules = new Map();
	for (const row of rows) {
		if (!row.stack.length)
			continue;
		const module = row.stack[row.stack.length - 1].module;
		const m = modules.get(module.name) || {module, value: 0};
		m.value += row.now - row.base;
		modules.set(module.name, m);
	}
	return [...modules.values()].sort((a, b) => Math.abs(b.value) - Math.abs(a.value));
}

// A function that says whether a name matches: plain text without case, or /an expression/.
function matcher(text) {
	const regex = text.match(/^\/(.+)\/$/);
	if (regex) {
		try {
			const compiled = new RegExp(regex[1], "i");
			return name => compiled.test(name);
		} catch (e) {
			return null;
		}
	}
	const low = text.toLowerCase();
	return name => name.toLowerCase().includes(low);
}
