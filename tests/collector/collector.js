// A stand-in for a kdb+ collector: takes connections, answers the handshake and calls
// as q would, and does what a spec tells it to. tests/lib/collector.lua drives it.
//
// usage: node collector.js OPTIONS.json
// Commands come as JSON lines on stdin: { id, set: {...} }, { id, send: "hex" }, { id, close: true }.
// Events go to stdout, one JSON line each. Options are in tests/lib/collector.lua.
"use strict";
const fs = require("fs");
const net = require("net");
const readline = require("readline");
const tls = require("tls");
const calls = require("./calls.js");
const { HEAD, error, json, message, object, typed } = require("./codec.js");
const { Log } = require("./log.js");

const options = JSON.parse(fs.readFileSync(process.argv[2], "utf8"));
const log = new Log(options.log);
const connections = new Set();

function tell(event, details) {
	fs.writeSync(1, json({ event, ...details }) + "\n");
}

const HANDSHAKES = {
	http: Buffer.from("HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n"),
	tls: Buffer.from([21, 3, 1, 0, 2, 2, 40]),
};

// All literals: larger than it was, which every receiver takes.
function compressed(bytes) {
	const parts = [Buffer.from([1, bytes[1], 1, 0, 0, 0, 0, 0]), bytes.subarray(4, HEAD)];
	for (let at = HEAD; at < bytes.length; at += 8) {
		parts.push(Buffer.from([0]), bytes.subarray(at, at + 8));
	}
	const whole = Buffer.concat(parts);
	whole.writeUInt32LE(whole.length, 4);
	return whole;
}

class Connection {
	constructor(socket) {
		this.socket = socket;
		this.received = Buffer.alloc(0);
		this.greeted = false;
		this.busy = false; // with a call
		this.answered = undefined; // called with what the agent answers
		socket.setNoDelay && socket.setNoDelay(true);
		socket.on("data", (bytes) => {
			this.received = Buffer.concat([this.received, bytes]);
			this.advance();
		});
		socket.on("error", () => {});
		socket.on("close", () => {
			connections.delete(this);
			tell("closed", {});
		});
	}

	write(bytes) {
		if (!this.socket.destroyed) {
			this.socket.write(bytes);
		}
	}

	greet() {
		const end = this.received.indexOf(0);
		if (end < 0) {
			return false;
		}
		const capability = end > 0 ? this.received[end - 1] : 0;
		const [user, ...password] = this.received.toString("utf8", 0, Math.max(0, end - 1)).split(":");
		const wrong = (options.user !== undefined && user !== options.user) ||
			(options.password !== undefined && password.join(":") !== options.password);
		this.received = this.received.subarray(end + 1);
		if (options.refuse || wrong) {
			tell("refused", { user });
			this.socket.destroy();
			return false;
		}
		tell("connected", { user, capability });
		this.greeted = true;
		this.welcome(Math.min(3, capability));
		return true;
	}

	welcome(capability) {
		const how = options.handshake;
		if (HANDSHAKES[how]) {
			this.socket.end(HANDSHAKES[how]);
		} else if (how === "chatty") {
			this.write(Buffer.concat([Buffer.from([capability]), message(0, object(["hello", 1]))]));
		} else if (how !== "silence") {
			this.write(Buffer.from([how === undefined ? capability : how]));
		}
	}

	// The next whole message, or undefined.
	take() {
		const received = this.received;
		if (received.length < HEAD) {
			return undefined;
		}
		const size = received[0] === 1 ? received.readUInt32LE(4) : received.readUInt32BE(4);
		if (size <= HEAD || received[0] > 1 || received[1] > 2) {
			throw new Error(`badmsg: head ${received.toString("hex", 0, HEAD)}`);
		}
		if (received.length < size) {
			return undefined;
		}
		this.received = received.subarray(size);
		return received.subarray(0, size);
	}

	// One message at a time, in order; while it is busy only an answer to what it asked.
	advance() {
		if (!this.greeted && !this.greet()) {
			return;
		}
		try {
			while (!this.busy || this.received[1] === 2) {
				const bytes = this.take();
				if (!bytes) {
					return;
				}
				this.hear(bytes);
			}
		} catch (problem) {
			tell("badmsg", { text: problem.message });
			this.socket.destroy(); // as q does
		}
	}

	hear(bytes) {
		const call = calls.read(bytes);
		if (bytes[1] === 2) {
			tell("answer", { error: call.error });
			this.answered && this.answered();
			return;
		}
		this.busy = true;
		this.handle(call, bytes[1] === 1, bytes[2] === 1).then(() => {
			this.busy = false;
			if (!this.socket.destroyed) {
				this.advance();
			}
		});
	}

	async handle(call, wants_reply, was_compressed) {
		const fault = calls.fault(call, options.faults || {}) || {};
		const act = fault.do || "";

		if (fault.wait) {
			await new Promise((done) => { setTimeout(done, fault.wait); });
		}
		const outcome = act === "error" ? { error: fault.text } :
			act === "hang up" || act === "say nothing" ? {} : calls.outcome(call, options.tables, log);
		if (outcome.apply) {
			const { agent, instance, first, last, table, types, columns } = call;
			log.append({ call: call.call, agent, instance, first, last, table, types, columns });
		}
		tell("call", { call: call.call, call_as: call.call_as, expression: call.expression, table: call.table,
			agent: call.agent, instance: call.instance, first: call.first, last: call.last,
			argument_types: call.argument_types, types: call.types, rows: call.rows, compressed: was_compressed,
			sync: wants_reply, did: act, applied: outcome.apply || false, skipped: outcome.skip || false,
			error: outcome.error });
		await this.answer(act, fault, outcome, wants_reply);
	}

	async answer(act, fault, outcome, wants_reply) {
		const reply = outcome.error !== undefined ? error(outcome.error) :
			message(2, fault.long_reply ? object(typed.ints(Array(1000).fill(7))) : outcome.reply || calls.NULL);
		if (act === "die") {
			process.kill(process.pid, "SIGKILL");
		} else if (act === "hang up" || act === "apply, hang up") {
			this.socket.destroy();
		} else if (act === "half a reply") {
			this.socket.end(reply.subarray(0, HEAD + 1));
		} else if (act === "garbage") {
			this.write(Buffer.from("garbage, and more of it"));
		} else if (act.endsWith("say nothing") || !wants_reply) {
			return;
		} else {
			if (act === "tell first") {
				this.write(message(0, object(["upd", "x", 1])));
			} else if (act === "ask first") {
				await this.ask();
			}
			this.write(fault.compressed ? compressed(reply) : reply);
		}
	}

	// Calls the agent, as q code can, and waits for its answer.
	ask() {
		return new Promise((done) => {
			this.answered = done;
			this.socket.once("close", done);
			this.write(message(1, object("1+1")));
		});
	}
}

function accept(socket) {
	connections.add(new Connection(socket));
}

function listen() {
	const secure = options.tls && {
		cert: fs.readFileSync(options.tls.cert), key: fs.readFileSync(options.tls.key),
		ca: options.tls.ca && fs.readFileSync(options.tls.ca), requestCert: Boolean(options.tls.ca),
	};
	const server = secure ? tls.createServer(secure, accept) : net.createServer(accept);
	server.on("tlsClientError", (problem) => tell("tls error", { text: problem.message }));
	if (options.unix) {
		// "@..." is an abstract name. What a killed one left of a path is in the way.
		if (!options.unix.startsWith("@")) {
			fs.rmSync(options.unix, { force: true });
		}
		server.listen({ path: options.unix.replace(/^@/, "\0") }, () => tell("listening", {}));
	} else {
		server.listen(options.port || 0, "127.0.0.1", () => tell("listening", { port: server.address().port }));
	}
}

function command(line) {
	const { id, set, send, close } = JSON.parse(line);
	Object.assign(options, set || {});
	for (const connection of connections) {
		if (send) {
			connection.write(Buffer.from(send, "hex"));
		}
		if (close) {
			connection.socket.destroy();
		}
	}
	tell("done", { id });
}

readline.createInterface({ input: process.stdin }).on("line", command).on("close", () => process.exit(0));
listen();
