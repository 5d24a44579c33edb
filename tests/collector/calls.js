// What a message means, and what this collector makes of it: an expression or a call
// becomes a plain object, and one of the kinds of outcome that collector.js carries out.
"use strict";
const { decode, keyed, letter, object, table, typed } = require("./codec.js");

const LETTERS = {
	boolean: "b", guid: "g", byte: "x", short: "h", int: "i", long: "j", real: "e", float: "f", char: "c", symbol: "s",
	timestamp: "p", month: "m", date: "d", datetime: "z", timespan: "n", minute: "u", second: "v", time: "t", string: "C",
};
const EXACTLY_ONCE = ".tidegate.upd";
const NULL = Buffer.from([101, 0]);

// "sym:symbol" of agent.lua as { name, letter }.
function declared(column) {
	const [name, type] = column.split(":");
	return { name, letter: LETTERS[type] };
}

// { expression } or { call, arguments, ... }; what is no call has neither.
function read(bytes) {
	const { shape, value, error } = decode(bytes, true);

	if (error !== undefined) {
		return { error };
	}
	if (shape.type === 10) {
		return { expression: value };
	}
	if (!Array.isArray(value) || typeof value[0] !== "string") {
		return {};
	}
	const call = { call: value[0], call_as: shape.items && shape.items[0].type === 10 ? "string" : "symbol" };
	const items = shape.items || [];
	let at = 1;
	if (call.call === EXACTLY_ONCE) {
		[call.agent, call.instance, call.first, call.last] = value.slice(1, 5);
		call.argument_types = items.slice(1, 6).map(letter).join("");
		at = 5;
	}
	call.table = value[at];
	const columns = value[at + 1];
	if (items.length === at + 2 && Array.isArray(columns)) {
		const inner = items[at + 1];
		const many = inner.type === 0 && inner.items.every((item) => item.type >= 0);
		call.types = many ? inner.items.map(letter).join("") : "";
		call.columns = many ? columns.map((column) => (typeof column === "string" ? [...column] : column)) : [];
		call.rows = call.columns.length > 0 ? call.columns[0].length : 0;
	}
	return call;
}

// As `meta` answers: a keyed table.
function meta(columns) {
	return keyed(table(["c"], [typed.symbols(columns.map((column) => column.name))]),
		table(["t", "f", "a"], [
			typed.chars(columns.map((column) => column.letter)),
			typed.symbols(columns.map(() => "")),
			typed.symbols(columns.map(() => "")),
		]));
}

// What is wrong with a call, as q's error text; undefined: nothing. `tables`: what agent.lua
// could have in that place; none: anything goes.
function complaint(call, tables) {
	if (call.call === undefined) {
		return "type";
	}
	if (!call.columns || call.columns.length === 0) {
		return "rank";
	}
	if (call.columns.some((column) => column.length !== call.rows)) {
		return "length";
	}
	if (!tables) {
		return undefined;
	}
	if (!tables[call.table]) {
		return call.table;
	}
	const letters = tables[call.table].map((column) => declared(column).letter);
	if (letters.length !== call.types.length) {
		return "length";
	}
	return letters.join("") === call.types ? undefined : "type";
}

// { reply } (an object's bytes), { error } or { apply }.
function outcome(call, tables, log) {
	const asked = call.expression !== undefined ? call.expression.match(/^meta `?(\w+)$/) : undefined;
	const name = asked ? asked[1] : call.call === "meta" ? call.table : undefined;

	if (name !== undefined) {
		return tables && tables[name] ? { reply: meta(tables[name].map(declared)) } : { error: name };
	}
	if (call.expression !== undefined) {
		return call.expression === "" ? { reply: object("") } : { error: "nyi" };
	}
	const wrong = complaint(call, tables);
	if (wrong !== undefined) {
		return { error: wrong };
	}
	if (call.call !== EXACTLY_ONCE || BigInt(call.first) > log.mark(call)) {
		return { apply: true, reply: NULL };
	}
	return BigInt(call.last) <= log.mark(call) ? { skip: true, reply: NULL } : { error: "tidegate.overlap" };
}

function has(column, value) {
	return column !== undefined && column.some((item) => String(item) === String(value));
}

// The fault that is to happen to a call, if any: its conditions are `call`, `table`, `column`
// (from 1) with `value`, `rows` (so many at least); `after` so many that it lets pass, then `times`
// or for ever.
function fault(call, faults) {
	const found = Object.values(faults).find((one) => one.times !== 0 && call.columns !== undefined &&
		(one.call === undefined || one.call === call.call) && (one.table === undefined || one.table === call.table) &&
		(one.rows === undefined || call.rows >= one.rows) &&
		(one.column === undefined || has(call.columns[one.column - 1], one.value)));
	if (found && found.after > 0) {
		found.after--;
		return undefined;
	}
	if (found && found.times !== undefined) {
		found.times--;
	}
	return found;
}

module.exports = { NULL, fault, outcome, read };
