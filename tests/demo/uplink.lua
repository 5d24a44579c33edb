--- The line to the collector: a TCP proxy of limited speed that can be cut.
local uv = require "luv"
local cleanup = require "lib.cleanup"
local loop = require "lib.loop"
local net = require "lib.net"

local M = {}

local TICK_MS = 10
-- What it carries at once after the demo itself was kept waiting.
local BURST_SECONDS = 0.1

local uplink = {}
uplink.__index = uplink

-- Takes from `from` only what the line can carry soon; the rest stays with the
-- sender.
local function read(direction)
	direction.reading = true
	direction.from:read_start(loop.guard(function(_, data)
		if not data then
			net.close(direction.from)
			net.close(direction.to)
			return
		end
		direction.waiting = direction.waiting .. data
		if #direction.waiting > direction.burst then
			direction.from:read_stop()
			direction.reading = false
		end
	end))
end

local function carry(direction, bytes)
	if direction.from:is_closing() or direction.to:is_closing() then
		return
	end
	if #direction.waiting > 0 then
		direction.to:write(direction.waiting:sub(1, bytes))
		direction.waiting = direction.waiting:sub(bytes + 1)
	end
	if not direction.reading and #direction.waiting <= direction.burst then
		read(direction)
	end
end

local function accept(self, client)
	net.connect(self.target, function(err, server)
		if err or client:is_closing() then
			net.close(client)
			net.close(server)
			return
		end
		table.insert(self.listener.sockets, server)
		for _, pair in ipairs { { client, server }, { server, client } } do
			local direction = { from = pair[1], to = pair[2], waiting = "",
				burst = math.floor(self.speed * BURST_SECONDS) }
			table.insert(self.directions, direction)
			read(direction)
		end
	end)
end

--- A line from its own `port` to 127.0.0.1:`target` that carries so many bits a
-- second each way.
function M.open(target, bits_per_second)
	local self = setmetatable({ target = target, directions = {}, up = true }, uplink)
	self.speed = bits_per_second / 8
	self.listener = net.listen(function(client) accept(self, client) end)
	self.port = self.listener.port
	local timer, before = uv.new_timer(), loop.now()
	timer:start(TICK_MS, TICK_MS, loop.guard(function()
		local now = loop.now()
		local bytes = math.floor(self.speed * math.min(now - before, BURST_SECONDS))
		before = now
		for _, direction in ipairs(self.directions) do
			carry(direction, bytes)
		end
	end))
	cleanup.defer(function() timer:close() end)
	return self
end

--- Ends all connections and takes no new ones.
function uplink:cut()
	self.up = false
	self.listener:close()
	self.directions = {}
end

--- Takes connections again.
function uplink:restore()
	self.up = true
	self.listener:resume()
end

return M
