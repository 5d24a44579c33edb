-- Tasmota plugs and sensors: takes their JSON apart into one topic for each value, and
-- says who is there.
--
--	in   tele/DEVICE/SENSOR   {"Time":"...","AM2301":{"Temperature":21.4,"Humidity":44},"TempUnit":"C"}
--	                          {"Time":"...","ENERGY":{"Power":84,"Total":12.3,...}}
--	     tele/DEVICE/LWT      Online or Offline
--	out  home/DEVICE/AM2301/Temperature   21.4
--	     home/DEVICE/ENERGY/Power         84
--	     home/DEVICE/online               true or false
--
-- Values are passed on when they have changed by 1 per cent, and each quarter of an hour.

local deadband = require "rules.deadband"
local dedupe = require "rules.dedupe"
local router = require "rules.router"

local values = deadband.new { percent = 1, every = "15m" }
local online = dedupe.new { within = "1h" }

-- The table's keys, sorted, so that values leave in the same order each time.
local function sorted_keys(object)
	local keys = {}
	for key in pairs(object) do
		keys[#keys + 1] = key
	end
	table.sort(keys)
	return keys
end

-- Passes on the numbers in `object`; what is nested has a topic below.
local function walk(object, topic, time)
	for _, key in ipairs(sorted_keys(object)) do
		local value, below = object[key], topic .. "/" .. key
		if type(value) == "table" and #value == 0 then
			walk(value, below, time)
		elseif type(value) == "number" and values:changed(below, value, time) then
			assert(mqtt.pub(below, value))
		end
	end
end

local function sensor(topic, payload, msg, names)
	local object, problem = json.decode(payload)
	if type(object) == "table" then
		walk(object, "home/" .. names.device, msg.time)
	else
		log.warn("%s: %s", topic, problem or "no object")
	end
end

local function last_will(_, payload, msg, names)
	if online:first(names.device, payload, msg.time) then
		assert(mqtt.pub(("home/%s/online"):format(names.device), tostring(payload == "Online"), { retain = true }))
	end
end

local routes = router.new {
	{ "tele/{device}/SENSOR", sensor },
	{ "tele/{device}/LWT", last_will },
}

on("tele/+/+", function(topic, payload, msg)
	routes:route(topic, payload, msg)
end)
