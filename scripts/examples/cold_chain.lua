-- Cold chain: fridges must stay between 2 and 8 degrees. Says when one has been
-- outside for ten minutes, when somebody must look as it was, when it is well again,
-- and when its thermometer says nothing.
--
--	in   fridges/NAME/temp          degrees Celsius, "4.2"
--	     fridges/NAME/acknowledge   anything: somebody has seen the alarm
--	out  alarms/fridges/NAME        {"event":"raised","why":"above","celsius":9.1,"at":...}
--
-- An alarm stays until it is acknowledged, also over a restart. Alarms overtake the
-- readings that wait.

local alarm = require "rules.alarm"
local heartbeat = require "rules.heartbeat"

local limits = alarm.new { above = 8, below = 2, hysteresis = 0.5, delay = "10m", latch = true, state = "fridges" }
local alive = heartbeat.new { after = "30m", state = "thermometers" }

local function tell(fridge, event, why, time, celsius)
	local text = json.encode { event = event, why = why, celsius = celsius, at = time }
	assert(mqtt.pub("alarms/fridges/" .. fridge, text, { priority = 9, retain = true }))
end

on("fridges/+/temp", function(topic, payload, msg)
	local fridge = topic:match("^fridges/([^/]+)/")
	local event, why = limits:update(fridge, payload, msg.time)
	if event then
		tell(fridge, event, why, msg.time, tonumber(payload))
	elseif event == nil then
		log.warn("%s: %s", topic, why) -- no number: as good as silent
		return
	end
	if alive:seen(fridge, msg.time) then
		tell(fridge, "back", limits:active(fridge) or "good", msg.time, tonumber(payload))
	end
	metric.gauge("fridge_celsius", { fridge = fridge }):set(tonumber(payload))
end)

on("fridges/+/acknowledge", function(topic, _, msg)
	local fridge = topic:match("^fridges/([^/]+)/")
	local side = limits:active(fridge)
	local event = limits:acknowledge(fridge)
	if event then
		tell(fridge, event, side, msg.time)
	end
end)

every("1m", function()
	for fridge in alive:silent() do
		tell(fridge, "silent", "no reading for half an hour", now())
	end
end)
