// SPDX-License-Identifier: Apache-2.0
// profile.js: the bytes of a profile (gzipped or not) become a plain object. Field numbers are those of
// the public profile.proto. Also how values are written: as `go tool pprof` writes them.
"use strict";

class Reader {
	constructor(bytes, at, end) {
		this.bytes = bytes;
		this.at = at;
		this.end = end;
	}

	// A signed 64-bit number; exact up to 2^53.
	varint() {
		let low = 0, high = 0;
		for (let shift = 0; shift < 70; shift += 7) {
			if (this.at >= this.end)
				throw new Error("the profile is cut off");
			const byte = this.bytes[this.at++], bits = byte & 127;
			if (shift < 28) {
				low |= bits << shift;
			} else if (shift === 28) {
				low |= bits << 28;
				high |= bits >> 4;
			} else {
				high |= bits << (shift - 32);
			}
			if (byte < 128)
				return (high | 0) * 4294967296 + (low >>> 0);
		}
		throw new Error("this is not a profile");
	}

	// Calls see(field, value, inner) for each field: value of numbers, inner (a Reader) of the others.
	fields(see) {
		while (this.at < this.end) {
			const tag = this.varint(), wire = tag & 7, field = Math.floor(tag / 8);
			if (wire === 0) {
				see(field, this.varint(), null);
				continue;
			}
			const size = wire === 2 ? this.varint() : wire === 1 ? 8 : wire === 5 ? 4 : -1;
			if (size < 0 || this.at + size > this.end)
				throw new Error("this is not a profile, or it is cut off");
			if (wire === 2)
				see(field, 0, new Reader(this.bytes, this.at, this.at + size));
			this.at += size;
		}
	}

	text() {
		return new TextDecoder().decode(this.bytes.subarray(this.at, this.end));
	}
}

// The fields of a message of numbers, by name; a list for names that are given as [name].
function message(reader, names) {
	const out = {};
	for (const name of Object.values(names))
		out[name] = Array.isArray(name) ? [] : 0;
	reader.fields((field, value, inner) => {
		const name = names[field];
		if (!name)
			return;
		if (!Array.isArray(name))
			out[name] = value;
		else if (!inner)
			out[name].push(value);
		else
			while (inner.at < inner.end)
				out[name].push(inner.varint());
	});
	return out;
}

const VALUE_TYPE = {1: "type", 2: "unit"};
const LABEL = {1: "key", 2: "text"};
const LINE = {1: "function", 2: "line"};
const MAPPING = {1: "id", 5: "file"};
const FUNCTION = {1: "id", 2: "name", 4: "file", 5: "line"};

function readSample(reader) {
	const sample = {locations: [], values: [], labels: []};
	const numbers = (to, value, inner) => {
		if (!inner)
			to.push(value);
		else
			while (inner.at < inner.end)
				to.push(inner.varint());
	};
	reader.fields((field, value, inner) => {
		if (field === 1)
			numbers(sample.locations, value, inner);
		else if (field === 2)
			numbers(sample.values, value, inner);
		else if (field === 3)
			sample.labels.push(message(inner, LABEL));
	});
	return sample;
}

function readLocation(reader) {
	const location = {id: 0, mapping: 0, address: 0, lines: []};
	reader.fields((field, value, inner) => {
		if (field === 1)
			location.id = value;
		else if (field === 2)
			location.mapping = value;
		else if (field === 3)
			location.address = value;
		else if (field === 4)
			location.lines.push(message(inner, LINE));
	});
	return location;
}

function readRaw(bytes) {
	const raw = {types: [], samples: [], mappings: [], locations: [], functions: [], strings: [],
		comments: [], time: 0, duration: 0, defaultType: 0};
	new Reader(bytes, 0, bytes.length).fields((field, value, inner) => {
		switch (field) {
		case 1: raw.types.push(message(inner, VALUE_TYPE)); break;
		case 2: raw.samples.push(readSample(inner)); break;
		case 3: raw.mappings.push(message(inner, MAPPING)); break;
		case 4: raw.locations.push(readLocation(inner)); break;
		case 5: raw.functions.push(message(inner, FUNCTION)); break;
		case 6: raw.strings.push(inner.text()); break;
		case 9: raw.time = value; break;
		case 10: raw.duration = value; break;
		case 13:
			if (!inner)
				raw.comments.push(value);
			while (inner && inner.at < inner.end)
				raw.comments.push(inner.varint());
			break;
		case 14: raw.defaultType = value; break;
		}
	});
	return raw;
}

const baseName = path => path.slice(path.lastIndexOf("/") + 1);
const byId = list => new Map(list.map(one => [one.id, one]));

// What decode gives: types [{type, unit}], samples [{stack, values, labels}] with stack a list of
// frames {name, file, line, module, inlined} from the root to the leaf, inlined callees as frames of their own.
function decode(bytes) {
	const raw = readRaw(bytes);
	const text = index => {
		if (index >= raw.strings.length)
			throw new Error("the profile is cut off");
		return raw.strings[index] || "";
	};
	if (!raw.types.length || raw.strings[0] !== "")
		throw new Error("this is not a profile");
	const mappings = byId(raw.mappings), functions = byId(raw.functions), frames = new Map();
	const own = raw.mappings.length ? raw.mappings[0].id : 0;
	for (const location of raw.locations) {
		const mapping = mappings.get(location.mapping);
		const module = {name: mapping && baseName(text(mapping.file)) || "no file", own: location.mapping === own};
		const hex = "0x" + BigInt.asUintN(64, BigInt(location.address)).toString(16);
		const made = location.lines.map((line, i) => {
			const f = functions.get(line.function) || {name: 0, file: 0, line: 0};
			return {name: text(f.name) || hex, file: text(f.file), line: f.line, module,
				inlined: i + 1 < location.lines.length};
		});
		frames.set(location.id, made.length ? made : [{name: hex, file: "", line: 0, module, inlined: false}]);
	}
	return {
		types: raw.types.map(t => ({type: text(t.type), unit: text(t.unit)})),
		samples: raw.samples.map(s => ({
			stack: s.locations.flatMap(id => frames.get(id) || []).reverse(),
			values: s.values,
			labels: s.labels.filter(l => l.text).map(l => ({key: text(l.key), text: text(l.text)})),
		})),
		comments: raw.comments.map(text),
		time: raw.time / 1e6,
		duration: raw.duration,
		defaultType: text(raw.defaultType),
	};
}

async function unzip(bytes) {
	if (bytes[0] !== 0x1f || bytes[1] !== 0x8b)
		return bytes;
	const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
	return new Uint8Array(await new Response(stream).arrayBuffer());
}

const SCALES = {
	bytes: [[1, "B"], [1024, "kB"], [1048576, "MB"], [1073741824, "GB"], [1099511627776, "TB"], [1125899906842624, "PB"]],
	nanoseconds: [[1, "ns"], [1e3, "us"], [1e6, "ms"], [1e9, "s"], [3.6e12, "hrs"]],
};

// 1536 bytes are 1.50kB.
function label(value, unit) {
	let [factor, name] = [1, SCALES[unit] ? SCALES[unit][0][1] : unit === "count" ? "" : unit];
	for (const [f, n] of SCALES[unit] || [])
		if (Math.abs(value) >= f)
			[factor, name] = [f, n];
	const text = (value / factor).toFixed(2).replace(/\.00$/, "");
	return text === "0" || text === "-0" ? "0" : text + name;
}

function percent(value, total) {
	const ratio = total ? Math.abs(value / total) * 100 : 0;
	const sign = value < 0 ? "-" : "";
	if (ratio >= 99.95 && ratio <= 100.05)
		return sign + "100%";
	return sign + (ratio >= 1 || ratio === 0 ? ratio.toFixed(ratio ? 2 : 0) : String(Number(ratio.toPrecision(2)))) + "%";
}
