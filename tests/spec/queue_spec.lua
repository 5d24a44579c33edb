--- The queue as its owner meets it: memory stays flat, rows stay until the
-- collector has acknowledged them, and nothing is left behind after that.
local broker = require "lib.broker"
local fake_broker = require "lib.fake_broker"
local gateway = require "lib.gateway"
local loop = require "lib.loop"
local need = require "lib.need"
local net = require "lib.net"
local tidegate = require "lib.tidegate"

-- TIDEGATE_BACKLOG=200000 makes it the full size.
local backlog = math.tointeger(tonumber(os.getenv("TIDEGATE_BACKLOG") or 20000))

-- How many rows all queues together hold.
local function rows(agent)
	local sum = 0
	for _, row in ipairs(agent:sql("SELECT name FROM sqlite_master WHERE type = 'table' AND name LIKE 'queue_%'")) do
		sum = sum + agent:sql("SELECT count(*) FROM " .. row[1])[1][1]
	end
	return math.tointeger(sum)
end

-- A message at QoS 2 for which the broker keeps the last acknowledgement back.
local function between_pubrel_and_pubcomp()
	local fake = fake_broker.start {
		pubrel = function()
			return false
		end,
	}
	local agent = tidegate.start {
		config = { links = { core = { url = "mqtt://127.0.0.1:" .. fake.port } } },
		scripts = { ["rules.lua"] = 'function on_start() mqtt.pub("a", "x", { qos = 2 }) end' },
	}
	fake:wait_for("pubrel", 1)
	return fake, agent
end

describe("the queue:", function()
	it(("a backlog of %d messages costs disk, not memory"):format(backlog), function()
		local g = gateway.start { down = true, agent = { release = true } }
		local filler = ("x"):rep(300)
		g:publish_readings(1, 100)
		g:await_taken()
		g.sensor:publish_many(backlog, function(i)
			return "sensors/b", ("%d %s"):format(i, filler)
		end)
		g:await_taken(60)
		local _, highest = g.agent:memory()
		if not tidegate.sanitized(g.agent.binary) then
			assert(highest < 8 * 1024 * 1024, ("%d bytes at the highest"):format(highest))
		end
		g.uplink.restore()
		loop.eventually(function()
			return #g.collector.messages >= backlog + 100
		end, "the backlog drains", 120)
		for i = 1, backlog do
			assert(g.collector.messages[100 + i].payload:match("^%d+") == tostring(i), "order")
		end
		_, highest = g.agent:memory()
		if not tidegate.sanitized(g.agent.binary) then
			assert(highest < 8 * 1024 * 1024, ("%d bytes while draining"):format(highest))
		end
	end)

	it("rows are deleted only after the collector's acknowledgement", function()
		need.program("sqlite3")
		local field = broker.start()
		local acknowledge = 0
		local fake = fake_broker.start {
			publish = function(_, p)
				acknowledge = acknowledge - 1
				if acknowledge < 0 then
					return false
				end
				return { type = p.qos == 1 and "puback" or "pubrec", id = p.id }
			end,
		}
		local sensor = field:client()
		local agent = tidegate.start {
			config = { links = {
				field = { url = "mqtt://127.0.0.1:" .. field.port, subscribe = { "sensors/#" } },
				core = { url = "mqtt://127.0.0.1:" .. fake.port, default = true },
			} },
			scripts = { ["rules.lua"] = gateway.forward },
		}
		field:wait_subscribed("gw-field", "sensors/#")
		fake:wait_connected()
		for i = 1, 10 do
			sensor:publish("sensors/a", "m" .. i)
		end
		fake:wait_for("publish", 10)
		agent:stop()
		assert.equal(10, rows(agent))
		acknowledge = 4
		agent:start()
		fake:wait_for("publish", 20)
		agent:stop()
		assert.equal(6, rows(agent))
		acknowledge = 100
		agent:start()
		fake:wait_for("publish", 26)
		agent:stop()
		assert.equal(0, rows(agent))
		local expected = {}
		for _, first in ipairs { 1, 1, 5 } do
			for i = first, 10 do
				expected[#expected + 1] = "m" .. i
			end
		end
		assert.same(expected, fake:payloads())
	end)

	it("QoS 2 keeps the row until PUBCOMP", function()
		need.program("sqlite3")
		local _, agent = between_pubrel_and_pubcomp()
		agent:stop()
		assert.equal(1, rows(agent))
	end)

	-- Packet ids begin at 1 again in a new process: the session that still knows the
	-- old ones must not take the new messages for them.
	it("QoS 2 that was in flight is sent again after kill -9, in a clean session", function()
		local fake, agent = between_pubrel_and_pubcomp()
		agent:kill()
		agent:script("rules.lua", "")
		fake.pubrel = nil
		agent:start()
		fake:wait_for("pubrel", 2)
		assert.is_true(fake:received("connect")[2].clean)
		assert.same({ "x", "x" }, fake:payloads())
	end)

	it("QoS 0 leaves once it is written, and waits while the link is down", function()
		need.program("sqlite3")
		local g = gateway.start {
			down = true,
			script = [[
				function on_message(topic, payload) mqtt.pub(topic, payload, { qos = 0 }) end
			]],
		}
		g:publish_readings(1, 50)
		g:await_taken()
		g.agent:stop()
		assert.equal(50, rows(g.agent))
		g:start()
		g.uplink.restore()
		assert.equal(0, gateway.assert_in_order(g:wait_readings(50)))
		g.agent:stop()
		assert.equal(0, rows(g.agent))
	end)

	it("nothing is left after all is delivered, and nothing comes twice after a restart", function()
		need.program("sqlite3")
		local g = gateway.start { config = { control = "control.sock" } }
		g:publish_readings(1, 500)
		g:wait_readings(500)
		g:await_taken()
		loop.eventually(function() return g.agent:link_status("core").acknowledged == 500 end, "all is acknowledged")
		g.agent:stop()
		assert.equal(0, rows(g.agent))
		g:start(true)
		g:publish_readings(501, 510)
		assert.equal(0, gateway.assert_in_order(g:wait_readings(510)))
	end)

	it("what is delivered is forgotten in a moment, whatever is killed after that", function()
		local g = gateway.start { down = true }
		g:publish_readings(1, 100)
		g:await_taken()
		g.uplink.restore()
		g:wait_readings(100)
		loop.consistently(function() return true end, "nothing happens", 1)
		g.agent:kill()
		g:start(true)
		g:publish_readings(101, 101)
		assert.equal(0, gateway.assert_in_order(g:wait_readings(101)))
	end)

	it("links have queues of their own", function()
		local other = broker.start()
		local g = gateway.start {
			idle = true,
			down = true,
			script = [[
				function on_message(topic, payload)
					mqtt.pub("out", payload)
					mqtt.link("other"):pub("out", payload)
				end
			]],
		}
		g.config.links.other = { url = "mqtt://127.0.0.1:" .. other.port }
		g.agent:configure(g.config)
		local watcher = other:client()
		watcher:subscribe("out", 1)
		g:start()
		g:publish_readings(1, 20)
		watcher:wait_for(20)
		assert.equal(0, #g.collector.messages)
		g.uplink.restore()
		g:wait_readings(20)
	end)

	it("says what waits for a link that is not configured any more", function()
		local agent = tidegate.start {
			config = { links = { core = { url = "mqtt://127.0.0.1:" .. net.free_port() } } },
			scripts = { ["rule.lua"] = 'mqtt.pub("t", "precious")' },
		}
		agent:wait_log("running")
		agent:stop()
		agent:script("rule.lua", "")
		agent:configure { links = { uplink = { url = "mqtt://127.0.0.1:" .. net.free_port() } } }
		agent:start()
		agent:wait_log("1 messages wait for link core, which is not configured any more")
	end)
end)
