-- The lowest and highest temperature of each day, by local time.
--
--	in   sensors/NAME/temp    degrees Celsius, "21.4"
--	out  daily/NAME           {"day":"2026-07-01","min":12.1,"max":27.9,"mean":19.4,"readings":86400}
--
-- The day so far is kept in `state`, so a restart at noon forgets nothing of the morning.

local window = require "rules.window"

local today = window.new { state = "today" }

-- If a day is over: tells what it was like, and begins the next.
local function turn_the_page(time)
	local day = os.date("%Y-%m-%d", math.floor(time))
	if state.day == day then
		return
	end
	for sensor in today:each() do
		local s = today:take(sensor)
		assert(mqtt.pub("daily/" .. sensor, json.encode {
			day = state.day, min = s.min, max = s.max, mean = tonumber(("%.2f"):format(s.mean)), readings = s.count,
		}, { retain = true }))
	end
	state.day = day
end

on("sensors/+/temp", function(topic, payload, msg)
	turn_the_page(msg.time)
	local counted, why = today:add(topic:match("^sensors/([^/]+)/"), payload)
	if not counted then
		log.warn("%s: %s", topic, why)
	end
end)

every("1m", function()
	turn_the_page(now())
end)
