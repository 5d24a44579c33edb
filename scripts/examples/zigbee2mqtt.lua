-- Zigbee devices through zigbee2mqtt: each message says everything a device knows, in
-- JSON, mostly what it said before. The collector gets what has changed, a topic for each
-- property, and who is away.
--
--	in   zigbee2mqtt/DEVICE                {"temperature":21.4,"humidity":44,"battery":100,...}
--	     zigbee2mqtt/DEVICE/availability   {"state":"online"}, or online as plain text
--	out  home/DEVICE/temperature           21.4
--	     home/DEVICE/online                true or false

local deadband = require "rules.deadband"
local dedupe = require "rules.dedupe"
local router = require "rules.router"

-- What to pass on, and by how much it must have changed; whatever it is, each hour.
local NUMBERS = {
	{ "temperature", by = 0.2 }, { "humidity", by = 2 }, { "pressure", by = 1 }, { "illuminance", percent = 20 },
	{ "power", percent = 5 }, { "energy", by = 0.01 }, { "battery", by = 5 },
}
local STATES = { "state", "contact", "occupancy", "water_leak", "smoke", "tamper" }

local numbers = {}
for _, property in ipairs(NUMBERS) do
	local name = property[1]
	numbers[name] = deadband.new { by = property.by, percent = property.percent, every = "1h" }
end
local states = dedupe.new { within = "1h" }

local function publish(device, property, value)
	assert(mqtt.pub(("home/%s/%s"):format(device, property), tostring(value), { retain = true }))
end

local function availability(_, payload, msg, names)
	local decoded = json.decode(payload)
	local online = (type(decoded) == "table" and decoded.state or payload) == "online"
	if states:first(names.device .. "/online", online, msg.time) then
		publish(names.device, "online", online)
	end
end

local function reading(topic, payload, msg, names)
	local properties, problem = json.decode(payload)
	if type(properties) ~= "table" then
		log.warn("%s: %s", topic, problem or "no object")
		return
	end
	for _, property in ipairs(NUMBERS) do
		local name = property[1]
		if numbers[name]:changed(names.device, properties[name], msg.time) then
			publish(names.device, name, properties[name])
		end
	end
	for _, name in ipairs(STATES) do
		if states:first(names.device .. "/" .. name, properties[name], msg.time) then
			publish(names.device, name, properties[name])
		end
	end
end

local function nothing()
end

local routes = router.new {
	{ "zigbee2mqtt/bridge/#", nothing },
	{ "zigbee2mqtt/{device}/availability", availability },
	{ "zigbee2mqtt/{device}/set", nothing },
	{ "zigbee2mqtt/{device}/get", nothing },
	{ "zigbee2mqtt/{device}", reading },
}

on("zigbee2mqtt/#", function(topic, payload, msg)
	routes:route(topic, payload, msg)
end)
