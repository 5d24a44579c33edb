--- The promise: what a sensor's broker was told is taken reaches the collector,
-- in order, whatever happens to the link, the brokers or the agent meanwhile.
local uv = require "luv"
local cleanup = require "lib.cleanup"
local fake_broker = require "lib.fake_broker"
local gateway = require "lib.gateway"
local loop = require "lib.loop"
local net = require "lib.net"
local proxy = require "lib.proxy"

-- Publishes `n` readings without waiting, so that things can happen meanwhile.
local function post_readings(g, n)
	for i = 1, n do
		g.sensor:post("sensors/a", "r" .. i, { qos = 1 })
	end
end

describe("an outage:", function()
	it("readings wait while the uplink is down, and arrive once and in order", function()
		local g = gateway.start()
		g:publish_readings(1, 50)
		g:wait_readings(50)
		g.uplink.cut()
		g:publish_readings(51, 300)
		loop.consistently(function()
			return #g.collector.messages == 50
		end, "nothing arrives through a cut line", 0.2)
		g.uplink.restore()
		gateway.assert_in_order(g:wait_readings(300))
		-- The cut may have swallowed acknowledgements of the first ones; the others come once.
		local seen = {}
		for _, reading in ipairs(g:readings()) do
			assert(reading <= 50 or not seen[reading], ("reading %d came twice"):format(reading))
			seen[reading] = true
		end
	end)

	it("readings wait when the collector's broker was never there", function()
		local g = gateway.start { down = true }
		g:publish_readings(1, 200)
		g.uplink.restore()
		assert.equal(0, gateway.assert_in_order(g:wait_readings(200)))
	end)

	it("readings get past a restart of the collector's broker", function()
		local g = gateway.start { core_broker = { persistence = true } }
		g:publish_readings(1, 20)
		g:wait_readings(20)
		g.core:stop()
		g:publish_readings(21, 100)
		g.core:start()
		g.collector:reconnect()
		gateway.assert_in_order(g:wait_readings(100))
	end)

	it("readings get past a restart of the field broker", function()
		local g = gateway.start { field_broker = { persistence = true } }
		g:publish_readings(1, 20)
		g.field:stop()
		g.field:start()
		g.sensor:reconnect()
		g:publish_readings(21, 40)
		gateway.assert_in_order(g:wait_readings(40))
	end)

	it("a line that is cut again and again loses nothing", function()
		local g = gateway.start()
		post_readings(g, 3000)
		for bytes = 5000, 30000, 5000 do
			local before = g.uplink.connections
			g.uplink.cut_after(bytes)
			loop.eventually(function()
				return g.uplink.connections > before or #g:readings() >= 3000
			end, "the agent connects again")
		end
		gateway.assert_in_order(g:wait_readings(3000))
	end)

	it("a line that goes silent is noticed and replaced", function()
		local g = gateway.start { core = { ack_timeout = "1s", keepalive = "5s" } }
		g:publish_readings(1, 5)
		g:wait_readings(5)
		g.uplink.stall()
		g:publish_readings(6, 50)
		g.agent:wait_log("ack_timeout")
		g.uplink.cut()
		g.uplink.restore()
		gateway.assert_in_order(g:wait_readings(50))
	end)

	it("a stop and a start during the outage resume where it was", function()
		local g = gateway.start { down = true }
		g:publish_readings(1, 150)
		g:await_taken()
		assert.equal(0, g.agent:stop())
		g:publish_readings(151, 200)
		g:start()
		g.uplink.restore()
		assert.equal(0, gateway.assert_in_order(g:wait_readings(200)))
	end)

	it("kill -9 during the outage loses nothing that was acknowledged", function()
		local g = gateway.start { down = true }
		g:publish_readings(1, 150)
		g:await_taken()
		g.agent:kill()
		g:publish_readings(151, 200)
		g:start()
		g.uplink.restore()
		assert.equal(0, gateway.assert_in_order(g:wait_readings(200)))
	end)

	it("kill -9 in full flow loses nothing, and the first arrivals are in order", function()
		local g = gateway.start()
		post_readings(g, 6000)
		for i = 1, 3 do
			loop.eventually(function()
				return #g:readings() > i * 1000
			end, "readings flow")
			g.agent:kill()
			g:start()
		end
		gateway.assert_in_order(g:wait_readings(6000))
	end)

	it("tokens are never used again, whatever is killed", function()
		local g = gateway.start {
			script = [[
				function on_message(topic, payload)
					local token = mqtt.pub("readings", payload)
					mqtt.pub("tokens", token .. " " .. payload)
				end
			]],
		}
		post_readings(g, 3000)
		for i = 1, 3 do
			loop.eventually(function()
				return #g:readings() > i * 500
			end, "readings flow")
			g.agent:kill()
			g:start()
		end
		g:wait_readings(3000)
		local reading_of = {}
		for _, text in ipairs(g.collector:payloads("^tokens$")) do
			local token, reading = text:match("^(%d+) (r%d+)$")
			assert.is_true(reading_of[token] == nil or reading_of[token] == reading, "token " .. token .. " came twice")
			reading_of[token] = reading
		end
	end)

	it("one link that both brings readings and carries them on loses nothing to kill -9", function()
		local g = gateway.start { idle = true, script = [[
			function on_message(topic, payload)
				mqtt.pub("out", payload)
			end
		]] }
		g.config.links = { core = { url = "mqtt://127.0.0.1:" .. g.uplink.port, subscribe = { "sensors/#" } } }
		g.agent:configure(g.config)
		g.agent:start()
		g.core:wait_subscribed("gw-core", "sensors/#")
		g.sensor = g.core:client()
		post_readings(g, 3000)
		local function arrived()
			return #g.collector:payloads("^out$")
		end
		for i = 1, 3 do
			loop.eventually(function()
				return arrived() > i * 500
			end, "readings flow")
			g.agent:kill()
			g.agent:start()
		end
		g.uplink.cut()
		g.uplink.restore()
		local seen, missing = {}, 3000
		loop.eventually(function()
			for _, payload in ipairs(g.collector:payloads("^out$")) do
				missing = missing - (seen[payload] and 0 or 1)
				seen[payload] = true
			end
			return missing == 0
		end, "all readings")
	end)

	it("QoS 2 uplinks lose nothing to kill -9, even when all payloads are equal", function()
		local g = gateway.start { script = [[
			function on_message(topic, payload)
				mqtt.pub("out", "same", { qos = 2 })
			end
		]], core = { window = 20 } }
		post_readings(g, 2000)
		for i = 1, 5 do
			loop.eventually(function()
				return #g.collector.messages > i * 150
			end, "readings flow")
			g.agent:kill()
			g:start()
		end
		g.collector:wait_for(2000)
	end)

	it("what a script publishes in on_start waits for the link, too", function()
		local g = gateway.start {
			down = true,
			script = [[
				function on_start()
					mqtt.pub("hello", "early")
				end
			]],
		}
		g.agent:kill()
		g:start()
		g.uplink.restore()
		loop.eventually(function()
			return #g.collector:payloads("^hello$") == 2
		end, "both greetings arrive")
	end)

	it("a field line that never lives as long as a hold gets its acknowledgements", function()
		local g = gateway.start { idle = true, down = true, field = { reconnect = { min = "10ms", max = "20ms" } },
			config = { store = { linger = "2s" } } }
		local line = net.proxy(g.field.port)
		g.config.links.field.url = "mqtt://127.0.0.1:" .. line.port
		g.agent:configure(g.config)
		g:start()
		local timer = uv.new_timer()
		cleanup.defer(function()
			timer:close()
		end)
		timer:start(1000, 1000, function()
			line.cut()
			line.restore()
		end)
		g:publish_readings(1, 5)
		g:await_taken()
	end)

	it("so does one that dies while the collector, far away, is waited for", function()
		local g = gateway.start { idle = true, config = { store = { linger = "60s" } } }
		local far = proxy.start(g.core.port)
		far:delay(0.5)
		local up
		local field = fake_broker.start { subscribe = function(conn, p)
			conn:send { type = "suback", id = p.id, codes = { 1 } }
			if up then
				conn:publish { topic = "sensors/a", payload = "r1", qos = 1, id = 1 }
				local timer = uv.new_timer()
				timer:start(300, 0, function()
					conn:close()
					timer:close()
				end)
			end
			return false
		end }
		g.config.links.field = { url = "mqtt://127.0.0.1:" .. field.port, subscribe = { "sensors/#" },
			reconnect = { min = "10ms", max = "20ms" } }
		g.config.links.core.url = "mqtt://127.0.0.1:" .. far.port
		g.agent:configure(g.config)
		g.agent:start()
		g.agent:wait_log("link core: connected")
		up = true
		field:wait_connected(1, "sensors/#"):close()
		field:wait_for("puback", 1)
	end)
end)
