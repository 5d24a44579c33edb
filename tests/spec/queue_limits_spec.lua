--- What a queue may hold, what it gives up, and who goes first after an outage.
local gateway = require "lib.gateway"
local loop = require "lib.loop"
local tables = require "lib.tables"

-- Forwards, asks to be told of losses, and tells of them on another topic when the
-- link is back.
local TELLING = [[
local lost = {}
function on_message(topic, payload)
	local token, why = mqtt.pub(topic, payload, { ctx = { reading = payload } })
	if not token then
		log.warn("refused %s: %s", payload, why)
	end
end
function on_drop(token, link, reason, ctx)
	assert(math.type(token) == "integer" and link == "core")
	lost[#lost + 1] = ctx.reading .. " " .. reason
end
function on_connect(link)
	if link == "core" and #lost > 0 then
		mqtt.pub("lost", table.concat(lost, "\n"), { priority = 9 })
		lost = {}
	end
end
]]

local function wait_last(g, n)
	loop.eventually(function()
		local readings = g:readings()
		return readings[#readings] == n
	end, "reading " .. n .. " arrives")
	return g:readings()
end

describe("a full queue", function()
	it("gives up the oldest, and says which", function()
		local g = gateway.start { down = true, script = TELLING, core = { queue = { max_messages = 101 } } }
		g:publish_readings(1, 300)
		g:await_taken()
		g.uplink.restore()
		assert.same(tables.sequence(201, 300), wait_last(g, 300)) -- the message about the losses
		local lost = {}
		for line in g.collector:wait_topic("lost").payload:gmatch("[^\n]+") do
			lost[#lost + 1] = line
		end
		assert.equal(199, #lost)
		assert.equal("r1 overflow", lost[1])
		assert.equal("r199 overflow", lost[199])
		g.agent:wait_log("message dropped: overflow seq=%d+ topic=sensors/a")
	end)

	for limit, size in pairs { max_messages = 100, max_bytes = "1KB" } do
		it("gives up nothing for what on_drop publishes; " .. limit, function()
			local g = gateway.start { down = true, core = { queue = { [limit] = size } }, script = [[
				function on_message(topic, payload)
					mqtt.pub(topic, payload, { ctx = true })
				end
				function on_drop(token)
					log.info("dropped %d: %s", token, select(2, mqtt.pub("lost", "", { ctx = true })))
				end
			]] }
			g:publish_readings(1, 101)
			g:await_taken()
			g.agent:wait_log("dropped %d+: queue full")
			g.uplink.restore()
			local readings = wait_last(g, 101)
			assert.same(tables.sequence(readings[1], 101), readings)
			assert.same({}, g.collector:payloads("^lost$"))
		end)
	end

	it("gives up the oldest across kill -9, by bytes", function()
		local g = gateway.start { down = true, core = { queue = { max_bytes = 2000 } } }
		g:publish_readings(1, 400)
		g:await_taken()
		g.agent:kill()
		g:start()
		g:publish_readings(401, 800)
		g:await_taken()
		g.uplink.restore()
		local readings = wait_last(g, 800)
		local most = math.floor(2000 / #"sensors/ar800")
		assert.same(tables.sequence(801 - #readings, 800), readings)
		assert(#readings <= most and #readings >= most - 20, #readings .. " readings")
	end)

	it("refuses the newest if it is to, and tells the script", function()
		local g = gateway.start { down = true, script = TELLING,
			core = { queue = { max_messages = 100, overflow = "drop-newest" } } }
		g:publish_readings(1, 300)
		g:await_taken()
		g.agent:wait_log("refused r101: queue full")
		g.uplink.restore()
		loop.eventually(function()
			return #g:readings() == 100
		end, "a hundred readings arrive")
		assert.same(tables.sequence(1, 100), g:readings())
		g:publish_readings(301, 301)
		wait_last(g, 301)
	end)

	it("holds the field link if it is to, and nothing is lost", function()
		local g = gateway.start { down = true, core = { queue = { max_messages = 100, overflow = "hold" } } }
		g:publish_readings(1, 2000)
		loop.eventually(function()
			return g.field:occurrences("Received PUBACK from gw-field") >= 100
		end, "a hundred readings are taken")
		loop.consistently(function()
			return g.field:occurrences("Received PUBACK from gw-field") < 400
		end, "the rest stays with its broker", 1)
		g.uplink.restore()
		gateway.assert_in_order(g:wait_readings(2000))
	end)

	it("holds no link that has something to carry itself", function()
		local core = { subscribe = { "cmd/#" }, queue = { max_messages = 20, overflow = "hold" } }
		local g = gateway.start { idle = true, down = true, core = core, script = [[
			function on_message(topic, payload, msg)
				if msg.link == "field" then
					mqtt.pub(topic, payload)
					mqtt.pub("other/" .. topic, payload, { link = "core2" })
				end
			end
		]] }
		g.config.links.core2 = { url = g.config.links.core.url, subscribe = core.subscribe, queue = core.queue }
		g.agent:configure(g.config)
		g:start()
		g:publish_readings(1, 60)
		loop.eventually(function()
			return g.field:occurrences("Received PUBACK from gw-field") >= 20
		end, "twenty readings are taken")
		g.uplink.restore()
		loop.eventually(function()
			return #g:readings() >= 120
		end, "both links drain")
	end)

	it("holds across a restart, too", function()
		local g = gateway.start { down = true, core = { queue = { max_messages = 50, overflow = "hold" } } }
		g:publish_readings(1, 500)
		loop.eventually(function()
			return g.field:occurrences("Received PUBACK from gw-field") >= 50
		end, "fifty readings are taken")
		g.agent:restart()
		g.uplink.restore()
		gateway.assert_in_order(g:wait_readings(500))
	end)
end)

describe("a message expires", function()
	it("after the link's ttl, and the script is told", function()
		local g = gateway.start { down = true, script = TELLING, core = { queue = { ttl = "3s" } } }
		g:publish_readings(1, 100)
		g:await_taken()
		loop.consistently(function()
			return g.agent.process:running()
		end, "the agent runs", 3.1)
		g.uplink.restore()
		g.agent:wait_connected("core", 1)
		g:publish_readings(101, 110) -- which wait for nothing
		assert.same(tables.sequence(101, 110), wait_last(g, 110))
		g:publish_readings(111, 111)
		wait_last(g, 111)
		g.uplink.cut()
		g.agent:wait_log("lost 127")
		g.uplink.restore()
		assert.truthy(g.collector:wait_topic("lost").payload:find("r1 expired\nr2 expired", 1, true))
	end)

	it("after its own ttl, also when the agent was restarted meanwhile", function()
		local g = gateway.start { down = true, script = [[
			function on_message(topic, payload)
				local n = tonumber(payload:sub(2))
				mqtt.pub(topic, payload, { ttl = n % 2 == 0 and "500ms" or 3600 })
			end
		]] }
		g:publish_readings(1, 20)
		g:await_taken()
		g.agent:stop()
		loop.consistently(function() return true end, "time passes", 0.6)
		g:start()
		g.uplink.restore()
		wait_last(g, 19)
		local expected = {}
		for i = 1, 19, 2 do
			expected[#expected + 1] = i
		end
		assert.same(expected, g:readings())
	end)

	it("and what is left of its time goes with it on MQTT 5", function()
		local g = gateway.start { down = true, core = { version = "5" }, field = { version = "5" },
			sensor = { version = 5 }, collector = { version = 5, client_id = "collector", clean = false },
			script = [[
				function on_message(topic, payload, msg)
					mqtt.pub(topic, payload, { properties = msg.properties, ttl = topic == "sensors/ttl" and 100 or nil })
				end
			]] }
		g.sensor:publish("sensors/ttl", "by ttl")
		g.sensor:publish("sensors/property", "by property",
			{ properties = { message_expiry = 50, content_type = "text/plain" } })
		g:await_taken()
		loop.consistently(function() return true end, "time passes", 1.2)
		g.uplink.restore()
		local by_ttl = g.collector:wait_topic("sensors/ttl").properties.message_expiry
		local by_property = g.collector:wait_topic("sensors/property").properties
		assert(by_ttl <= 99 and by_ttl >= 90, "expiry " .. by_ttl)
		assert(by_property.message_expiry <= 49 and by_property.message_expiry >= 40,
			"expiry " .. by_property.message_expiry)
		assert.equal("text/plain", by_property.content_type)
	end)
end)

describe("after an outage", function()
	it("higher priorities go first, equal ones in order", function()
		local g = gateway.start { down = true, core = { window = 1 }, script = [[
			function on_message(topic, payload)
				mqtt.pub(topic, payload, { priority = tonumber(payload:sub(2)) % 3 })
			end
		]] }
		g:publish_readings(1, 30)
		g:await_taken()
		g.agent:restart()
		g.uplink.restore()
		g:wait_readings(30)
		local expected = {}
		for priority = 2, 0, -1 do
			for i = 1, 30 do
				expected[#expected + 1] = i % 3 == priority and i or nil
			end
		end
		assert.same(expected, g:readings())
	end)

	it("live readings go first if they are to, the backlog follows in order", function()
		local g = gateway.start { down = true, core = { window = 10, queue = { order = "live-first", rate = 100 } } }
		g:publish_readings(1, 200)
		g:await_taken()
		g.uplink.restore()
		g.agent:wait_log("link core: connected")
		g.uplink.stall() -- else the backlog may be gone until the others are published
		g:publish_readings(201, 210)
		g:await_taken()
		g.uplink.restore()
		local readings = g:wait_readings(210)
		local live, backlog, place = {}, {}, {}
		for i, reading in ipairs(readings) do
			place[reading] = i
			local list = reading > 200 and live or backlog
			list[#list + 1] = reading
		end
		assert.same(tables.sequence(201, 210), live)
		assert.same(tables.sequence(1, 200), backlog)
		assert(place[210] < place[190], "live readings came at place " .. place[210])
	end)

	it("the backlog is drained at the given rate", function()
		local g = gateway.start { down = true, core = { queue = { rate = 50 } } }
		g:publish_readings(1, 100)
		g:await_taken()
		g.uplink.restore()
		local started, at = loop.now(), {}
		loop.eventually(function()
			for i = #at + 1, #g:readings() do
				at[i] = loop.now()
			end
			return #at >= 100
		end, "all readings")
		gateway.assert_in_order(g:readings())
		assert(at[100] - started > 1.6, ("%.1f s for 100 readings at 50 a second"):format(at[100] - started))
		-- All may stand still for a moment: a quarter of them at least is in time.
		local shortest = math.huge
		for i = 26, 100 do
			shortest = math.min(shortest, at[i] - at[i - 25])
		end
		assert(shortest < 0.9, ("%.1f s for 25 readings at 50 a second"):format(shortest))
	end)
end)
