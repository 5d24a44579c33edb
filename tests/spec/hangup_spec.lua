--- A broker that hangs up on a message, as before MQTT 5 it must, does not hold up what
-- is behind it; and an innocent message is not taken for one that is hung up on.
local cjson = require "cjson"
local broker = require "lib.broker"
local fake_broker = require "lib.fake_broker"
local figures = require "torture.figures"
local gateway = require "lib.gateway"
local loop = require "lib.loop"
local proxy = require "lib.proxy"
local tables = require "lib.tables"
local tidegate = require "lib.tidegate"

local REPORT = "tidegate/gw/loss"
local PASSED = "passed over until another gets through"

-- The readings a fake broker got on a topic, each once.
local function readings(fake, topic)
	local list, seen = {}, {}
	for _, p in ipairs(fake:received("publish")) do
		if p.topic == topic and not seen[p.payload] then
			seen[p.payload] = true
			list[#list + 1] = math.tointeger(p.payload:match("^r(%d+)$"))
		end
	end
	return list
end

-- A rule that publishes a large message between two small ones.
local function large(bytes)
	return ('mqtt.pub("t/1", "before") mqtt.pub("t/2", ("x"):rep(%d)) mqtt.pub("t/3", "after")'):format(bytes)
end

local quick = { min = "10ms", max = "50ms" }

describe("a message that the broker hangs up on", function()
	-- Some brokers say DISCONNECT then, which only MQTT 5 lets them.
	it("is given up also if the broker says goodbye against the protocol", function()
		local fake = fake_broker.start {
			publish = function(conn, p)
				if p.topic == "t/2" then
					conn:send_raw("\xe0\0")
					return false
				end
			end,
		}
		local agent = tidegate.start {
			config = { links = { core = { url = "mqtt://127.0.0.1:" .. fake.port, reconnect = quick } } },
			scripts = { ["rule.lua"] = large(1) },
		}
		agent:wait_log("dropped: rejected: the broker hangs up on it seq=%d+ topic=t/2", 60)
		loop.eventually(function()
			for _, p in ipairs(fake:received("publish")) do
				if p.topic == "t/3" then
					return true
				end
			end
		end, "what was behind it")
	end)

	-- As a broker does whose policy lets this client publish on sensors/a and nowhere else.
	it("is given up when it has turned out that others get through; so is the report of it", function()
		local allowed = { ["sensors/a"] = true }
		local fake = fake_broker.start {
			publish = function(conn, p)
				if not allowed[p.topic] then
					conn:close()
					return false
				end
			end,
		}
		local g = gateway.start { idle = true, script = gateway.forward .. [[
			function on_drop(token, link, reason)
				log.info("on_drop: %s.", reason)
			end
		]] }
		g.config.links.core = { url = "mqtt://127.0.0.1:" .. fake.port, default = true, reconnect = quick }
		g.config.control = "control.sock"
		g.agent:configure(g.config)
		g:start()
		fake:wait_connected()
		g:publish_readings(1, 30)
		g.sensor:publish("sensors/forbidden", "x")
		g:publish_readings(31, 60)
		g.agent:wait_log("lost 4 times in a row .* topic=sensors/forbidden bytes=1")
		g.agent:wait_log(PASSED .. " seq=%d+ topic=sensors/forbidden bytes=1", 60)
		loop.eventually(function() return #readings(fake, "sensors/a") == 60 end, "what was behind it")
		g.agent:wait_log("dropped: rejected: the broker hangs up on it seq=%d+ topic=sensors/forbidden", 60)
		g.agent:wait_log("on_drop: rejected: the broker hangs up on it%.")

		g.agent:wait_log(PASSED .. " seq=%d+ topic=" .. REPORT, 90)
		g:publish_readings(61, 61)
		g.agent:wait_log("dropped: rejected: the broker hangs up on it seq=%d+ topic=" .. REPORT, 60)
		g:publish_readings(62, 70)
		loop.eventually(function() return #readings(fake, "sensors/a") == 70 end, "what was behind the report")
		assert.same(tables.sequence(1, 70), readings(fake, "sensors/a"))

		local losses
		loop.eventually(function()
			local waiting
			local _, status = g.agent:command("status", "--json")
			losses = {}
			for line in status:gmatch("[^\n]+") do
				local object = cjson.decode(line)
				if object.kind == "loss" then
					losses[#losses + 1] = { object.topic, object.reason, object.count }
				elseif object.kind == "queue" and object.link == "core" then
					waiting = object.messages
				end
			end
			return waiting == 0
		end, "all acknowledgements are read")
		assert.same({ { "sensors/forbidden", "rejected: the broker hangs up on it", 1 } }, losses)
	end)

	-- It does so on seeing the length, long before all of it has come.
	it("is given up when it is too large for mosquitto", function()
		local core = broker.start { lines = { "max_packet_size 1000" } }
		local collector = core:client()
		collector:subscribe("#", 1)
		local agent = tidegate.start {
			config = { links = { core = { url = "mqtt://127.0.0.1:" .. core.port, reconnect = quick } } },
			scripts = { ["rule.lua"] = large(3000000) },
		}
		agent:wait_log("lost 4 times in a row .* seq=2 topic=t/2 bytes=3000000", 60)
		assert.equal("before", collector:wait_topic("t/1").payload)
		agent:wait_log("message dropped: rejected: the broker hangs up on it seq=2 topic=t/2", 90)
		assert.equal("after", collector:wait_topic("t/3").payload)
		assert.equal("rejected: the broker hangs up on it", cjson.decode(collector:wait_topic(REPORT, 30).payload).reason)
	end)
end)

-- The same over a line of 64 kbit/s.
local function scene(bytes)
	local core = broker.start()
	local self = { line = proxy.start(core.port), collector = core:client { client_id = "collector", clean = false } }
	self.collector:subscribe("#", 1)
	self.line:speed(64000)
	self.agent = tidegate.start {
		config = { links = { core = { url = "mqtt://127.0.0.1:" .. self.line.port, reconnect = quick } } },
		scripts = { ["rule.lua"] = large(bytes) },
	}
	return self
end

local function wait_all(s)
	s.line:restore()
	s.collector:wait_topic("t/3", 20)
	local topics = {}
	for _, m in ipairs(s.collector.messages) do
		if topics[#topics] ~= m.topic then
			topics[#topics + 1] = m.topic
		end
	end
	assert.same({ "t/1", "t/2", "t/3" }, topics)
	assert.is_nil(s.agent:log():find(PASSED, 1, true))
end

describe("an innocent message survives", function()
	it("a line that is cut, again and again, before it is through", function()
		local s = scene(50000) -- 6 s
		local ends = loop.now() + figures.sized(12, 300)
		-- A cut between two connections is none.
		while loop.now() < ends or not s.agent:log():find("lost 4 times in a row") and loop.now() < ends + 60 do
			local at = loop.now() + 0.2 + 4 * math.random()
			loop.run_until(function() return loop.now() >= at end, 10)
			s.line:cut()
			s.line:restore()
			s.line:speed(64000)
		end
		s.agent:wait_log("lost 4 times in a row")
		wait_all(s)
	end)

	it("a line that ends each connection in the middle of it", function()
		local s = scene(1000000)
		for _ = 1, figures.sized(5, 100) do
			local before = s.line.connections
			s.line:break_after(20000, "up") -- 2.5 s
			loop.eventually(function() return s.line.connections > before end, "the line breaks", 30)
		end
		s.agent:wait_log("lost 4 times in a row")
		wait_all(s)
	end)
end)
