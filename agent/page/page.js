// Everything shown is text from the agent: set as text, never as HTML.
"use strict";

const EVERY_MS = 10000;
const charts = new Map();
let shown = null; // the history that the charts show

const $ = id => document.getElementById(id);

function element(name, text, className) {
	const made = document.createElement(name);
	if (text !== undefined) made.textContent = text;
	if (className) made.className = className;
	return made;
}

function span(seconds) {
	const units = [[86400, "d"], [3600, "h"], [60, "min"]];
	for (const [size, unit] of units)
		if (seconds >= size) return Math.floor(seconds / size) + " " + unit;
	return Math.floor(seconds) + " s";
}

function bytes(n) {
	const units = ["B", "KB", "MB", "GB", "TB"];
	let i = 0;
	while (n >= 1024 && i < units.length - 1) { n /= 1024; i++; }
	return (i && n < 10 ? n.toFixed(1) : Math.round(n)) + " " + units[i];
}

const count = n => n.toLocaleString("en");
const total = object => Object.values(object).reduce((sum, n) => sum + n, 0);

// columns: [heading, value of a row, is it a number]
function table(id, rows, columns, nothing) {
	const place = $(id);
	place.replaceChildren();
	if (!rows.length) {
		place.append(element("caption", nothing, "faint"));
		return;
	}
	const head = element("tr");
	for (const [heading, , number] of columns) {
		const cell = element("th", heading, number ? "number" : "");
		cell.scope = "col";
		head.append(cell);
	}
	place.append(element("thead"), element("tbody"));
	place.tHead.append(head);
	for (const row of rows) {
		const line = element("tr");
		for (const [, value, number] of columns) line.append(element("td", value(row), number ? "number" : ""));
		place.tBodies[0].append(line);
	}
}

function box(ill, mark, text) {
	const made = element("p", undefined, "box " + (ill ? "ill" : "well"));
	made.append(element("strong", mark + " "), text);
	return made;
}

function showProblems(problems) {
	$("problems").replaceChildren(...(problems.length ? problems.map(p => box(true, "! " + p.part + (p.name ? " " + p.name : "") + ":",
		p.text + (p.since_seconds === undefined ? "" : " (for " + span(p.since_seconds) + ")"))) : [box(false, "✓", "All is well")]));
}

function showStatus(lines) {
	const of = kind => lines.filter(line => line.kind === kind);
	const [agent] = of("agent"), [store] = of("store"), [dead] = of("dead_letters");
	document.title = (of("problem").length ? "! " : "") + agent.name + " - Tidegate";
	$("name").textContent = agent.name;
	$("agent").textContent = "Tidegate " + agent.version + ", up " + span(agent.uptime_seconds) + (agent.stopping ? ", stopping" : "");
	showProblems(of("problem"));
	table("links", of("link"), [
		["Link", l => l.link],
		["State", l => (l.up ? "● " : "○ ") + l.state + (l.held ? ", held" : "")],
		["For", l => span(l.since_seconds)],
		["Received", l => count(l.received), true],
		["Sent", l => count(l.sent), true],
		["Acknowledged", l => count(l.acknowledged), true],
		["Reconnects", l => count(l.reconnects), true],
		["Stalls", l => count(l.stalls), true],
		["URL", l => l.url || "none"],
	], "None");
	table("queues", of("queue"), [
		["Link", q => q.link],
		["Messages", q => count(q.messages), true],
		["Bytes", q => bytes(q.bytes), true],
		["In flight", q => count(q.in_flight), true],
		["Awaiting the collector", q => count(q.awaiting), true],
		["Lost, ever", q => count(total(q.dropped)), true],
	], "None");
	table("scripts", of("script"), [
		["Script", s => s.script],
		["Calls", s => count(s.calls), true],
		["Failed", s => (s.errors ? "! " : "") + count(s.errors), true],
		["Memory", s => bytes(s.memory_bytes), true],
		["State", s => bytes(s.state_bytes), true],
	], "None");
	table("losses", of("loss"), [
		["Link", l => l.link],
		["Topic", l => l.topic],
		["Reason", l => l.reason],
		["Messages", l => count(l.count), true],
		["From", l => new Date(l.first_time * 1000).toLocaleString()],
		["To", l => new Date(l.last_time * 1000).toLocaleString()],
	], "Nothing was lost");
	$("dead").textContent = dead && dead.count ? "! " + count(dead.count) + (dead.count === 1 ? " message" : " messages") + " that no rule could handle: tidegate dead list" : "None";
	$("store").textContent = store.path + ": " + bytes(store.bytes) + " and " + bytes(store.wal_bytes) + " of log, "
		+ count(store.commits) + " commits, " + count(store.commit_failures) + " failed"
		+ (store.bytes_written === undefined ? "" : ", " + bytes(store.bytes_written) + " written");
}

// ---- charts ----

const color = name => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

function draw(place, series, data) {
	const axis = { stroke: color("--text"), grid: { stroke: color("--line") }, ticks: { stroke: color("--line") } };
	place.replaceChildren();
	new uPlot({
		width: place.clientWidth, height: 170,
		series: [{}].concat(series.map(([label, name, dash]) => ({ label, stroke: color(name), width: 2, dash }))),
		axes: [axis, Object.assign({ size: 64 }, axis)],
		scales: { y: { range: (u, low, high) => [0, Math.max(1, high * 1.05)] } },
	}, data, place);
}

function chartOf(link, what) {
	const key = what + " " + link;
	if (!charts.has(key)) {
		const place = element("div", undefined, "chart");
		place.setAttribute("role", "img");
		$("charts").append(element("h3", link + ": " + what), place);
		charts.set(key, place);
	}
	return charts.get(key);
}

function showHistory(history) {
	if (typeof uPlot === "undefined") {
		$("charts").textContent = "This build has no charts.";
		return;
	}
	shown = history;
	const now = Date.now() / 1000;
	for (const link of history.links) {
		const n = link.messages.length;
		const times = link.messages.map((_, i) => now - (n - 1 - i) * history.step_seconds);
		const rate = list => list.map(x => x / history.step_seconds);
		const depth = chartOf(link.link, "messages queued"), rates = chartOf(link.link, "messages a second");
		depth.setAttribute("aria-label", link.link + ": " + (link.messages[n - 1] || 0) + " messages queued now");
		rates.setAttribute("aria-label", link.link + ": messages received and acknowledged a second");
		draw(depth, [["queued", "--one"]], [times, link.messages]);
		draw(rates, [["received", "--one"], ["acknowledged (dashed)", "--two", [6, 4]]], [times, rate(link.received), rate(link.acknowledged)]);
	}
}

// ---- now and again ----

async function get(path) {
	const answer = await fetch(path, { cache: "no-store" });
	if (!answer.ok) throw new Error(path + ": " + answer.status);
	return answer.text();
}

async function update() {
	try {
		const [status, history] = await Promise.all([get("status.json"), get("history.json")]);
		showStatus(status.trim().split("\n").map(line => JSON.parse(line)));
		showHistory(JSON.parse(history));
		$("lost").hidden = true;
	} catch (error) {
		$("lost").textContent = "! The agent does not answer; what is shown is old. " + error.message;
		$("lost").hidden = false;
	}
	setTimeout(update, EVERY_MS);
}

addEventListener("resize", () => shown && showHistory(shown));
update();
