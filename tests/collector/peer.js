// A third party's opinion of bytes: JSON lines on stdin, an answer for each on stdout.
//   { "decode": "hex" }                    { "type": ..., "exact": ..., "plain": ... } or { "error": ... }
//   { "encode": "int", "value": 5 }        { "hex": "..." }: a whole message; the types are node-q's, "ints" a vector
// `exact` has temporal values as the integers they are, `plain` as node-q gives them, dates in ISO form.
"use strict";
const fs = require("fs");
const { Long, decode, json, message, object, typed } = require("./codec.js");

const TEMPORAL = /^(timestamp|month|date|datetime|timespan|minute|second|time)s?$/;

// JSON as what node-q wants: longs as Long, dates as Date.
function value_of(type, value) {
	if (Array.isArray(value) && type !== "mixedlist") {
		return value.map((item) => value_of(type, item));
	}
	if (type === "mixedlist") {
		return value.map(([item_type, item]) => value_for(item_type, item));
	}
	if (value === "inf" || value === "-inf") {
		return value === "inf" ? Infinity : -Infinity;
	}
	if (value === null || value === undefined) {
		return null;
	}
	return /^longs?$/.test(type) ? Long.fromString(String(value)) : TEMPORAL.test(type) ? new Date(value) : value;
}

function value_for(type, value) {
	if (type === "string" || type === "null") {
		return type === "null" ? null : value; // JavaScript's own
	}
	return typed[type](value_of(type, value));
}

function answer({ decode: hex, encode: type, value }) {
	try {
		if (type) {
			return { hex: message(0, object(value_for(type, value))).toString("hex") };
		}
		const bytes = Buffer.from(hex, "hex");
		const exact = decode(bytes, true);
		return { type: exact.shape.type, exact: exact.value, plain: decode(bytes, false).value };
	} catch (problem) {
		return { error: problem.message };
	}
}

for (const line of fs.readFileSync(0, "utf8").split("\n").filter((one) => one)) {
	fs.writeSync(1, json(answer(JSON.parse(line))) + "\n");
}
