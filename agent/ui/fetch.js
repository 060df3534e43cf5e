// SPDX-License-Identifier: Apache-2.0
// fetch.js: where profiles come from: the endpoint that any other client asks, or a file.

function fillWindows() {
	const timed = isTimed(), seconds = parameters.get("seconds");
	const choices = timed ? [["5", "5 s"], ["10", "10 s"], ["30", "30 s"], ["60", "60 s"]]
		: [["", page.name.startsWith("goroutine") ? "now" : "since start"], ["5", "change in 5 s"], ["30", "change in 30 s"]];
	if (seconds && !choices.some(c => c[0] === seconds))
		choices.push([seconds, seconds + " s"]);
	$("window").replaceChildren(...choices.map(([value, text]) => new Option(text, value)));
	$("window").value = seconds || choices[0][0];
}

function requestAddress() {
	const query = new URLSearchParams();
	for (const [key, value] of parameters)
		if (!OWN_PARAMETERS.includes(key))
			query.append(key, value);
	if ($("window").value)
		query.set("seconds", $("window").value);
	const text = query.toString();
	// Not relative to the page: its own address may carry a token, http://x:TOKEN@host/, and fetch refuses those.
	return new URL("../" + page.name + (text ? "?" + text : ""), location.href).href;
}

function progress(seconds) {
	const begin = performance.now(), bar = $("bar");
	const tick = () => {
		const passed = (performance.now() - begin) / 1000;
		if (seconds && passed < seconds) {
			bar.value = passed / seconds;
			$("doing").textContent = `${page.name}: ${Math.floor(passed)} of ${seconds} s`;
		} else {
			bar.removeAttribute("value");
			$("doing").textContent = `${page.name}: waiting for the answer`;
		}
	};
	tick();
	$("progress").hidden = false;
	const timer = setInterval(tick, 200);
	return last => {
		clearInterval(timer);
		if (last)
			$("progress").hidden = true;
	};
}

async function ask(address, signal) {
	try {
		return await fetch(address, {cache: "no-store", signal});
	} catch (error) {
		throw error.name === "AbortError" ? error : new Error("The program does not answer: has it ended?");
	}
}

// True when a new profile is shown.
async function fetchProfile() {
	if (page.abort)
		page.abort.abort();
	const abort = page.abort = new AbortController();
	const done = progress(Number($("window").value));
	say("error", "");
	try {
		const answer = await ask(requestAddress(), abort.signal);
		if (!answer.ok)
			throw new Error(`${answer.status}: ${(await answer.text()).trim()}`);
		await show(new Uint8Array(await answer.arrayBuffer()), page.name);
		return true;
	} catch (error) {
		if (error.name !== "AbortError")
			say("error", error.message);
		return false;
	} finally {
		done(page.abort === abort);
		if (page.abort === abort)
			page.abort = null;
	}
}

async function show(bytes, title) {
	page.profile = decode(await unzip(bytes));
	page.profile.title = title;
	URL.revokeObjectURL($("save").href);
	$("save").href = URL.createObjectURL(new Blob([bytes]));
	$("save").download = page.name + ".pb.gz";
	fillTypes();
	fillGroups();
	update();
}

async function compareWithNew() {
	if (!page.profile || page.abort)
		return;
	const before = page.profile;
	if (await fetchProfile()) {
		page.baseline = before;
		update();
	}
}

let fileUse = "open";
function pick(use) {
	fileUse = use;
	$("file").value = "";
	$("file").click();
}

async function filePicked() {
	const file = $("file").files[0];
	if (!file)
		return;
	try {
		const bytes = new Uint8Array(await file.arrayBuffer());
		say("error", "");
		if (fileUse === "open") {
			await show(bytes, file.name);
			return;
		}
		const baseline = decode(await unzip(bytes));
		if (!baseline.types.some(t => t.type === page.type.type))
			throw new Error(`it has no ${page.type.type}`);
		baseline.title = file.name;
		page.baseline = baseline;
		update();
	} catch (error) {
		say("error", `${file.name} cannot be used: ${error.message}`);
	}
}
