// kdb+ IPC with somebody else's codec: node-q (npm) reads and writes all values. Ours
// is only what it does not tell: the q type of what it read, and whole 64-bit numbers.
//
// node-q makes dates of temporal values, in milliseconds. In exact mode their type
// codes are replaced, in a copy, by those of the integers they are: 12 and 16 by long,
// 13, 14, 17, 18 and 19 by int. Strings and symbols are read as UTF-8; other bytes are lost.
"use strict";
const fs = require("fs");
const Module = require("module");

// node-q is a client: its codec is an inner module, which keeps decompress() to itself.
function load() {
	const file = require.resolve("node-q/lib/c.js");
	const inner = new Module(file, module);
	inner.filename = file;
	inner.paths = module.paths.concat((process.env.NODE_PATH || "").split(":"));
	inner._compile(fs.readFileSync(file, "utf8") + "\nexports.decompress = decompress;\n", file);
	return inner.exports;
}

const q = load();
const Long = require("long");
const typed = require("node-q/lib/typed.js");

const HEAD = 8;
const LETTERS = " bg xhijefcspmdznuvt";
const SIZES = [0, 1, 16, 0, 1, 2, 4, 8, 4, 8, 1, 0, 8, 4, 4, 8, 8, 4, 4, 4];
const INTEGERS = { 12: 7, 13: 6, 14: 6, 16: 7, 17: 6, 18: 6, 19: 6 };
const LIST = 0, SYMBOL = 11, TABLE = 98, DICTIONARY = 99, NULL = 101, SORTED = 127, ERROR = -128;

// Byte positions of one message, checked.
class Cursor {
	constructor(bytes) {
		this.bytes = bytes;
		this.at = HEAD;
	}

	skip(n) {
		const from = this.at;
		if (n < 0 || from + n > this.bytes.length) {
			throw new Error(`badmsg: ${n} bytes wanted at ${from} of ${this.bytes.length}`);
		}
		this.at += n;
		return from;
	}

	skipText() {
		const end = this.bytes.indexOf(0, this.at);
		this.skip(end < 0 ? -1 : end + 1 - this.at);
	}

	skipItems(type, n) {
		if (type !== SYMBOL) {
			this.skip(n * SIZES[type]);
			return;
		}
		for (let i = 0; i < n; i++) {
			this.skipText();
		}
	}
}

// The q type of an object and of what is in it: { type, n, items }.
function shape(cursor, exact) {
	const start = cursor.skip(1);
	const type = cursor.bytes.readInt8(start);
	const size = Math.abs(type);

	if (type === ERROR) {
		cursor.skipText();
		return { type };
	}
	if (type === TABLE) {
		cursor.skip(1);
		return { type, items: [shape(cursor, exact)] };
	}
	if (type === DICTIONARY || type === SORTED) {
		return { type, items: [shape(cursor, exact), shape(cursor, exact)] };
	}
	if (type === NULL) {
		cursor.skip(1);
		return { type };
	}
	if (size > 19 || size === 3) {
		throw new Error(`badmsg: type ${type} at ${start}`);
	}
	if (exact && INTEGERS[size]) {
		cursor.bytes.writeInt8(Math.sign(type) * INTEGERS[size], start);
	}
	if (type < 0) {
		cursor.skipItems(size, 1);
		return { type };
	}
	cursor.skip(1);
	const n = cursor.bytes.readInt32LE(cursor.skip(4));
	if (type !== LIST) {
		cursor.skipItems(type, n);
		return { type, n };
	}
	const items = [];
	for (let i = 0; i < n; i++) {
		items.push(shape(cursor, exact));
	}
	return { type, n, items };
}

function plain(message) {
	return message[2] === 1 ? q.decompress(message.readInt32LE(HEAD), message) : Buffer.from(message);
}

// A whole message, little-endian: { shape, value }. Longs are Long objects or, where
// they are infinite, numbers. Raises what q would hang up on.
function decode(message, exact) {
	if (message[0] !== 1) {
		throw new Error("badmsg: node-q reads little-endian only");
	}
	const bytes = plain(message);
	const cursor = new Cursor(bytes);
	const what = shape(cursor, exact);
	if (cursor.at !== bytes.length) {
		throw new Error(`badmsg: ${bytes.length - cursor.at} bytes too many`);
	}
	if (what.type === ERROR) {
		return { shape: what, error: bytes.toString("utf8", HEAD + 1, bytes.length - 1) };
	}
	return { shape: what, value: q.deserialize(bytes, !exact, false, false, false) };
}

// Of a column: a letter as in `meta`, upper case where each item is a vector.
function letter(column) {
	if (column.type !== LIST) {
		return LETTERS[Math.abs(column.type)] || " ";
	}
	const first = column.items.length > 0 ? column.items[0].type : LIST;
	const same = first > 0 && column.items.every((item) => item.type === first);
	return same ? LETTERS[first].toUpperCase() : " ";
}

// One object, without a message's head.
function object(value) {
	return q.serialize(value).subarray(HEAD);
}

// A message of objects that are bytes already. Kinds: 0 async, 1 sync, 2 response.
function message(kind, ...parts) {
	const body = Buffer.concat(parts);
	const head = Buffer.from([1, kind, 0, 0, 0, 0, 0, 0]);
	head.writeUInt32LE(HEAD + body.length, 4);
	return Buffer.concat([head, body]);
}

function error(text) {
	return message(2, Buffer.from([0x80]), Buffer.from(text, "utf8"), Buffer.from([0]));
}

// node-q writes no tables. `columns`: typed values.
function table(names, columns) {
	const count = Buffer.alloc(4);
	count.writeInt32LE(columns.length);
	return Buffer.concat([Buffer.from([TABLE, 0, DICTIONARY]), object(typed.symbols(names)), Buffer.from([0, 0]), count,
		...columns.map(object)]);
}

function keyed(keys, values) {
	return Buffer.concat([Buffer.from([DICTIONARY]), keys, values]);
}

// JSON with whole 64-bit integers, as texts where a double would not hold them;
// infinities as 1e999.
function json(value) {
	if (Long.isLong(value)) {
		const text = value.toString();
		return Number.isSafeInteger(value.toNumber()) ? text : `"${text}"`;
	}
	if (typeof value === "number" && !Number.isFinite(value)) {
		return value > 0 ? "1e999" : "-1e999";
	}
	if (Array.isArray(value)) {
		return `[${value.map(json).join(",")}]`;
	}
	if (value !== null && typeof value === "object" && !(value instanceof Date)) {
		const members = Object.entries(value).filter(([, member]) => member !== undefined);
		return `{${members.map(([name, member]) => `${JSON.stringify(name)}:${json(member)}`).join(",")}}`;
	}
	return JSON.stringify(value === undefined ? null : value);
}

module.exports = { HEAD, Long, decode, error, json, keyed, letter, message, object, table, typed };
