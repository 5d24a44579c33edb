--- What is given up is on record, and the collector is told: which readings are
-- missing, and why, ahead of everything else that waits.
local cjson = require "cjson"
local fake_broker = require "lib.fake_broker"
local gateway = require "lib.gateway"
local loop = require "lib.loop"

local TOPIC = "tidegate/gw/loss"

-- The reports the collector has, as tables.
local function reports(g)
	local list = {}
	for i, payload in ipairs(g.collector:payloads(TOPIC)) do
		list[i] = cjson.decode(payload)
	end
	return list
end

local function wait_reports(g, n)
	loop.eventually(function() return #reports(g) >= n end, n .. " loss reports")
	return reports(g)
end

-- Readings pushed into a queue of ten while the uplink is down.
local function overflow(queue)
	local g = gateway.start { down = true, core = { queue = queue } }
	g:publish_readings(1, 30)
	g:await_taken()
	return g
end

describe("what overflows", function()
	it("is reported ahead of the backlog when the link is back", function()
		local before = os.time()
		local g = overflow { max_messages = 10, overflow = "drop-oldest" }
		g.uplink.restore()
		g:wait_readings(0)
		loop.eventually(function() return #g:readings() == 10 end, "what is left of the backlog")
		assert.equal(TOPIC, g.collector.messages[1].topic)
		assert.same({ 21, 22, 23, 24, 25, 26, 27, 28, 29, 30 }, g:readings())
		local report = reports(g)[1]
		assert.equal(1, #reports(g))
		assert.equal(1, g.collector:wait_topic(TOPIC).qos)
		assert.same({ "gw", "core", "sensors/a", "overflow", 20, 20 * 9 + 9 * 2 + 11 * 3 },
			{ report.gateway, report.link, report.topic, report.reason, report.count, report.bytes })
		assert.equal(g.agent:log():match("instance=(%x+)"), report.instance)
		assert.equal(19, report.last_seq - report.first_seq)
		assert.is_true(report.first_time >= before and report.first_time <= report.last_time
			and report.last_time <= os.time() + 1)
	end)

	it("is reported where the broker allows it", function()
		local g = gateway.start { down = true, core = { loss_topic = "devices/gw/loss", queue = { max_messages = 10 } } }
		g:publish_readings(1, 30)
		g:await_taken()
		g.uplink.restore()
		assert.equal(20, cjson.decode(g.collector:wait_topic("devices/gw/loss").payload).count)
		loop.eventually(function() return #g:readings() == 10 end, "what is left of the backlog")
		assert.same({}, reports(g))
	end)

	it("is on record as soon as the messages are gone, and reported once", function()
		local g = overflow { max_messages = 10, overflow = "drop-oldest" }
		g.agent:kill()
		g.uplink.restore()
		g:start(true)
		loop.eventually(function() return #g:readings() >= 10 end, "the rest")
		local count = 0
		for _, report in ipairs(reports(g)) do
			count = count + report.count
		end
		assert.equal(20, count)
		local n = #reports(g)
		g.agent:restart()
		g.sensor:publish("sensors/a", "last")
		loop.eventually(function() return g.collector:payloads("sensors/a")[#g:readings() + 1] == "last" end, "last")
		assert.equal(n, #reports(g))
	end)

	it("counts readings that are refused, too", function()
		local g = overflow { max_messages = 10, overflow = "drop-newest" }
		g.agent:kill()
		g.uplink.restore()
		g:start(true)
		local report = wait_reports(g, 1)[1]
		assert.equal(20, report.count)
		loop.eventually(function() return #g:readings() >= 10 end, "the rest")
		assert.same({ 1, 10 }, { g:readings()[1], g:readings()[10] })
	end)
end)

describe("what expires", function()
	it("is reported", function()
		local g = overflow { ttl = "100ms" }
		g.agent:wait_log("expired", 30) -- it looks every 10 s
		g.uplink.restore()
		local report = wait_reports(g, 1)[1]
		assert.same({ "expired", "sensors/a", 30 }, { report.reason, report.topic, report.count })
		assert.same({}, g:readings())
	end)
end)

describe("what a broker refuses", function()
	-- A fake uplink that refuses what `refused` says.
	local function scene(refused)
		local fake = fake_broker.start {
			publish = function(_, p) return refused(p) and 0x87 or nil end,
		}
		local g = gateway.start { idle = true }
		g.config.links.core = { url = "mqtt://127.0.0.1:" .. fake.port, version = "5", default = true }
		g.agent:configure(g.config)
		g:start()
		fake:wait_connected()
		return g, fake
	end

	it("is reported a while later, all together, while the link stays up", function()
		local g, fake = scene(function(p) return p.payload:find("^r") end)
		g:publish_readings(1, 50)
		g.sensor:publish("sensors/b", "fine")
		local report = loop.eventually(function()
			for _, p in ipairs(fake:received("publish")) do
				if p.topic == TOPIC then
					return cjson.decode(p.payload)
				end
			end
		end, "a report", 20)
		assert.equal(50, report.count)
		assert.truthy(report.reason:find("^rejected: "))
		assert.equal(52, #fake:received("publish"))
	end)

	it("makes no reports of reports", function()
		local g, fake = scene(function(p) return p.payload:find("^r") or p.topic == TOPIC end)
		g:publish_readings(1, 1)
		g:await_taken()
		g.agent:wait_log("message dropped: rejected[^\n]* topic=sensors/a")
		g.agent:restart()
		fake:wait_connected(2)
		g.agent:wait_log("message dropped: rejected[^\n]* topic=" .. TOPIC)
		g.agent:restart()
		fake:wait_connected(3)
		g.sensor:publish("sensors/b", "fine")
		loop.eventually(function() return fake:payloads()[3] == "fine" end, "what follows")
		assert.equal(3, #fake:payloads())
	end)

	it("is on record before the reading that led to it is acknowledged", function()
		local g = gateway.start { idle = true, script = [[
			function on_message(topic, payload)
				mqtt.pub(topic, payload)
				mqtt.pub(topic, payload, { link = "full" })
			end
		]] }
		g.config.store = { linger = "20s" }
		g.config.links.full = { url = "mqtt://127.0.0.1:1", queue = { max_messages = 1, overflow = "drop-newest" } }
		g.agent:configure(g.config)
		g:start(true)
		g:publish_readings(1, 1)
		g:wait_readings(1)
		g.agent:restart()
		g.core:wait_connected("gw-core", 2)
		g:publish_readings(2, 2)
		g.agent:wait_log("dropped: overflow")
		g:await_taken()
		g.agent:kill()
		assert.equal("1", g.agent:sql("select count(*) from loss")[1][1])
	end)
end)
