// Aedes as a program.
//
// usage: node aedes.js PORT TLS-PORT CERTIFICATE KEY
// Takes clients without a name, and joe with the password secret; nobody may publish below denied/.
"use strict";
const fs = require("fs");
const net = require("net");
const tls = require("tls");
const { Aedes } = require("aedes");

function authenticate(client, username, password, done) {
	const known = !username || (username === "joe" && String(password) === "secret");
	done(known ? null : Object.assign(new Error("bad user name or password"), { returnCode: 4 }), known);
}

function authorizePublish(client, packet, done) {
	done(packet.topic.startsWith("denied/") ? new Error("denied") : null);
}

async function main([port, tlsPort, certificate, key]) {
	const broker = await Aedes.createBroker({ authenticate, authorizePublish });
	const secrets = { cert: fs.readFileSync(certificate), key: fs.readFileSync(key) };
	const servers = [net.createServer(broker.handle), tls.createServer(secrets, broker.handle)];

	for (const event of ["clientError", "connectionError"]) {
		broker.on(event, (client, error) => console.log(event, client && client.id, error.message));
	}
	process.on("SIGTERM", () => {
		servers.forEach((server) => server.close());
		broker.close(() => process.exit(0));
	});
	servers[0].listen(Number(port), "127.0.0.1");
	servers[1].listen(Number(tlsPort), "127.0.0.1");
}

main(process.argv.slice(2)).catch((error) => {
	console.error(error);
	process.exit(1);
});
