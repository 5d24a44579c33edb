-- Forwards everything that arrives below sensors/ to the collector, as it is,
-- under this gateway's name: sensors/hall/temp becomes gw-01/hall/temp.
--
-- The broker gets its acknowledgement only when the copy is safely queued, so
-- an outage of the uplink or of this machine loses nothing.

on("sensors/#", function(topic, payload, msg)
	local rest = topic:sub(#"sensors/" + 1)
	if rest ~= "" then
		assert(mqtt.pub(agent.name .. "/" .. rest, payload, { retain = msg.retain, properties = msg.properties }))
	end
end)
