--- What one connection must not leave behind for the next: limits, places in the
-- window, half an exchange.
local fake_broker = require "lib.fake_broker"
local loop = require "lib.loop"
local tidegate = require "lib.tidegate"

local function url(fake)
	return "mqtt://127.0.0.1:" .. fake.port
end

local function greets(session_present, properties)
	return function()
		return { type = "connack", code = 0, session_present = session_present, properties = properties }
	end
end

local function start(core, script, more)
	local link = { url = url(core), reconnect = { min = "50ms", max = "100ms" } }
	for key, value in pairs(more or {}) do
		link[key] = value
	end
	return tidegate.start { config = { limits = { memory = "64MB" }, links = { core = link } },
		scripts = { ["rule.lua"] = script } }
end

local function topics(fake)
	local set = {}
	for _, p in ipairs(fake:received("publish")) do
		set[p.topic] = true
	end
	return set
end

describe("a new connection", function()
	it("gets what QoS 0 had not written on the last one", function()
		local first
		local core = fake_broker.start { connect = function(connection)
			if not first then
				first = connection
				connection.socket:read_stop()
			end
		end }
		start(core, [[
			local large = ("x"):rep(1000000)
			for i = 1, 15 do mqtt.pub("t/" .. i, large, { qos = 0 }) end
		]], { window = 10 })
		core:wait_connected(1)
		loop.consistently(function() return #core:received("publish") == 0 end, "nothing is read", 0.3)
		first.socket:close()
		core:wait_connected(2)
		-- What the system took before is gone, as QoS 0 allows: a few megabytes.
		loop.eventually(function()
			return topics(core)["t/15"]
		end, "the last arrives")
		for i = 6, 15 do
			assert.truthy(topics(core)["t/" .. i], "t/" .. i)
		end
	end)

	it("gets it also where the broker makes QoS 0 of everything", function()
		local first
		local core = fake_broker.start { connect = function(connection)
			if not first then
				first = connection
				connection.socket:read_stop()
			end
			return { type = "connack", code = 0, properties = { maximum_qos = 0 } }
		end }
		start(core, [[
			local some = ("x"):rep(900)
			for i = 1, 14000 do mqtt.pub("t/" .. i, some) end
		]], { window = 4000, version = "5" })
		core:wait_connected(1)
		loop.consistently(function() return #core:received("publish") == 0 end, "nothing is read", 0.3)
		first.socket:close()
		core:wait_connected(2)
		loop.eventually(function()
			return topics(core)["t/14000"]
		end, "the last arrives")
	end)

	it("is not bound by the limits of the last one", function()
		local core = fake_broker.start { connect = greets(false, { maximum_packet_size = 200, maximum_qos = 1 }) }
		local agent = start(core, [[
			local again
			function on_connect()
				if again then
					mqtt.pub("large", ("x"):rep(1000))
					mqtt.pub("two", "x", { qos = 2 })
				end
				again = true
			end
		]], { version = "5" })
		agent:wait_log("connected peer")
		core.connect = nil
		core:newest():close()
		core:wait_for("publish", 2)
		assert.equal(2, core:received("publish")[2].qos)
		assert.falsy(agent:log():find("dropped", 1, true))
	end)

	it("drops what it cannot take, also if it was in flight", function()
		local core = fake_broker.start { publish = function() return false end }
		local agent = start(core, [[
			mqtt.pub("large", ("x"):rep(3000))
			mqtt.pub("small", "x")
			function on_drop(_, _, reason) log.info("dropped: %s", reason) end
		]], { version = "5" })
		core:wait_for("publish", 2)
		core.connect = greets(true, { maximum_packet_size = 2000 })
		core.publish = nil
		core:newest():close()
		agent:wait_log("dropped: rejected: too large")
		core:wait_for("publish", 3)
		assert.equal("small", core:received("publish")[3].topic)
	end)

	it("goes on without a birth message that the broker finds too large", function()
		-- 54 and 55 lie where the library's own check fails.
		for size = 52, 58 do
			local core = fake_broker.start { connect = greets(false, { maximum_packet_size = 60 }) }
			local agent = start(core, "", { version = "5", birth = { topic = "b", payload = ("x"):rep(size), qos = 1 } })
			core:wait_connected(1)
			loop.eventually(function()
				return #core:received("publish") == 1 or agent:log():find("birth message", 1, true)
			end, "a birth message or a word about it")
			assert.equal(0, agent:stop())
		end
	end)

	it("is not blamed for what the last one complained about", function()
		local core = fake_broker.start { connect = greets(true) }
		local agent = start(core, "")
		core:wait_connected(1)
		core:newest():send { type = "pubrec", id = 77 }
		loop.consistently(function() return agent.process:running() end, "the agent runs", 0.2)
		core:newest():close()
		agent:wait_log("lost 127%.0%.0%.1:%d+: the broker closed the connection")
	end)
end)

describe("an empty property of a sensor's message", function()
	for name, value in pairs { content_type = "", response_topic = "", correlation = "" } do
		it("is no harm when it is handed on: " .. name, function()
			local core = fake_broker.start()
			local field = fake_broker.start()
			tidegate.start {
				config = { links = {
					core = { url = url(core), version = "5", default = true },
					field = { url = url(field), version = "5", subscribe = { "s/#" } },
				} },
				scripts = { ["rule.lua"] = [[
					function on_message(topic, payload, msg) mqtt.pub(topic, payload, { properties = msg.properties }) end
				]] },
			}
			core:wait_connected(1)
			field:wait_connected(1, "s/#")
			field:newest():publish { topic = "s/1", payload = "x", qos = 1, properties = { [name] = value } }
			core:wait_for("publish", 1)
			field:wait_for("puback", 1)
		end)
	end
end)
