--- A link whose readings are not safe yet is held. That must not slow its broker down,
-- which sends mosquitto's default of 20 messages without an acknowledgement: held for
-- the whole linger each time, 2,000 readings would take 25 seconds, and more with
-- the collector half a second away.
local gateway = require "lib.gateway"
local proxy = require "lib.proxy"

local N = 2000
local SECONDS = 12

local function take(g)
	g.sensor:publish_many(N, function(i)
		return "sensors/a", "r" .. i
	end)
	g:await_taken(SECONDS)
end

describe("holding a link does not slow down its broker", function()
	it("while the uplink is down", function()
		take(gateway.start { down = true })
	end)

	it("while the collector is far away", function()
		local g = gateway.start { idle = true }
		local far = proxy.start(g.core.port)
		far:delay(0.25)
		g.config.links.core.url = "mqtt://127.0.0.1:" .. far.port
		g.agent:configure(g.config)
		g:start(true)
		take(g)
		gateway.assert_in_order(g:wait_readings(N, 60))
	end)
end)
