// SPDX-License-Identifier: Apache-2.0
// Escapes text one character at a time. For docs/cookbook.md; ends after two minutes.
function escapeSlowly(text) {
	let out = "";
	for (let i = 0; i < text.length; i++)
		out += text[i] === "<" ? "&lt;" : text[i];
	return out.length;
}

const text = "a < b and so on ".repeat(2000), end = Date.now() + 120000;
let total = 0;
while (Date.now() < end)
	total += escapeSlowly(text);
console.log(total);
