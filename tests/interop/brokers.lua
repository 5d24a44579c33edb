--- The brokers of the interoperability tests, a table each: how to find, configure and start one, and what it does
-- otherwise than the standard has it. All are told the same: keep sessions and messages on disk, where they can; take
-- clients without a name, and joe with the password secret, and nobody else; let nobody publish below denied/; TLS
-- on a second port; messages of up to 2 MB.
local certs = require "lib.certs"
local cleanup = require "lib.cleanup"
local client = require "lib.client"
local file = require "lib.file"
local loop = require "lib.loop"
local need = require "lib.need"
local net = require "lib.net"
local proc = require "lib.proc"
local uv = require "luv"

local M = {}

local BUILT = uv.fs_realpath(os.getenv("INTEROP_BUILD") or "build/interop") or "build/interop"

--- Where make puts what it has fetched and built.
M.built = BUILT

-- ---- one that runs ----

local broker = {}
broker.__index = broker

local function listening(port)
	local answer
	net.connect(port, function(err, socket)
		answer = err or "yes"
		net.close(socket)
	end)
	loop.run_until(function() return answer end, 2)
	return answer == "yes"
end

-- Waits until it listens everywhere and welcomes a client: on a busy machine, some need minutes.
local function await_welcome(self)
	for _, port in ipairs(self.ports) do
		local listens = loop.run_until(function()
			return not self.process:running() or listening(port)
		end, 180)
		if not self.process:running() then
			error(self.kind.name .. " ended: " .. file.read(self.log_path):sub(-4000), 0)
		elseif not listens then
			error(self.kind.name .. " does not listen after 180 s", 0)
		end
	end
	loop.eventually(function()
		self:client({ keepalive = 60 }):close()
		return true
	end, self.kind.name .. " takes clients", 60)
end

--- Starts it, again after :stop() or :kill(), on the same ports and data; waits until it can be used. One that cannot
-- be is killed, so that what comes next starts it afresh, and not another beside it.
function broker:start()
	cleanup.outlive(function()
		local argv, env = self.kind.command(self)
		self.process = proc.spawn(argv, { cwd = self.directory, env = env, stdout = self.log_path })
	end)
	local ok, err = pcall(await_welcome, self)
	if not ok then
		self:kill()
		error(err, 0)
	end
	return self
end

--- Ends it with TERM, so that it can write down what it has.
function broker:stop()
	self.process:kill("sigterm")
	self.process:wait(60)
end

--- Ends it with KILL.
function broker:kill()
	self.process:destroy()
end

--- The port for a protocol version (3, 4, 5).
function broker:port(version)
	return version == 5 and self.port_5 or self.plain_port
end

--- The one that asks for user name and password.
function broker:password_port()
	return self.named_port or self.plain_port
end

--- A test client connected to it; see tests/lib/client.lua.
function broker:client(options)
	return client.connect(self:port(options and options.version), options)
end

--- Starts a broker of this kind, for the whole run; `guest` is the kind of client that is tried with it, if any.
function M.start(kind, guest)
	local self = setmetatable({ kind = kind, guest = guest, ports = {} }, broker)
	cleanup.outlive(function()
		self.directory = file.directory()
	end)
	self.certs = certs.get()
	self.log_path = self.directory .. "/log"
	self.plain_port, self.tls_port = net.free_port(), net.free_port()
	table.move({ self.plain_port, self.tls_port }, 1, 2, 1, self.ports)
	if kind.configure then
		kind.configure(self)
	end
	return self:start()
end

-- ---- the kinds ----

--- What a command says, or nil if it does not say such a thing.
function M.says(command, pattern)
	local pipe = io.popen(command .. " 2>&1")
	local text = pipe:read("a")
	pipe:close()
	return text:match(pattern)
end

--- The version of a package that npm has installed; nil without it, or if node is older than 20.
function M.npm_version(name)
	local node = math.tointeger(tonumber(M.says("node --version", "^v(%d+)")))
	return node and node >= 20 and
		file.read(("%s/node_modules/%s/package.json"):format(BUILT, name)):match('"version": "([^"]+)"') or nil
end

local mosquitto = { name = "mosquitto", key = "mosquitto", language = "C" }

function mosquitto.version()
	return M.says("mosquitto -h", "mosquitto version ([%d.]+)")
end

mosquitto.missing = "apt: mosquitto"
mosquitto.deviates = {
	receive_maximum = { "are on their way, of 5", "before 2.0.13, each acknowledgement of the oldest message lets it " ..
		"send as many as the client takes, whatever else is on its way", sometimes = true },
}

local MOSQUITTO = [[
user root
log_dest stderr
log_type error
log_type warning
persistence true
persistence_location %s/
max_queued_messages 0
max_packet_size 3000000
set_tcp_nodelay true
allow_anonymous true
password_file %s
acl_file %s
listener %d 127.0.0.1
listener %d 127.0.0.1
cafile %s
certfile %s
keyfile %s
]]

function mosquitto.configure(self)
	local passwords = file.write(self.directory .. "/passwords", "joe:secret\n")
	proc.output("mosquitto_passwd -U " .. passwords)
	-- A pattern is for those, too, that are not back since a restart: they have no rules by name.
	local access = "pattern read #\ntopic deny denied/#\ntopic write #\n"
	-- Rules before the first user are for clients without a name.
	local acl = file.write(self.directory .. "/acl", access .. "user joe\n" .. access)
	os.execute("chmod 600 " .. acl)
	file.write(self.directory .. "/mosquitto.conf", MOSQUITTO:format(self.directory, passwords, acl, self.plain_port,
		self.tls_port, self.certs.ca, self.certs.server.cert, self.certs.server.key))
end

function mosquitto.command(self)
	return { "mosquitto", "-c", self.directory .. "/mosquitto.conf" }
end

local aedes = { name = "Aedes", key = "aedes", language = "JavaScript", missing = "npm: aedes; needs node 20" }

aedes.lacks = {
	v5 = "it speaks MQTT 3.1 and 3.1.1 only",
	shared = "it has no shared subscriptions before MQTT 5",
	restart = "it keeps sessions in memory, unless a module of its own does otherwise",
}
aedes.deviates = {
	wildcards = { "nothing came on /temp", "+ does not match an empty level" },
	qos2 = { "^the broker did not", "of PUBRECs that come at once, in a session that it keeps, it answers the last one " ..
		"twice, and the first one never", sometimes = true },
}

function aedes.version()
	return M.npm_version("aedes")
end

function aedes.command(self)
	local script = assert(uv.fs_realpath("tests/interop/aedes.js"))
	return { "node", script, tostring(self.plain_port), tostring(self.tls_port), self.certs.server.cert,
		self.certs.server.key }, { NODE_PATH = BUILT .. "/node_modules" }
end

local mochi = { name = "Mochi MQTT", key = "mochi", language = "Go", missing = "go: github.com/mochi-mqtt/server" }

-- What waits is restored with the packet id 0, which it then refuses to send.
local MOCHI_RESTART = "it does not write packet ids to disk: started again, it hangs up on each client for which a " ..
	"message waits, whenever that connects, until the client gives up its session"
local MOCHI_HANGS_UP = "the broker " -- did not bring something, or closed the connection

-- What had to wait is forgotten when it is sent, so that its acknowledgement makes no room.
local MOCHI_LIMIT = "once a client's Receive Maximum is reached, it sends a few more, and stops; the rest comes " ..
	"when the client connects again, all at once"

mochi.deviates = {
	session_order = { "out of order", "what was published in the same second comes in any order", sometimes = true },
	restart = { MOCHI_HANGS_UP, MOCHI_RESTART, sometimes = true },
	under_way = { MOCHI_HANGS_UP, MOCHI_RESTART, sometimes = true },
	killed = { MOCHI_HANGS_UP, MOCHI_RESTART, sometimes = true },
	receive_maximum = { "^the broker did not bring", MOCHI_LIMIT, sometimes = true },
	window = { "^the broker did not bring", MOCHI_LIMIT, sometimes = true },
}

function mochi.version()
	local modules = file.read("tests/interop/mochi/go.mod")
	return file.exists(BUILT .. "/mochi") and modules:match("server/v2 v([%d.]+)") or nil
end

function mochi.command(self)
	return { BUILT .. "/mochi", tostring(self.plain_port), tostring(self.tls_port), self.certs.server.cert,
		self.certs.server.key, self.directory }
end

local rumqttd = { name = "rumqttd", key = "rumqttd", language = "Rust", missing = "cargo: rumqttd" }

rumqttd.lacks = {
	restart = "it keeps everything in memory",
	refused4 = "it has no access rules", refused5 = "it has no access rules",
}
rumqttd.deviates = {
	connect3 = { "refused by the broker: closed", "it speaks MQTT 3.1.1 and 5 only, and hangs up" },
	session_expiry = { "after the session had expired was kept", "it takes no notice of the interval: it keeps a " ..
		"session for as long as it runs" },
	receive_maximum = { "are on their way, of 5", "it sends up to 100, whatever the client says", sometimes = true },
}

function rumqttd.version()
	return file.exists(BUILT .. "/rumqttd") and
		file.read("tests/interop/rumqttd/Cargo.lock"):match('name = "rumqttd"\nversion = "([%d.]+)"') or nil
end

local RUMQTTD_LISTENER = [[
[%s]
name = "%s"
listen = "127.0.0.1:%d"
next_connection_delay_ms = 1
%s
    [%s.connections]
    connection_timeout_ms = 60000
    max_payload_size = 3000000
    max_inflight_count = 100
    dynamic_filters = true
%s
]]

function rumqttd.configure(self)
	self.port_5, self.named_port = net.free_port(), net.free_port()
	table.move({ self.port_5, self.named_port }, 1, 2, 3, self.ports)
	local tls = ('    [v4.tls.tls]\n    capath = "%s"\n    certpath = "%s"\n    keypath = "%s"\n'):format(self.certs.ca,
		self.certs.server.cert, self.certs.server.key)
	file.write(self.directory .. "/rumqttd.toml", table.concat {
		"id = 0\n[router]\nid = 0\nmax_connections = 1000\nmax_outgoing_packet_count = 200\n",
		"max_segment_size = 104857600\nmax_segment_count = 10\n",
		RUMQTTD_LISTENER:format("v4.plain", "plain", self.plain_port, "", "v4.plain", ""),
		RUMQTTD_LISTENER:format("v4.tls", "tls", self.tls_port, tls, "v4.tls", ""),
		RUMQTTD_LISTENER:format("v4.named", "named", self.named_port, "", "v4.named", '    auth = { joe = "secret" }'),
		RUMQTTD_LISTENER:format("v5.plain", "plain5", self.port_5, "", "v5.plain", ""),
	})
end

function rumqttd.command(self)
	return { BUILT .. "/rumqttd", self.directory .. "/rumqttd.toml" }
end

local hivemq = { name = "HiveMQ CE", key = "hivemq", language = "Java", missing = "Maven: com.hivemq" }

function hivemq.version()
	return file.exists(BUILT .. "/hivemq/Broker.class") and
		file.read("tests/interop/hivemq/pom.xml"):match("embedded</artifactId>%s*<version>([%d.]+)") or nil
end

local HIVEMQ = [[
<?xml version="1.0"?>
<hivemq>
	<listeners>
		<tcp-listener><port>%d</port><bind-address>127.0.0.1</bind-address></tcp-listener>
		<tls-tcp-listener>
			<port>%d</port>
			<bind-address>127.0.0.1</bind-address>
			<tls>
				<keystore>
					<path>%s</path>
					<password>secret</password>
					<private-key-password>secret</private-key-password>
				</keystore>
			</tls>
		</tls-tcp-listener>
	</listeners>
	<mqtt>
		<queued-messages><max-queue-size>100000</max-queue-size></queued-messages>
	</mqtt>
	<anonymous-usage-statistics><enabled>false</enabled></anonymous-usage-statistics>
</hivemq>
]]

function hivemq.configure(self)
	for _, name in ipairs { "conf", "data", "extensions" } do
		assert(uv.fs_mkdir(self.directory .. "/" .. name, 448))
	end
	local store = self.directory .. "/conf/keys.p12"
	proc.output(("openssl pkcs12 -export -in %s -inkey %s -out %s -passout pass:secret -name server"):format(
		self.certs.server.cert, self.certs.server.key, store))
	file.write(self.directory .. "/conf/config.xml", HIVEMQ:format(self.plain_port, self.tls_port, store))
end

function hivemq.command(self)
	return { "java", "-Xmx512m", "-cp", ("%s/hivemq:%s/hivemq/lib/*"):format(BUILT, BUILT), "Broker", self.directory }
end

local rabbitmq = { name = "RabbitMQ", key = "rabbitmq", language = "Erlang", missing = "apt: rabbitmq-server" }

-- Where it is: unpacked by make, for a Debian package would start a service.
local function rabbitmq_home()
	return M.says(("ls -d %s/../rabbitmq/usr/lib/rabbitmq/lib/rabbitmq_server-*"):format(BUILT), "^(/%S+)\n")
end

rabbitmq.lacks = {
	v5 = "3.10 speaks MQTT 3.1 and 3.1.1 only; MQTT 5 came with 3.13",
	shared = "it has no shared subscriptions before 3.13",
}
rabbitmq.deviates = {
	qos2 = { "QoS 2 comes as QoS 1", "it makes QoS 1 of QoS 2, as its documentation says" },
	retained_in = { "a retained message did not come", "it looks retained messages up by name: " ..
		"a filter with wildcards brings none, as its documentation says" },
}

function rabbitmq.version()
	local home = M.says("command -v erl", "erl") and rabbitmq_home()
	return home and home:match("%-([%d.]+)$")
end

local RABBITMQ = [[
listeners.tcp = none
mqtt.listeners.tcp.1 = 127.0.0.1:%d
mqtt.listeners.ssl.1 = 127.0.0.1:%d
mqtt.allow_anonymous = true
mqtt.default_user = nobody
mqtt.default_pass = secret
mqtt.subscription_ttl = 86400000
ssl_options.cacertfile = %s
ssl_options.certfile = %s
ssl_options.keyfile = %s
ssl_options.verify = verify_none
load_definitions = %s
log.file = false
log.console = true
log.console.level = warning
]]

-- The hash is of the password secret: four bytes of salt, and SHA-256 of those and the password.
local RABBITMQ_USER =
	'{"name":"%s","password_hash":"%s","hashing_algorithm":"rabbit_password_hashing_sha256","tags":""}'
local RABBITMQ_RIGHTS = '{"user":"%s","vhost":"/","configure":".*","write":".*","read":".*"}'
local RABBITMQ_TOPICS = '{"user":"%s","vhost":"/","exchange":"amq.topic","write":"^(?!denied)","read":".*"}'

local function rabbitmq_definitions()
	local hash = M.says("{ printf salt; printf saltsecret | openssl dgst -sha256 -binary; } | base64 -w 0", "%S+")
	local function both(format, ...)
		return format:format("joe", ...) .. "," .. format:format("nobody", ...)
	end
	return ('{"rabbit_version":"3.10.8","vhosts":[{"name":"/"}],"users":[%s],"permissions":[%s],' ..
		'"topic_permissions":[%s]}'):format(both(RABBITMQ_USER, hash), both(RABBITMQ_RIGHTS), both(RABBITMQ_TOPICS))
end

function rabbitmq.configure(self)
	local epmd_port = net.free_port()
	self.distribution_port = net.free_port()
	local definitions = file.write(self.directory .. "/definitions.json", rabbitmq_definitions())
	file.write(self.directory .. "/rabbitmq.conf", RABBITMQ:format(self.plain_port, self.tls_port, self.certs.ca,
		self.certs.server.cert, self.certs.server.key, definitions))
	file.write(self.directory .. "/enabled_plugins", "[rabbitmq_mqtt].\n")
	self.env = {
		HOME = self.directory, -- where the cookie is
		RABBITMQ_HOME = rabbitmq_home(),
		RABBITMQ_NODENAME = ("interop%d@localhost"):format(self.plain_port),
		RABBITMQ_MNESIA_BASE = self.directory .. "/mnesia",
		RABBITMQ_LOG_BASE = self.directory,
		RABBITMQ_CONFIG_FILE = self.directory .. "/rabbitmq.conf",
		RABBITMQ_ENABLED_PLUGINS_FILE = self.directory .. "/enabled_plugins",
		RABBITMQ_PID_FILE = self.directory .. "/pid",
		RABBITMQ_DIST_PORT = tostring(self.distribution_port),
		RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS = "-kernel inet_dist_use_interface {127,0,0,1}",
		RUNNING_UNDER_SYSTEMD = "true", -- one process, which ends on TERM
		ERL_EPMD_PORT = tostring(epmd_port),
		ERL_EPMD_ADDRESS = "127.0.0.1",
	}
	cleanup.outlive(function()
		self.epmd = proc.spawn({ "epmd", "-port", tostring(epmd_port), "-address", "127.0.0.1" })
	end)
end

function rabbitmq.command(self)
	return { self.env.RABBITMQ_HOME .. "/sbin/rabbitmq-server" }, self.env
end

--- The one that every client is tried with.
M.mosquitto = mosquitto

--- All of them, in the order of the table.
M.all = { mosquitto, aedes, mochi, rumqttd, hivemq, rabbitmq }

--- Raises (a spec is then pending) unless it is installed; returns its version.
function M.need(kind)
	local version = kind.version()
	if not version then
		need.missing(("%s is not installed (%s)"):format(kind.name, kind.missing))
	end
	return version
end

return M
