-- Vibration: accelerometers on motors send blocks of samples many times a second. The
-- collector gets one line a minute that says how each motor runs, and at once when one
-- shakes too much for too long.
--
--	in   motors/NAME/vibration           {"g":[0.02,-0.11,...]}, samples in g
--	out  motors/NAME/vibration/minute    {"rms":...,"peak":...,"crest":...,"p95":...,"samples":...}
--	     alarms/motors/NAME              "raised" or "cleared"
--
-- The crest factor, peak by rms, is 1.4 for a motor that hums; it rises when a bearing
-- begins to knock.

local alarm = require "rules.alarm"
local window = require "rules.window"

local samples = window.new { percentiles = { 95 } } -- since the last minute's line, without their sign
local shakes = alarm.new { above = 0.5, hysteresis = 0.1, delay = "2m", state = "shakes" }

on("motors/+/vibration", function(topic, payload)
	local motor = topic:match("^motors/([^/]+)/")
	local block, problem = json.decode(payload)
	if not block or type(block.g) ~= "table" then
		log.warn("%s: %s", topic, problem or "no g in it")
		return
	end
	for _, sample in ipairs(block.g) do
		samples:add(motor, math.abs(sample))
	end
end)

-- To so many decimals.
local function round(value, decimals)
	return tonumber(("%." .. decimals .. "f"):format(value))
end

every("1m", function()
	for motor in samples:each() do
		local s = samples:take(motor)
		assert(mqtt.pub(("motors/%s/vibration/minute"):format(motor), json.encode {
			rms = round(s.rms, 4), peak = round(s.max, 4), p95 = round(s.p95, 4), samples = s.count,
			crest = s.rms > 0 and round(s.max / s.rms, 2) or nil,
		}))
		local event = shakes:update(motor, s.rms)
		if event then
			assert(mqtt.pub("alarms/motors/" .. motor, event, { priority = 9 }))
		end
	end
end)
