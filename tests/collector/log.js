// What the collector has applied: a file with one JSON line for each call, written
// and synced before the call is answered. The exactly-once mark is in the line that has
// the rows, as in a tickerplant's log: a collector that starts again has both or none.
"use strict";
const fs = require("fs");
const { json } = require("./codec.js");

class Log {
	// Drops half a line at the end, which a kill can leave.
	constructor(path) {
		const text = fs.existsSync(path) ? fs.readFileSync(path, "utf8") : "";
		const whole = text.slice(0, text.lastIndexOf("\n") + 1);

		this.fd = fs.openSync(path, "a");
		fs.ftruncateSync(this.fd, Buffer.byteLength(whole));
		this.marks = new Map();
		for (const line of whole.split("\n").filter((one) => one)) {
			this.remember(JSON.parse(line));
		}
	}

	static key(call) {
		return [call.agent, call.instance, call.table].join("\n");
	}

	remember(record) {
		if (record.last !== undefined) {
			this.marks.set(Log.key(record), BigInt(record.last));
		}
	}

	// The last sequence number applied, as a BigInt; below all where there is none.
	mark(call) {
		const mark = this.marks.get(Log.key(call));
		return mark === undefined ? -1n : mark;
	}

	append(record) {
		fs.writeSync(this.fd, json(record) + "\n");
		fs.fdatasyncSync(this.fd);
		this.remember(record);
	}
}

module.exports = { Log };
