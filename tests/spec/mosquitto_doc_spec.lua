--- docs/mosquitto.md: its files, as they are but for places and ports, and what it says of them.
local cleanup = require "lib.cleanup"
local client = require "lib.client"
local document = require "lib.document"
local file = require "lib.file"
local loop = require "lib.loop"
local need = require "lib.need"
local net = require "lib.net"
local proc = require "lib.proc"
local broker = require "lib.broker"
local tidegate = require "lib.tidegate"
local uv = require "luv"

local DOCUMENT = "docs/mosquitto.md"

local function shown(name)
	return document.blocks(DOCUMENT, (name:gsub("%p", "%%%0")))[1]
end

local function replace(text, pairs_of_texts)
	for _, pair in ipairs(pairs_of_texts) do
		local from, to = text:find(pair[1], 1, true)
		assert(from, "the document does not say " .. pair[1])
		text = text:sub(1, from - 1) .. pair[2] .. text:sub(to + 1)
	end
	return text
end

-- The documented broker; `without` is a setting left out of it, `acl` other rules.
local function start_field(without, acl)
	need.program("mosquitto_passwd")
	local self = { directory = file.directory(), port = net.free_port() }
	local directory = self.directory
	assert(uv.fs_mkdir(directory .. "/conf.d", 448))
	file.write(directory .. "/mosquitto.conf", replace(shown("mosquitto.conf"), {
		{ "/var/lib/mosquitto/", directory .. "/" }, { "/etc/mosquitto/", directory .. "/" },
	}) .. "log_dest stderr\nlog_type all\n" .. (uv.getuid() == 0 and "user root\n" or ""))
	local settings = replace(shown("tidegate.conf"), {
		{ "listener 1883", "listener " .. self.port .. " 127.0.0.1" },
		{ "/etc/mosquitto/passwords", directory .. "/passwords" }, { "/etc/mosquitto/acl", directory .. "/acl" },
	})
	if without then
		settings = settings:gsub("\n" .. without .. " [^\n]*", "")
	end
	file.write(directory .. "/conf.d/tidegate.conf", settings)
	file.write(directory .. "/acl", acl or shown("acl"))
	file.write(directory .. "/passwords", "")
	for _, name in ipairs { "tidegate", "sensor" } do
		proc.output(("mosquitto_passwd -b %s/passwords %s hush-%s"):format(directory, name, name))
	end
	os.execute(("chmod 600 %s/acl %s/passwords"):format(directory, directory))
	function self.start()
		local log = directory .. "/mosquitto.log"
		os.remove(log)
		self.process = proc.spawn({ "mosquitto", "-c", directory .. "/mosquitto.conf" }, { stdout = log })
		loop.eventually(function()
			if not self.process:running() then
				error("mosquitto ended: " .. file.read(log), 0)
			end
			return file.read(log):find(" running\n", 1, true)
		end, "mosquitto running")
	end
	function self.wait_subscribed()
		loop.eventually(function()
			return file.read(directory .. "/mosquitto.log"):find("sensors/# (QoS 1)", 1, true)
		end, "the subscription")
	end
	function self.stop()
		self.process:kill("sigterm")
		self.process:wait()
	end
	function self.sensor()
		return client.connect(self.port, { username = "sensor", password = "hush-sensor" })
	end
	self.start()
	return self
end

-- The documented gateway on it; not started.
local function gateway(field, core)
	local agent = tidegate.new { config = "", scripts = { ["forward.lua"] = [[
		function on_message(topic, payload)
			mqtt.pub(topic, payload)
		end
		function on_drop(token, link, reason)
			log.info("dropped: %s", reason)
		end
	]] } }
	file.write(agent.directory .. "/field.secret", "hush-tidegate\n")
	agent:configure(tidegate.as_root(replace(shown("agent.lua"), {
		{ "127.0.0.1:1883", "127.0.0.1:" .. field.port }, { "/etc/tidegate/", agent.directory .. "/" },
		{ "mqtts://broker.example.com", "mqtt://127.0.0.1:" .. core.port },
		{ "scripts/*.lua", "forward.lua" }, { "/var/lib/tidegate/", agent.directory .. "/" },
		{ "/run/tidegate/", agent.directory .. "/" },
	})))
	return agent
end

-- What arrives of `count` readings that are published while the agent is away and the broker restarts.
local function through_an_absence(field, count, qos)
	local core = broker.start()
	local collector = core:client()
	collector:subscribe("sensors/#", 1)
	local agent = gateway(field, core):start()
	agent:wait_log("link core: connected")
	local sensor = field.sensor()
	loop.eventually(function() -- until the agent has subscribed they are kept for nobody
		sensor:post("sensors/first", "x", { qos = 0 })
		return #collector.messages > 0
	end, "the first reading")
	agent:stop()
	for i = 1, qos == 0 and count or 0 do
		sensor:post("sensors/a", "r" .. i, { qos = 0 })
	end
	sensor:publish_many(qos == 0 and 0 or count, function(i)
		return "sensors/a", "r" .. i
	end)
	sensor:publish("sensors/last", "x") -- at QoS 1: the broker has all that came before
	sensor:close()
	field.stop()
	field.start()
	agent:start()
	collector:wait_topic("sensors/last")
	return #collector:payloads("^sensors/a$")
end

-- How many of 200 messages wait for a collector that was away when the broker restarted.
local function kept_for_collector(options)
	options.persistence = true
	local core = broker.start(options)
	local collector = core:client({ client_id = "collector", clean = false, username = options.users and "collector",
		password = options.users and "hush" }):subscribe("data/#", 1)
	collector:close()
	core:stop()
	core:start()
	core:client({ username = options.users and "collector", password = options.users and "hush" })
		:publish_many(200, function(i)
			return "data/a", "r" .. i
		end)
	collector:reconnect()
	collector:publish("data/last", "x")
	collector:wait_topic("data/last")
	return #collector:payloads("^data/a$")
end

describe("docs/mosquitto.md", function()
	it("has a broker that keeps what comes while Tidegate is away, and through a restart", function()
		assert.equal(1500, through_an_absence(start_field(), 1500))
	end)

	it("says rightly what is kept for a collector with and without a user name", function()
		local rules = "topic readwrite data/#\n"
		assert.equal(200, kept_for_collector {})
		assert.equal(200, kept_for_collector { users = { collector = "hush" }, acl = "user collector\n" .. rules })
		need.success("mosquitto -h | grep -q 'version 2\\.0\\.'", "mosquitto is not 2.0")
		assert.equal(0, kept_for_collector { acl = rules })
	end)

	it("says rightly that without max_queued_messages it drops", function()
		local field = start_field("max_queued_messages")
		local core = broker.start()
		local agent = gateway(field, core):start()
		field.wait_subscribed()
		agent:stop()
		local sensor = field.sensor()
		sensor:publish_many(1500, function(i)
			return "sensors/a", "r" .. i
		end)
		loop.eventually(function()
			return file.read(field.directory .. "/mosquitto.log"):find("are being dropped", 1, true)
		end, "the broker's word that it drops")
	end)

	it("has it keep what sensors publish at QoS 0", function()
		assert.equal(200, through_an_absence(start_field(), 200, 0))
	end)

	it("says rightly that otherwise it does not", function()
		assert.equal(0, through_an_absence(start_field("upgrade_outgoing_qos"), 200, 0))
	end)

	it("lets sensors write and Tidegate read, and nobody else in", function()
		local field = start_field()
		local function mosquitto(program, arguments)
			local argv = table.move(arguments, 1, #arguments, 4, { program, "-p", tostring(field.port) })
			local out = field.directory .. "/" .. program .. ".out"
			os.remove(out)
			return proc.spawn(argv, { stdout = out }), out
		end
		local stranger = mosquitto("mosquitto_pub", { "-t", "sensors/a", "-m", "x" })
		assert.not_equal(0, (stranger:wait()))
		-- Of four messages only the sensor's below sensors/ gets to Tidegate, which may not write one itself.
		local reader, out = mosquitto("mosquitto_sub",
			{ "-u", "tidegate", "-P", "hush-tidegate", "-q", "1", "-t", "#", "-t", "sensors/#", "-v" })
		cleanup.defer(function()
			reader:destroy()
		end)
		field.wait_subscribed()
		for _, by in ipairs { { "tidegate", "sensors/own" }, { "sensor", "commands/a" }, { "sensor", "sensors/a" } } do
			local writer = mosquitto("mosquitto_pub",
				{ "-u", by[1], "-P", "hush-" .. by[1], "-q", "1", "-t", by[2], "-m", "x" })
			assert.equal(0, (writer:wait()))
		end
		loop.eventually(function()
			return file.read(out):find("sensors/a x\n", 1, true)
		end, "the reading")
		assert.is_nil(file.read(out):find("own", 1, true))
		assert.is_nil(file.read(out):find("commands", 1, true))
	end)

	for version, hears in pairs { ["5"] = true, ["3.1.1"] = false } do
		local what = hears and "hears" or "does not hear"
		it(("says rightly that version %s %s of what rules forbid"):format(version, what), function()
			local field = start_field()
			local core = broker.start { users = { gw = "hush" }, acl = "user gw\ntopic write other/#\n" }
			local agent = gateway(field, core)
			agent:configure(replace(file.read(agent.directory .. "/agent.lua"), {
				{ 'version = "5"', ('version = "%s", username = "gw", password = "hush", tls = nil'):format(version) },
			}))
			agent:start()
			agent:wait_log("link core: connected")
			field.wait_subscribed()
			field.sensor():publish("sensors/a", "x")
			if hears then
				agent:wait_log("Not authorized")
			else
				loop.eventually(function()
					return core:log():find("Denied PUBLISH", 1, true)
				end, "the broker's refusal")
				if os.execute("mosquitto -h | grep -q 'version 2\\.0\\.11$'") then
					agent:wait_log("link core: lost")
				end
				agent:stop()
				assert.is_nil(agent:log():find("dropped", 1, true))
			end
		end)
	end
end)
