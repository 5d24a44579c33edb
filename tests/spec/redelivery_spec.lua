--- Strict mode (store.linger = 0): a crash between commit and acknowledgement makes
-- the broker send again what is on disk, and that is recognised. The uplink is down
-- meanwhile, so that the queue shows whatever was taken twice.
local fake_broker = require "lib.fake_broker"
local file = require "lib.file"
local gateway = require "lib.gateway"
local loop = require "lib.loop"
local net = require "lib.net"
local shim = require "lib.shim"
local tidegate = require "lib.tidegate"

local LEARN = 2048 -- REDELIVERY_RUN in agent/redelivery.h
local BATCH = 25 -- more than mosquitto has in flight, so that acknowledgements make it send on

-- A gateway in strict mode whose uplink is down.
local function start(more)
	local options = { idle = true, down = true, agent = { env = shim.preload {} } }
	for key, value in pairs(more or {}) do
		options[key] = value
	end
	local g = gateway.start(options)
	g.config.store = { path = g.agent.queue_path, linger = 0 }
	g.config.control = "control.sock"
	g.agent:configure(g.config)
	return g
end

-- Publishes readings, one in two of which says the same as all others.
local function publish(g, first, last)
	g.sensor:publish_many(last - first + 1, function(i)
		local n = first + i - 1
		return "sensors/a", n % 2 == 0 and "21.5" or "r" .. n
	end)
end

-- Checks that the queue has each reading once, in order.
local function assert_once(g, n)
	g.agent:stop()
	local expected = 1
	for _, row in ipairs(g.agent:sql("select payload from queue_1 order by seq")) do
		local wanted = expected % 2 == 0 and "21.5" or "r" .. expected
		assert.equal(wanted, row[1], "in place of reading " .. expected)
		expected = expected + 1
	end
	assert.equal(n, expected - 1)
end

local function resent(g)
	return g.field:occurrences("Sending PUBLISH to gw-field (d1")
end

-- Kills the agent when it begins to write its n-th acknowledgement, for n from 1 to
-- BATCH, and lets it take the rest at last. Returns how many readings are published then.
local function sweep(g, n)
	local env = g.agent.options.env
	for at = 1, BATCH do
		publish(g, n + 1, n + BATCH)
		n = n + BATCH
		env.SHIM_KILL_PUBACK = tostring(at)
		g.agent:start()
		local _, signal = g.agent:wait()
		assert.equal(9, signal)
	end
	env.SHIM_KILL_PUBACK = nil
	g:start()
	g:await_taken()
	return n
end

-- Each reading arrived, if perhaps more than once. Returns how many came.
local function assert_none_lost(g, n)
	g.uplink.restore()
	local last = "r" .. n - (n + 1) % 2
	loop.eventually(function()
		return g.collector.messages[#g.collector.messages].payload:find(last, 1, true)
	end, "the last reading arrives")
	local have = {}
	for _, payload in ipairs(g.collector:payloads()) do
		have[payload] = true
	end
	for i = 1, n, 2 do
		assert(have["r" .. i], "reading " .. i .. " is lost")
	end
	return #g.collector.messages
end

describe("a kill between commit and acknowledgement", function()
	it("duplicates nothing in strict mode", function()
		local g = start()
		g:start()
		publish(g, 1, LEARN)
		g:await_taken()
		g.agent:stop()
		local n = sweep(g, LEARN)
		local link = g.agent:link_status("field")
		assert.equal("on", link.redelivery)
		assert(link.redelivered > 0)
		assert_once(g, n)
		assert(resent(g) >= 100, "only " .. resent(g) .. " redelivered")
	end)

	it("loses nothing while it is not known yet how the broker counts", function()
		local g = start()
		g:start()
		g.agent:stop()
		local n = sweep(g, 0)
		assert(assert_none_lost(g, n) > n, "nothing came twice: the kills do not hit")
	end)

	it("duplicates nothing after the broker was restarted either", function()
		local g = start { field_broker = { persistence = true } }
		g:start()
		publish(g, 1, LEARN)
		g:await_taken()
		g.agent:stop()
		publish(g, LEARN + 1, LEARN + BATCH)
		g.agent.options.env.SHIM_KILL_PUBACK = "7"
		g.agent:start()
		g.agent:wait()
		g.agent.options.env.SHIM_KILL_PUBACK = nil
		g.field:stop()
		g.field:start()
		g:start()
		g.sensor:reconnect()
		publish(g, LEARN + BATCH + 1, LEARN + 2 * BATCH)
		g:await_taken()
		assert_once(g, LEARN + 2 * BATCH)
	end)
end)

describe("a connection that breaks between commit and acknowledgement", function()
	it("duplicates nothing in strict mode", function()
		local g = start()
		local line = net.proxy(g.field.port)
		g.config.links.field.url = "mqtt://127.0.0.1:" .. line.port
		g.config.links.field.reconnect = { min = "10ms", max = "50ms" }
		g.agent:configure(g.config)
		g:start()
		publish(g, 1, LEARN)
		g:await_taken()
		local n, before = LEARN, resent(g)
		for bytes = 5, 400, 11 do
			line.cut_after(bytes)
			local connections = g.field:connections("gw-field")
			publish(g, n + 1, n + BATCH)
			n = n + BATCH
			g.field:wait_connected("gw-field", connections + 1)
		end
		g:await_taken()
		assert_once(g, n)
		assert(resent(g) - before >= 100, "only " .. resent(g) - before .. " redelivered")
	end)
end)

-- A broker that always takes the lowest free packet id, with at most ten in flight.
local function lowest_free_broker()
	local busy, greeted = {}, 0
	local fake = fake_broker.start {
		connect = function()
			greeted = greeted + 1
			return { type = "connack", code = 0, session_present = greeted > 1 }
		end,
		puback = function(_, p)
			busy[p.id] = nil
		end,
	}
	local self = { fake = fake, busy = busy }

	function self.free()
		for id = 1, 10 do
			if not busy[id] then
				return id
			end
		end
	end

	function self.publish(n)
		for _ = 1, n do
			local id = loop.eventually(self.free, "an acknowledgement")
			busy[id] = true
			fake:newest():publish { topic = "sensors/a", payload = "21.5", qos = 1, id = id }
		end
		loop.eventually(function()
			return next(busy) == nil
		end, "all are acknowledged")
	end

	-- A new reading whose first delivery was lost with the connection.
	function self.redeliver(id)
		busy[id] = true
		fake:newest():publish { topic = "sensors/a", payload = "21.5", qos = 1, id = id, dup = true }
		loop.eventually(function()
			return not busy[id]
		end, "it is acknowledged")
	end
	return self
end

describe("a broker that uses packet ids again", function()
	it("loses nothing, though an equal new reading comes under the id of an old one", function()
		local lowest = lowest_free_broker()
		local agent = tidegate.new {
			config = {
				control = "control.sock",
				links = {
					field = { url = "mqtt://127.0.0.1:" .. lowest.fake.port, subscribe = { "sensors/#" } },
					core = { url = "mqtt://127.0.0.1:" .. net.free_port(), default = true },
				},
			},
			scripts = { ["rules.lua"] = gateway.forward },
		}
		local text = file.read(agent.directory .. "/agent.lua")
		agent:configure((text:gsub('%["store"%] = {', '%0 linger = 0,')))
		agent:start()
		lowest.fake:wait_connected(1, "sensors/#")
		lowest.publish(2 * LEARN)
		for id = 1, 10 do
			lowest.fake:newest():close()
			lowest.fake:wait_connected(1 + id)
			lowest.redeliver(id)
		end
		agent:kill()
		agent:start()
		lowest.fake:wait_connected(12)
		lowest.redeliver(3)
		local link = agent:link_status("field")
		assert.equal("off: ids are not cyclic", link.redelivery)
		assert.equal(0, link.redelivered)
		agent:stop()
		assert.equal(2 * LEARN + 11, #agent:sql("select seq from queue_1 union all select seq from queue_2"))
	end)
end)
