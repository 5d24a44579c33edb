-- Energy meters that give so many pulses for a kilowatt-hour, counted by a small
-- device that begins at 0 again after 65535 and when it loses power. Makes kilowatt-hours
-- and watts of them.
--
--	in   meters/NAME/pulses   the count, "41023"
--	out  energy/NAME          {"kwh":1234.567,"watts":840}, once a minute if it changed
--
-- The sum is kept in `state`, so it goes on over restarts of the device and of this
-- gateway; what was counted while the gateway was off is not lost.

local rate = require "rules.rate"

local PULSES_PER_KWH = 1000
local START = { cellar = 1234.5 } -- what a meter's dial showed when this began, kWh

local pulses = rate.counter { per = "1h", wrap = 65536, state = "meters" }
local watts = {} -- by meter, of those with news since the last report
local order = {}

on("meters/+/pulses", function(topic, payload, msg)
	local meter = topic:match("^meters/([^/]+)/")
	local added, an_hour = pulses:update(meter, payload, msg.time)
	if not added then
		log.debug("%s: %s", topic, an_hour) -- the first reading, say
	elseif an_hour then
		if not watts[meter] then
			table.insert(order, meter)
		end
		watts[meter] = an_hour / PULSES_PER_KWH * 1000
		metric.gauge("meter_watts", { meter = meter }):set(watts[meter])
		metric.counter("meter_pulses", { meter = meter }):add(added)
	end
end)

every("1m", function()
	for _, meter in ipairs(order) do
		local kwh = (START[meter] or 0) + pulses:total(meter) / PULSES_PER_KWH
		assert(mqtt.pub("energy/" .. meter, json.encode { kwh = kwh, watts = math.floor(watts[meter] + 0.5) },
			{ retain = true }))
	end
	watts, order = {}, {}
end)
