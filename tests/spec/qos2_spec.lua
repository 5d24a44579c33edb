--- QoS 2: exactly once within a run, whatever happens to the connection; and
-- across a restart, where packet ids start over, nothing is lost to a broker that
-- compares them with those of the process before.
local broker = require "lib.broker"
local fake_broker = require "lib.fake_broker"
local loop = require "lib.loop"
local tidegate = require "lib.tidegate"

local function start(core, subscribe)
	return tidegate.start {
		config = { links = { core = { url = "mqtt://127.0.0.1:" .. core.port, subscribe = subscribe, default = true } } },
		scripts = { ["rule.lua"] = [[function on_connect() mqtt.pubx("out", "same", 2, false) end]] },
	}
end

describe("a QoS 2 uplink after a kill", function()
	it("makes the broker forget its session, then sends again", function()
		local core = fake_broker.start { publish = function() return false end }
		local agent = start(core)
		core:wait_for("publish", 1)
		agent:kill()
		agent:start()
		core:wait_for("publish", 3)
		local connects = core:received("connect")
		assert.equal(3, #connects)
		assert.is_false(connects[1].clean)
		assert.is_true(connects[2].clean)
		assert.is_false(connects[3].clean)
		assert.equal(connects[1].client_id, connects[2].client_id)
	end)

	it("keeps a session that also brings messages, and says so", function()
		local core = fake_broker.start { publish = function() return false end }
		local agent = start(core, { "in/#" })
		core:wait_for("publish", 1)
		agent:kill()
		agent:start()
		core:wait_for("publish", 3)
		assert.truthy(agent:log():find("sends at QoS 2 and has subscriptions", 1, true))
		for _, connect in ipairs(core:received("connect")) do
			assert.is_false(connect.clean)
		end
	end)
end)

describe("a QoS 2 uplink that loses its connection", function()
	local once = [[
		mqtt.pub("t", "precious", { qos = 2 })
		function on_sent() log.info("it is sent") end
	]]

	local function url(fake)
		return "mqtt://127.0.0.1:" .. fake.port
	end

	local function run(urls, version, script)
		return tidegate.start {
			config = { links = { core = { urls = urls, version = version, reconnect = { min = "50ms", max = "100ms" } } } },
			scripts = { ["rule.lua"] = script or once },
		}
	end

	local function greets_present()
		return { type = "connack", code = 0, session_present = true }
	end

	for _, version in ipairs { "3.1.1", "5" } do
		it("goes on where it was when the session is there, version " .. version, function()
			local core = fake_broker.start { pubrel = function(connection)
				connection:close()
				return false
			end }
			local agent = run({ url(core) }, version)
			core:wait_for("pubrel", 1)
			core.connect = greets_present
			core.pubrel = version == "5" and function() return 0x92 end or nil -- "I know no such packet id": it is through
			agent:wait_log("it is sent")
			assert.equal(1, #core:received("publish"))
		end)
	end

	it("sends anew when the broker has lost the session", function()
		local core = fake_broker.start { pubrel = function(connection)
			connection:close()
			return false
		end }
		local agent = run { url(core) }
		core:wait_for("pubrel", 1)
		core.pubrel = nil
		core:wait_for("publish", 2)
		agent:wait_log("it is sent")
	end)

	it("sends anew to another broker", function()
		local first = fake_broker.start { pubrel = function() return false end }
		local second = fake_broker.start { connect = greets_present }
		local agent = run { url(first), url(second) }
		first:wait_for("pubrel", 1)
		first.listener:close()
		second:wait_for("publish", 1)
		agent:wait_log("it is sent")
	end)

	it("goes on where it was after another broker was tried in vain", function()
		local first = fake_broker.start { pubrel = function() return false end }
		local second = fake_broker.start()
		second.listener:close()
		local agent = run { url(first), url(second) }
		first:wait_for("pubrel", 1)
		first.listener:close()
		agent:wait_log("cannot connect to 127%.0%.0%.1:" .. second.port)
		first.connect, first.pubrel = greets_present, nil
		first.listener:resume()
		agent:wait_log("it is sent")
		assert.equal(1, #first:received("publish"))
	end)

	it("makes each of its brokers forget the session after a restart", function()
		local first, second = fake_broker.start(), fake_broker.start { pubrel = function() return false end }
		first.listener:pause()
		local agent = run({ url(first), url(second) }, nil, [[function on_connect() mqtt.pub("t", "equal", { qos = 2 }) end]])
		second:wait_for("pubrel", 1)
		agent:kill()
		first.listener:resume()
		second.connect = greets_present
		agent:start()
		first:wait_for("publish", 1)
		first.listener:close()
		second:wait_for("publish", 2)
		local clean = {}
		for i, connect in ipairs(second:received("connect")) do
			clean[i] = connect.clean
		end
		assert.is_true(clean[2])
		assert.is_false(clean[#clean])
	end)

	it("keeps a session that brings what a script subscribed to", function()
		local both = broker.start { persistence = true }
		local sensor = both:client()
		local agent = run({ url(both) }, nil, [[
			function on_connect() mqtt.sub("s/#") mqtt.pub("out", "x", { qos = 2 }) end
			function on_message(_, payload) log.info("got " .. payload) end
		]])
		both:wait_subscribed("gw-core", "s/#")
		sensor:publish("s/1", "one", { qos = 1 })
		agent:wait_log("got one")
		agent:stop()
		sensor:publish("s/1", "while away", { qos = 1 })
		agent:start()
		agent:wait_log("got while away")
	end)
end)

describe("a QoS 2 uplink's window", function()
	local many = [[for i = 1, 50 do mqtt.pub("t", tostring(i), { qos = 2 }) end]]

	local function run(version)
		local core = fake_broker.start { publish = function() return false end }
		tidegate.start {
			config = { links = { core = { url = "mqtt://127.0.0.1:" .. core.port, version = version } } },
			scripts = { ["rule.lua"] = many },
		}
		return core
	end

	it("is 20 before MQTT 5, where a broker that takes no more cannot say so", function()
		local core = run("3.1.1")
		core:wait_for("publish", 20)
		loop.consistently(function() return #core:received("publish") == 20 end, "20 on their way", 0.5)
		core.publish = nil
		for _, p in ipairs(core:received("publish")) do
			p.connection:send { type = "pubrec", id = p.id }
		end
		core:wait_for("pubrel", 50)
		assert.equal(50, #core:received("publish"))
	end)

	it("is as large as any other in MQTT 5", function()
		run("5"):wait_for("publish", 50)
	end)
end)

describe("QoS 2 from the field", function()
	it("comes once when the connection is lost before or after PUBREC", function()
		local field = fake_broker.start { pubrec = function() return false end }
		local agent = tidegate.start {
			config = { links = { field = { url = "mqtt://127.0.0.1:" .. field.port, subscribe = { { "s/#", qos = 2 } },
				reconnect = { min = "50ms", max = "100ms" } } } },
			scripts = { ["rule.lua"] = [[function on_message(_, payload) log.info("got " .. payload) end]] },
		}
		local connection = field:wait_connected(1, "s/#")
		for id, payload in ipairs { "first", "second" } do
			connection:publish { topic = "s/1", payload = payload, qos = 2, id = id }
		end
		field:wait_for("pubrec", 2)
		-- The broker saw the PUBREC of the first only, and resends as MQTT has it.
		local released, through = { true }, {}
		field.pubrec = function(_, p)
			released[p.id] = true
		end
		field.pubcomp = function(_, p)
			through[p.id] = true
		end
		field.connect = function(again)
			again:send { type = "connack", code = 0, session_present = true }
			for id, payload in ipairs { "first", "second" } do
				if not through[id] then
					again:send(released[id] and { type = "pubrel", id = id } or
						{ type = "publish", topic = "s/1", payload = payload, qos = 2, id = id, dup = true })
				end
			end
			return false
		end
		connection:close()
		loop.eventually(function() return through[1] and through[2] end, "both are through")
		for id, payload in ipairs { "third", "fourth" } do -- packet ids are used again
			field:newest():publish { topic = "s/1", payload = payload, qos = 2, id = id }
		end
		agent:wait_log("got fourth")
		local got = {}
		for payload in agent:log():gmatch("got (%a+)") do
			got[#got + 1] = payload
		end
		assert.equal("first second third fourth", table.concat(got, " "))
	end)
end)
