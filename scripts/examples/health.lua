-- Tells the collector how this gateway is doing: a line on gateways/NAME/health
-- whenever the uplink comes back, with what happened since the line before.
--
-- It goes through the queue like every reading, so it arrives after the
-- readings it counts.

local UPLINK = "core" -- as in agent.lua

local sent, lost, outages = 0, 0, 0
local down_since

function on_sent(_, link)
	if link == UPLINK then
		sent = sent + 1
	end
end

function on_drop(token, link, reason)
	if link == UPLINK then
		lost = lost + 1
		log.warn("message %d was not delivered: %s", token, reason)
	end
end

function on_disconnect(link, reason)
	if link == UPLINK then
		outages = outages + 1
		down_since = down_since or uptime()
		log.warn("uplink lost: %s", reason)
	end
end

function on_connect(link)
	if link ~= UPLINK then
		return
	end
	local away = down_since and uptime() - down_since or 0
	local core = assert(mqtt.link(UPLINK))
	assert(core:pub(("gateways/%s/health"):format(agent.name),
		("sent=%d lost=%d outages=%d away=%.0fs queued=%d"):format(sent, lost, outages, away, core:depth())))
	sent, lost, outages, down_since = 0, 0, 0, nil
end
