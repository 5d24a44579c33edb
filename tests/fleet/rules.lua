-- The rules of each gateway in the fleet: a reading goes on in other units under the
-- gateway's name, and every ten seconds there is a summary, ahead of what waits. The
-- log says when the uplink came and went: that is what a reconnect storm is measured by.
local window = require "rules.window"

local recent = window.new { percentiles = { 95 } }

on("field/+/reading", function(_, payload, msg)
	local reading = assert(json.decode(payload))
	recent:add("v", reading.v, msg.time)
	state.readings = (state.readings or 0) + 1
	assert(mqtt.pub("fleet/" .. agent.name .. "/reading",
		json.encode { n = reading.n, t = reading.t, fahrenheit = reading.v * 1.8 + 32 }))
end)

every(10, function()
	local summary = recent:take("v")
	if summary then
		summary.readings = state.readings
		assert(mqtt.pub("fleet/" .. agent.name .. "/summary", json.encode(summary), { priority = 9 }))
	end
end)

function on_connect(link)
	log.info("up %s %.3f", link, now())
end

function on_disconnect(link)
	log.info("down %s %.3f", link, now())
end
