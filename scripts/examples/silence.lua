-- Who has fallen silent: every device that publishes below sensors/ is watched from its
-- first message on. Says when one has said nothing for ten minutes, when it is back, and
-- how many are silent.
--
--	in   sensors/NAME/...
--	out  alarms/silent/NAME   "silent" or "back"
--
-- A restart of the gateway is no silence of the sensors: everybody gets ten minutes
-- again, and nobody is told twice.

local heartbeat = require "rules.heartbeat"

local EXPECTED = { "boiler", "gate" } -- watched even if they never say anything

local alive = heartbeat.new { after = "10m", state = "alive", max_series = 5000 }

local function tell(device, what)
	assert(mqtt.pub("alarms/silent/" .. device, what, { priority = 9, retain = true }))
end

on("sensors/#", function(topic, _, msg)
	local device = topic:match("^sensors/([^/]+)")
	if not device or msg.retain then
		return -- a retained message may be years old
	end
	local back, seconds = alive:seen(device, msg.time)
	if back then
		log.info("%s is back after %.0f minutes", device, seconds / 60)
		tell(device, "back")
	end
end)

every(10, function()
	for device, seconds in alive:silent() do
		log.warn("%s has been silent for %.0f minutes", device, seconds / 60)
		metric.counter("silences"):add(1)
		tell(device, "silent")
	end
end)

function on_start()
	for _, device in ipairs(EXPECTED) do
		alive:expect(device)
	end
end
