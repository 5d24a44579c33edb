-- Thermometers report degrees Fahrenheit as text ("71.6" or "71.6 F"); the
-- collector wants degrees Celsius with one decimal. What is no number, or no
-- temperature anybody would believe, is logged and goes no further.

local COLDEST, HOTTEST = -60, 200 -- degrees Celsius

local function celsius(payload)
	local fahrenheit = tonumber(payload:match("^%s*(%-?[%d.]+)%s*F?%s*$"))
	return fahrenheit and (fahrenheit - 32) / 1.8
end

on("sensors/+/fahrenheit", function(topic, payload)
	local degrees = celsius(payload)
	if not degrees then
		log.warn("%s: %q is no temperature", topic, payload)
	elseif degrees < COLDEST or degrees > HOTTEST then
		log.warn("%s: %.1f degrees Celsius cannot be", topic, degrees)
	else
		local sensor = topic:match("^sensors/(.*)/fahrenheit$")
		assert(mqtt.pub("temperature/" .. sensor, ("%.1f"):format(degrees)))
	end
end)
