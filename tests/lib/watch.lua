--- A proxy before a broker that reads along: every packet, and how many messages were on their way at most.
local loop = require "lib.loop"
local net = require "lib.net"
local packet = require "lib.packet"

local M = {}

--- How many there are in a `flight`.
function M.count(flight)
	local n = 0
	for _ in pairs(flight) do
		n = n + 1
	end
	return n
end

-- What ends the flight of a message: its last acknowledgement, or one that refuses it.
local function lands(p)
	return p.type == "puback" or p.type == "pubcomp" or p.type == "pubrec" and p.code >= 128
end

-- Notes the packets of one direction; `flight` is of the messages of this one, `other` of those coming back.
local function note(watch, way, p, flight, other)
	p.way = way
	watch.packets[#watch.packets + 1] = p
	if p.type == "publish" and p.qos > 0 then
		flight[p.id] = true
		watch.most[way] = math.max(watch.most[way], M.count(flight))
	elseif lands(p) then
		other[p.id] = nil
	end
end

local function pump(watch, way, from, to, feed, flight, other)
	from:read_start(loop.guard(function(_, data)
		if not data then
			net.close(from)
			net.close(to)
			return
		end
		for _, p in ipairs(feed(data)) do
			note(watch, way, p, flight, other)
		end
		if not to:is_closing() then
			to:write(data)
		end
	end))
end

--- A proxy before 127.0.0.1:`target`. `port` is its own.
--   packets   all packets, in order, as tests/lib/packet.lua has them; `way` is "up" to the broker, "down" from it
--   flight    { up, down }: the ids of the messages of QoS 1 and 2 that are on their way, on the newest connection
--   most      { up, down }: how many they were at once at most
function M.start(target)
	local watch = { packets = {}, flight = { up = {}, down = {} }, most = { up = 0, down = 0 } }
	local server_side
	server_side = net.listen(function(client)
		net.connect(target, function(err, server)
			if err or client:is_closing() then
				net.close(client)
				net.close(server)
				return
			end
			server_side.sockets[#server_side.sockets + 1] = server
			local version, up, down = {}, {}, {}
			local feed_up, feed_down = packet.decoder(version), packet.decoder(version)
			watch.flight = { up = up, down = down }
			pump(watch, "up", client, server, feed_up, up, down)
			pump(watch, "down", server, client, feed_down, down, up)
		end)
	end)
	watch.port = server_side.port

	--- The packets of one type, of one way if that is given.
	function watch.of(kind, way)
		local list = {}
		for _, p in ipairs(watch.packets) do
			if p.type == kind and (not way or p.way == way) then
				list[#list + 1] = p
			end
		end
		return list
	end
	return watch
end

return M
