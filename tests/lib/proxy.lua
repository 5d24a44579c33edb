--- A TCP line of bad quality: it delays, is narrow, stalls, forgets connections,
-- breaks them in the middle of a packet, or answers for somebody else.
local uv = require "luv"
local cleanup = require "lib.cleanup"
local loop = require "lib.loop"
local net = require "lib.net"

local M = {}

-- What a line keeps of a sender before that has to wait, and how much goes at once
-- where its speed is limited: bytes.
local QUEUE, PIECE = 65536, 1460

local PORTAL = "HTTP/1.1 302 Found\r\nLocation: http://portal.example/login\r\nContent-Length: 0\r\n" ..
	"Connection: close\r\n\r\n"

local line = {}
line.__index = line

local flush

local function read(way)
	way.reading = true
	way.from:read_start(loop.guard(function(_, data)
		if way.forgotten then
			return
		end
		local now, self = loop.now(), way.line
		if not data then
			way.pieces[#way.pieces + 1] = { at = now + self.seconds }
			return flush(way)
		end
		local step = self.bytes_per_second and PIECE or #data
		for first = 1, #data, step do
			local piece = data:sub(first, first + step - 1)
			way.free_at = math.max(now, way.free_at) + (self.bytes_per_second and #piece / self.bytes_per_second or 0)
			way.pieces[#way.pieces + 1] = { data = piece, at = way.free_at + self.seconds }
			way.waiting = way.waiting + #piece
		end
		flush(way)
		if way.waiting > QUEUE and not way.from:is_closing() then
			way.from:read_stop()
			way.reading = false
		end
	end))
end

local function close_both(way)
	net.close(way.from)
	net.close(way.to)
end

-- How much of a piece passes before the line breaks, nil: all of it.
local function break_after(way, data)
	local limits = way.line.limits
	local limit = limits[way.name] or limits.both
	if not limit then
		return nil
	end
	if limit.left >= #data then
		limit.left = limit.left - #data
		return nil
	end
	limits[way.name], limits.both = nil, nil
	return limit.left
end

local function write(way, data)
	local some = break_after(way, data)
	if not some then
		way.to:write(data)
		return
	end
	way.to:write(data:sub(1, some), function()
		close_both(way)
	end)
	way.broken = true
end

-- Hands on what has arrived at the far end by now; comes back for the rest.
function flush(way)
	local now = loop.now()
	while #way.pieces > 0 and way.pieces[1].at <= now and not way.line.stalled do
		local piece = table.remove(way.pieces, 1)
		if way.to:is_closing() or way.forgotten or way.broken then
			break
		end
		if not piece.data then
			return close_both(way)
		end
		way.waiting = way.waiting - #piece.data
		write(way, piece.data)
	end
	if not way.reading and way.waiting <= QUEUE and not way.from:is_closing() then
		read(way)
	end
	if #way.pieces > 0 and not way.line.stalled then
		way.timer:start(math.max(1, math.ceil((way.pieces[1].at - now) * 1000)), 0, loop.guard(function()
			flush(way)
		end))
	end
end

local function open_way(self, name, from, to)
	local way = { line = self, name = name, from = from, to = to, pieces = {}, waiting = 0, free_at = 0,
		timer = uv.new_timer() }
	self.ways[#self.ways + 1] = way
	read(way)
end

local function answer_as_portal(client)
	client:read_start(function(_, data)
		if not data then
			return net.close(client)
		end
		client:read_stop()
		client:write(PORTAL, function() net.close(client) end)
	end)
end

-- Connections that have ended.
local function forget_closed(self)
	local kept = {}
	for _, way in ipairs(self.ways) do
		if way.from:is_closing() and way.to:is_closing() then
			net.close(way.timer)
		else
			kept[#kept + 1] = way
		end
	end
	self.ways = kept
end

local function accept(self, client)
	self.connections = self.connections + 1
	forget_closed(self)
	if self.is_portal then
		return answer_as_portal(client)
	end
	net.connect(self.target, function(err, server)
		if err or client:is_closing() then
			net.close(client)
			net.close(server)
			return
		end
		table.insert(self.listener.sockets, server)
		open_way(self, "up", client, server)
		open_way(self, "down", server, client)
	end)
end

--- A line from its own `port` to 127.0.0.1:`target`; good, to begin with. "up" is
-- from whoever connected to the target. `connections` counts.
function M.start(target)
	local self = setmetatable({ target = target, connections = 0, seconds = 0, ways = {}, limits = {} }, line)
	self.listener = net.listen(function(client)
		accept(self, client)
	end)
	self.port = self.listener.port
	cleanup.defer(function()
		for _, way in ipairs(self.ways) do
			net.close(way.timer)
		end
	end)
	return self
end

--- What goes in comes out so many seconds later.
function line:delay(seconds)
	self.seconds = seconds
end

--- It carries so many bits a second each way; nil: as many as there are.
function line:speed(bits_per_second)
	self.bytes_per_second = bits_per_second and bits_per_second / 8
end

--- Ends all connections, refuses new ones.
function line:cut()
	self.listener:close()
end

--- Ends all connections with a reset, refuses new ones.
function line:reset()
	for _, socket in ipairs(self.listener.sockets) do
		if not socket:is_closing() then
			socket:close_reset()
		end
	end
	self.listener:close()
end

--- Accepts connections, and nothing passes.
function line:stall()
	self.stalled = true
end

--- Forgets the connections it has, as a router does that was switched off and on:
-- what is sent on them vanishes, nobody is told. New ones are well.
function line:forget()
	for _, way in ipairs(self.ways) do
		way.forgotten = true
	end
end

--- Breaks the connection after `n` more bytes that go "up", "down" or either way
-- ("both", the default).
function line:break_after(n, way)
	self.limits[way or "both"] = { left = n }
end

--- Answers new connections with HTTP, as the network of a hotel does.
function line:portal(on)
	self.is_portal = on
end

--- A good line again, for what is connected and what will be.
function line:restore()
	self.stalled, self.is_portal, self.seconds, self.bytes_per_second, self.limits = nil, nil, 0, nil, {}
	self.listener:resume()
	for _, way in ipairs(self.ways) do
		if not way.from:is_closing() and not way.timer:is_closing() then
			flush(way)
		end
	end
end

return M
