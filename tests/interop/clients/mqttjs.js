// MQTT.js as a sensor or collector of the interoperability tests: it does what it is told in lines of JSON and tells
// what happens in others; tests/interop/driver.lua has the calls and events. It connects again by itself, and buffers
// meanwhile, as the library does it.
"use strict";
const fs = require("fs");
const mqtt = require("mqtt");
const readline = require("readline");

// Our names of properties, and the library's.
const KNOWN = {
	payload_format: "payloadFormatIndicator", message_expiry: "messageExpiryInterval", content_type: "contentType",
	response_topic: "responseTopic", correlation: "correlationData", session_expiry: "sessionExpiryInterval",
	receive_maximum: "receiveMaximum",
};

function tell(event, more) {
	process.stdout.write(JSON.stringify({ event, ...more }) + "\n");
}

function readProperties(values) {
	const properties = {};
	for (const [name, value] of Object.entries(values || {})) {
		if (name === "user_property") {
			// The library keeps them by name: all values of a name together.
			properties.userProperties = {};
			for (const [key, text] of value) {
				properties.userProperties[key] = [].concat(properties.userProperties[key] || [], text);
			}
		} else if (name === "correlation") {
			properties.correlationData = Buffer.from(value, "hex");
		} else {
			properties[KNOWN[name]] = name === "payload_format" ? value === 1 : value;
		}
	}
	return properties;
}

function writeProperties(properties = {}) {
	const values = { user_property: [] };
	for (const [name, theirs] of Object.entries(KNOWN)) {
		const value = properties[theirs];
		if (value !== undefined) {
			values[name] = name === "correlation" ? value.toString("hex") : name === "payload_format" ? Number(value) : value;
		}
	}
	for (const [key, texts] of Object.entries(properties.userProperties || {})) {
		[].concat(texts).forEach((text) => values.user_property.push([key, text]));
	}
	return values;
}

const calls = {};
let client;

calls.connect = (call) => {
	const is5 = call.version === 5;
	client = mqtt.connect({
		protocol: call.ca ? "mqtts" : "mqtt", host: call.host, port: call.port, protocolVersion: call.version,
		protocolId: call.version === 3 ? "MQIsdp" : "MQTT", clientId: call.client_id, clean: call.clean,
		keepalive: call.keepalive, username: call.username, password: call.password, ca: call.ca && fs.readFileSync(call.ca),
		will: call.will && { ...call.will, payload: Buffer.from(call.will.payload), retain: false },
		properties: is5 ? readProperties(call.properties) : undefined, reconnectPeriod: 1000,
	});
	client.on("connect", () => tell("connected"));
	client.on("close", () => tell("lost"));
	client.on("error", (error) => tell("failed", { reason: error.message, code: error.code }));
	client.on("message", (topic, payload, packet) => tell("message", {
		topic, payload: payload.toString("hex"), qos: packet.qos, retain: packet.retain,
		properties: writeProperties(packet.properties),
	}));
};

calls.subscribe = (call) => {
	client.subscribe(call.filter, { qos: call.qos }, (error, granted) => tell("done", {
		id: call.id, code: error ? error.code || 128 : granted.length ? granted[0].qos : call.qos,
	}));
};

calls.publish = (call) => {
	const options = { qos: call.qos, retain: call.retain };
	if (call.properties) {
		options.properties = readProperties(call.properties);
	}
	client.publish(call.topic, Buffer.from(call.payload, "hex"), options, (error) => tell("done", {
		id: call.id, code: error ? error.code || 128 : 0,
	}));
};

const lines = readline.createInterface({ input: process.stdin });
lines.on("line", (line) => {
	const call = JSON.parse(line);
	calls[call.call](call);
});
lines.on("close", () => (client ? client.end(false, () => process.exit(0)) : process.exit(0)));
