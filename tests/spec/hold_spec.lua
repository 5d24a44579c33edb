--- A link whose readings are not safe yet is held. That must not slow its broker down,
-- which sends mosquitto's default of 20 messages without an acknowledgement: held for
-- the whole linger each time, 2,000 readings would take 100 seconds, and more with
-- the collector half a second away.
local gateway = require "lib.gateway"
local proxy = require "lib.proxy"

local N = 2000
local SECONDS = 60
local LINGER = { store = { linger = "1s" } }

local function take(g, n)
	g.sensor:publish_many(n or N, function(i)
		return "sensors/a", "r" .. i
	end)
	g:await_taken(SECONDS)
end

describe("holding a link does not slow down its broker", function()
	it("while the uplink is down", function()
		take(gateway.start { down = true, config = LINGER })
	end)

	-- Each for the whole linger would take 300 seconds.
	it("that sends them one by one", function()
		take(gateway.start { down = true, config = LINGER, field_broker = { lines = { "max_inflight_messages 1" } } }, 300)
	end)

	it("while the collector is far away", function()
		local g = gateway.start { idle = true, config = LINGER }
		local far = proxy.start(g.core.port)
		far:delay(0.25)
		g.config.links.core.url = "mqtt://127.0.0.1:" .. far.port
		g.agent:configure(g.config)
		g:start(true)
		take(g)
		gateway.assert_in_order(g:wait_readings(N, 60))
	end)

	it("that carries the results, too", function()
		local g = gateway.start { script = [[
			function on_message(topic, payload)
				mqtt.pub("taken/" .. payload, "", { link = "field" })
			end
		]], config = { store = { linger = "20s" } } }
		g:publish_readings(1, 5)
		g:await_taken()
	end)
end)
