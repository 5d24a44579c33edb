-- Tells the collector how this gateway is doing: a line on gateways/NAME/health
-- whenever the uplink comes back, with what happened since the line before.
--
-- It goes through the queue like every reading, so it arrives after the readings
-- that waited with it. It counts what came in: on_sent and on_drop tell a script of
-- its own messages only.

local UPLINK = "core" -- as in agent.lua

local received, outages = 0, 0
local down_since

function on_message(_, _, msg)
	if msg.link ~= UPLINK then
		received = received + 1
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
		("received=%d outages=%d away=%.0fs queued=%d"):format(received, outages, away, core:depth())))
	received, outages, down_since = 0, 0, nil
end

function on_drop(token, link, reason)
	log.warn("health line %d was refused by %s: %s", token, link, reason)
end
