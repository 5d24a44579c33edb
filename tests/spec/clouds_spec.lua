--- Each agent.lua of docs/clouds.md as it stands there, against a mosquitto that is configured as that cloud
-- says it is, behind a door that asks for SNI and ALPN. A SOCKS proxy brings the connection there; the
-- sensors' broker, and the place of the queue, are the only other changes.
local cjson = require "cjson"
local broker = require "lib.broker"
local certs = require "lib.certs"
local document = require "lib.document"
local file = require "lib.file"
local loop = require "lib.loop"
local need = require "lib.need"
local net = require "lib.net"
local proc = require "lib.proc"
local tidegate = require "lib.tidegate"
local tls_gate = require "lib.tls_gate"

local page = document.open("docs/clouds.md")

local AWS = "abcdefgh-ats.iot.eu-central-1.amazonaws.com"
local HUB = "example.azure-devices.net"
local GRID = "example.westeurope-1.ts.eventgrid.azure.net"
local HIVE = "0123456789abcdef0123456789abcdef.s1.eu.hivemq.cloud"

local cloud = {}
cloud.__index = cloud

-- Starts the sensors' broker, the cloud, and not yet the agent. Options:
--   host, protocol   what the door asks for
--   broker           more for tests/lib/broker.lua; `tls` more for its listener
--   files            beside agent.lua
--   scripts          instead of forward.lua
local function start_cloud(options)
	local self = setmetatable({ options = options }, cloud)
	local certificate = certs.host(options.host)
	local settings = { lines = {}, tls = { ca = certs.get().ca, cert = certificate.cert, key = certificate.key } }
	for key, value in pairs(options.tls or {}) do
		settings.tls[key] = value
	end
	for key, value in pairs(options.broker or {}) do
		settings[key] = value
	end
	self.field = broker.start()
	self.broker = broker.start(settings)
	self.gate = tls_gate.start(self.broker.tls_port, options.host, options.protocol)
	self.proxy = net.socks5 { port = self.gate.port }
	self.sensor = self.field:client()
	self.reader = self.broker:client { username = options.reader, password = options.reader, client_id = "reader",
		clean = false }
	self.reader:subscribe("#", 1)
	return self
end

-- Starts the agent with the page's agent.lua; `changes` are more of them, as pairs of text. Waits until
-- it has subscribed to what sensors publish.
function cloud:start_agent(name, changes)
	local replace = {
		["mqtt://127.0.0.1:1883"] = "mqtt://127.0.0.1:" .. self.field.port,
		["\t\t\tdefault = true,\n"] = ("\t\t\tdefault = true,\n\t\t\tsocks5 = '127.0.0.1:%d',\n"):format(self.proxy.port),
		["return {\n"] = 'return {\n\tstore = { path = "queue.db" },\n\tcontrol = "control.sock",\n',
	}
	for old, new in pairs(changes or {}) do
		replace[old] = new
	end
	self.agent = tidegate.new {
		config = page:text(name .. "/agent.lua", replace),
		scripts = self.options.scripts or { ["forward.lua"] = file.read("scripts/examples/forward.lua") },
		env = { SSL_CERT_FILE = certs.get().ca },
	}
	for path, text in pairs(self.options.files or {}) do
		file.write(self.agent.directory .. "/" .. path, text)
		os.execute("chmod 600 " .. file.quote(self.agent.directory .. "/" .. path))
	end
	self.agent:start()
	self.field:wait_subscribed("gw-01-field", "sensors/#")
	return self.agent
end

-- Waits until nothing is queued for the cloud any more.
function cloud:wait_delivered(seconds)
	loop.eventually(function()
		return self:queued() == 0
	end, "an empty queue", seconds)
end

function cloud:queued()
	local _, out = self.agent:command("status", "--json")
	for line in out:gmatch("[^\n]+") do
		local object = cjson.decode(line)
		if object.kind == "queue" and object.link == "core" then
			return object.messages
		end
	end
end

function cloud:assert_delivers(topic)
	self.sensor:publish("sensors/hall/temp", "21.5")
	assert.equal("21.5", self.reader:wait_topic(topic or "gw-01/hall/temp").payload)
end

-- Nothing gets in, and the log says why.
function cloud:assert_kept_out()
	self.agent:wait_log("link core: cannot connect")
	assert.equal(0, self.broker:occurrences(" as gw-01"))
end

local function identity()
	local certificate = certs.client("gw-01")
	return { ["gw-01.pem"] = file.read(certificate.cert), ["gw-01.key"] = file.read(certificate.key) }
end

-- A rule that publishes sensors/N/qos2 at that QoS.
local QOS2 = [[
	on("sensors/+/qos2", function(topic, payload)
		mqtt.pub("gw-01/qos2", payload, { qos = 2 })
	end)
	function on_drop(token, link, reason)
		log.info("on_drop: %s", reason)
	end
]]

local KB128 = 128 * 1024

local function start_aws()
	return start_cloud {
		host = AWS, protocol = "x-amzn-mqtt-ca", files = identity(),
		tls = { require_certificate = true, lines = { "use_identity_as_username true", "max_qos 1" } },
		broker = {
			acl = "user reader\ntopic read #\nuser gw-01\ntopic write gw-01/#\npattern write %c/#\n",
			users = { reader = "reader" },
			lines = { "max_packet_size " .. KB128 + 5000, "max_inflight_messages 100", "max_keepalive 1200" },
		},
		reader = "reader",
	}
end

-- A large reading and one at QoS 2 among others: those get through, the loss of the large one is reported.
local function assert_others_get_through(g, reason)
	local function read(n)
		g.sensor:publish("sensors/hall/n", tostring(n))
	end
	read(1)
	g.reader:wait_topic("gw-01/hall/n")
	g.sensor:publish("sensors/hall/large", ("x"):rep(200 * 1024))
	read(2)
	g.sensor:publish("sensors/hall/qos2", "twice")
	read(3)
	loop.eventually(function()
		return #g.reader:payloads("^gw%-01/hall/n$") >= 3
	end, "what is behind it", 90)
	g.agent:wait_log("dropped: rejected: " .. reason .. "[^\n]* topic=gw%-01/hall/large", 90)
	local report = cjson.decode(g.reader:wait_topic("gw-01/loss", 60).payload)
	assert.equal("gw-01/hall/large", report.topic)
	assert.matches("^rejected: " .. reason, report.reason)
	assert.equal("twice", g.reader:wait_topic("gw-01/qos2", 60).payload)
	g:wait_delivered(60)
end

describe("docs/clouds.md, AWS IoT Core:", function()
	it("gets in with certificate, SNI and ALPN, and delivers", function()
		local g = start_aws()
		g:start_agent("aws")
		g:assert_delivers()
		assert.same({ host = AWS, protocols = { "x-amzn-mqtt-ca" } }, g.gate.hellos[1])
		assert.same({ AWS, 443 }, { g.proxy.requests[1].host, g.proxy.requests[1].port })
		assert.matches(" as gw%-01 %(p5, c0, k60, u'gw%-01'%)", g.broker:log())
	end)

	it("does not get in without ALPN", function()
		local g = start_aws()
		g:start_agent("aws", { [', alpn = "x-amzn-mqtt-ca"'] = "" })
		loop.eventually(function() return g.gate.hellos[1] end, "somebody at the door")
		assert.same({ host = AWS, protocols = {} }, g.gate.hellos[1])
		g:assert_kept_out()
	end)

	it("does not get in without a certificate", function()
		local g = start_aws()
		g:start_agent("aws", { ['cert = "gw-01.pem", key = "gw-01.key", '] = "" })
		g:assert_kept_out()
	end)

	it("drops what is too large, says so, and sends QoS 2 as QoS 1", function()
		local g = start_aws()
		g.options.scripts = { ["forward.lua"] = file.read("scripts/examples/forward.lua") .. QOS2 }
		g:start_agent("aws")
		assert_others_get_through(g, "too large")
		assert.equal(0, g.broker:occurrences("disconnecting"))
	end)

	it("on 3.1.1 finds out what the broker hangs up on, and goes on", function()
		local g = start_aws()
		g.options.scripts = { ["forward.lua"] = file.read("scripts/examples/forward.lua") .. QOS2 }
		g:start_agent("aws", {
			['version = "5"'] = 'version = "3.1.1", max_qos = 1, reconnect = { min = "10ms", max = "50ms" }',
		})
		assert_others_get_through(g, "the broker hangs up on it")
	end)
end)

describe("docs/clouds.md, Azure IoT Hub:", function()
	local USER = HUB .. "/gw-01/?api-version=2021-04-12"
	local EVENTS = "devices/gw-01/messages/events/"

	-- Makes tokens as the page does.
	local function token(directory, seconds)
		file.write(directory .. "/sas-token.sh", page:text("azure/sas-token.sh"))
		file.write(directory .. "/device.key", "bm90IGEgc2VjcmV0LCBidXQgMzIgYnl0ZXMgbG9uZy4u\n")
		return (proc.output(("sh %s/sas-token.sh %s/devices/gw-01 %s/device.key %d"):format(directory, HUB, directory,
			seconds)):gsub("\n$", ""))
	end

	local function start_hub(first)
		return start_cloud {
			host = HUB, reader = "reader", files = { ["core.secret"] = first .. "\n" },
			broker = {
				users = { reader = "reader", [USER] = first },
				acl = ("user reader\ntopic read #\nuser %s\ntopic write %s#\n"):format(USER, EVENTS),
			},
			tls = { lines = { "max_qos 1" } },
			scripts = { ["to_hub.lua"] = page:text("azure/to_hub.lua") .. [[
				on("sensors/+/qos2", function(topic, payload)
					mqtt.pub("devices/gw-01/messages/events/at=2", payload, { qos = 2 })
				end)
			]] },
		}
	end

	it("gets in with user name and token, and delivers to the device's topic", function()
		local g = start_hub(token(file.directory(), 3600))
		g:start_agent("azure")
		g:assert_delivers(EVENTS .. "topic=sensors%2Fhall%2Ftemp")
		assert.same({ host = HUB, protocols = {} }, g.gate.hellos[1])
		assert.equal(8883, g.proxy.requests[1].port)
		g.sensor:publish("sensors/hall/qos2", "twice")
		assert.equal("twice", g.reader:wait_topic(EVENTS .. "at=2").payload)
		assert(g.broker:log():find((" as gw-01 (p2, c0, k60, u'%s')"):format(USER), 1, true))
	end)

	it("makes the tokens that others make", function()
		need.program("node")
		local made = token(file.directory(), 3600)
		local resource, signature, ends = made:match("^SharedAccessSignature sr=([^&]+)&sig=([^&]+)&se=(%d+)$")
		assert.equal(HUB .. "%2Fdevices%2Fgw-01", resource)
		assert.near(os.time() + 3600, tonumber(ends), 60)
		assert.equal(signature .. "\n", proc.output(([[node -e '
			const key = Buffer.from("bm90IGEgc2VjcmV0LCBidXQgMzIgYnl0ZXMgbG9uZy4u", "base64")
			const text = encodeURIComponent("%s/devices/gw-01") + "\n" + %s
			console.log(encodeURIComponent(require("crypto").createHmac("sha256", key).update(text).digest("base64")))
		']]):format(HUB, ends)))
	end)

	it("outlives the token: readings wait, and leave with the next one", function()
		local directory = file.directory()
		local first, second = token(directory, 3600), token(directory, 7200)
		local g = start_hub(first)
		g:start_agent("azure", {
			['client_id = "gw-01"'] = 'client_id = "gw-01", reconnect = { min = "50ms", max = "300ms" }',
		})
		g:assert_delivers(EVENTS .. "topic=sensors%2Fhall%2Ftemp")
		g.broker:set_users { reader = "reader", [USER] = second }
		g.gate.cut()
		g.agent:wait_log("link core: [^\n]*refused: [^\n]*not authori[sz]ed")
		for n = 1, 20 do
			g.sensor:publish("sensors/hall/n", tostring(n))
		end
		file.write(g.agent.directory .. "/core.secret.new", second .. "\n")
		os.execute(("cd %s && chmod 600 core.secret.new && mv core.secret.new core.secret"):format(g.agent.directory))
		g.agent:signal("sighup")
		loop.eventually(function() return #g.reader:payloads("hall%%2Fn$") == 20 end, "the readings")
		g:wait_delivered()
	end)

	it("goes on with max_qos when a message at QoS 2 has held the queue up", function()
		local g = start_hub(token(file.directory(), 3600))
		g:start_agent("azure", { ["max_qos = 1"] = 'reconnect = { min = "50ms", max = "300ms" }' })
		g.sensor:publish("sensors/hall/qos2", "twice")
		g.sensor:publish("sensors/hall/temp", "21.5")
		g.agent:wait_log("lost 4 times in a row")
		local path = g.agent.directory .. "/agent.lua"
		file.write(path, (file.read(path):gsub("reconnect = {", "max_qos = 1, reconnect = {")))
		assert.equal(0, (g.agent:command("reload")))
		g.reader:wait_topic(EVENTS .. "topic=sensors%2Fhall%2Ftemp")
		assert.same({ "twice" }, g.reader:payloads("at=2$"))
		g:wait_delivered()
	end)

	it("reports losses on a topic that the hub takes", function()
		local g = start_hub(token(file.directory(), 3600))
		g.gate.host = nil -- nobody gets in yet
		g:start_agent("azure", { ['client_id = "gw-01"'] = 'client_id = "gw-01", queue = { max_messages = 5 }, ' ..
			'reconnect = { min = "50ms", max = "300ms" }' })
		for n = 1, 8 do
			g.sensor:publish("sensors/hall/n", tostring(n))
		end
		loop.eventually(function() return g.field:occurrences("Received PUBACK from gw-01-field") >= 8 end, "all are taken")
		assert.truthy(g.agent:log():find("overflow", 1, true))
		g.gate.host = HUB
		assert.equal(3, cjson.decode(g.reader:wait_topic(EVENTS .. "kind=loss").payload).count)
		loop.eventually(function() return #g.reader:payloads("hall%%2Fn$") == 5 end, "the rest")
	end)
end)

describe("docs/clouds.md, Azure Event Grid:", function()
	it("gets in with certificate and user name, and delivers", function()
		local g = start_cloud {
			host = GRID, files = identity(),
			tls = { require_certificate = true, lines = { "max_qos 1" } },
			broker = { acl = "topic read #\nuser gw-01\ntopic write gw-01/#\n" },
		}
		g:start_agent("event_grid")
		g:assert_delivers()
		assert.same({ host = GRID, protocols = {} }, g.gate.hellos[1])
		assert.matches(" as gw%-01%-1 %(p5, c0, k60, u'gw%-01'%)", g.broker:log())
	end)
end)

describe("docs/clouds.md, HiveMQ Cloud:", function()
	local function start_hive(password)
		return start_cloud {
			host = HIVE, reader = "reader", files = { ["core.secret"] = password .. "\n" },
			broker = { users = { reader = "reader", ["gw-01"] = "right" } },
		}
	end

	it("gets in with user name, password and SNI, and delivers", function()
		local g = start_hive("right")
		g:start_agent("hivemq")
		g:assert_delivers()
		assert.same({ host = HIVE, protocols = {} }, g.gate.hellos[1])
		assert.matches(" as gw%-01%-core %(p5, c0, k60, u'gw%-01'%)", g.broker:log())
	end)

	it("tells of a wrong password", function()
		local g = start_hive("wrong")
		g:start_agent("hivemq")
		g.agent:wait_log("link core: [^\n]*refused: [^\n]*[Nn]ot authori[sz]ed")
	end)

	it("is not for who names another cluster", function()
		local g = start_hive("right")
		g:start_agent("hivemq", { ["0123456789abcdef0123456789abcdef"] = "fedcba9876543210fedcba9876543210" })
		loop.eventually(function() return g.gate.hellos[1] end, "somebody at the door")
		assert.equal("fedcba9876543210fedcba9876543210.s1.eu.hivemq.cloud", g.gate.hellos[1].host)
		g:assert_kept_out()
		g.gate.host = g.gate.hellos[1].host
		g.agent:wait_log("link core: [^\n]*certificate is refused: hostname mismatch")
	end)
end)

describe("docs/clouds.md, a broker that throws away what is above message_size_limit or not allowed", function()
	local function start(version)
		local server = broker.start { lines = { "message_size_limit " .. KB128 },
			acl = "topic read #\ntopic write ok/#\n" }
		local reader = server:client()
		reader:subscribe("#", 1)
		local agent = tidegate.start {
			config = { links = { core = { url = "mqtt://127.0.0.1:" .. server.port, version = version,
				loss_topic = "ok/loss" } } },
			scripts = { ["rules.lua"] = [[
				function on_start()
					mqtt.pub("ok/large", ("x"):rep(200 * 1024))
					mqtt.pub("elsewhere", "x")
					mqtt.pub("ok/last", "x")
				end
				function on_sent(token, link) log.info("on_sent") end
				function on_drop(token, link, reason) log.info("on_drop: %s.", reason) end
			]] },
		}
		reader:wait_topic("ok/last")
		return agent, reader
	end

	it("says so on version 5, and the collector hears of it", function()
		local agent, reader = start("5")
		agent:wait_log("on_drop: rejected: Packet too large")
		agent:wait_log("on_drop: rejected: Not authorized")
		loop.eventually(function() return #reader:payloads("^ok/loss$") == 2 end, "two reports", 30)
	end)

	it("acknowledges it on 3.1.1, and nobody can know", function()
		local agent, reader = start("3.1.1")
		loop.eventually(function()
			return select(2, agent:log():gsub("on_sent", "")) == 3
		end, "three acknowledgements")
		assert.same({ "x" }, reader:payloads())
	end)
end)

describe("docs/clouds.md", function()
	it("shows no agent.lua and no script that was not run", function()
		assert.same({}, page:unused())
	end)
end)
