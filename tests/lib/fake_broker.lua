--- A broker that does what a spec tells it to: any CONNACK, any reason code, any
-- bytes, or silence. One function per packet type decides; the defaults behave.
-- What comes must keep the rules for clients (client_rules.lua), or the spec fails.
local cleanup = require "lib.cleanup"
local client_rules = require "lib.client_rules"
local loop = require "lib.loop"
local net = require "lib.net"
local packet = require "lib.packet"

local M = {}

local connection = {}
connection.__index = connection

local function write(self, bytes)
	if not self.socket:is_closing() then
		self.socket:write(bytes)
	end
end

--- Sends a packet (see tests/lib/packet.lua).
function connection:send(p)
	self.rules:sent(p)
	write(self, packet.encode(p, self.options.version))
end

--- Sends any bytes.
function connection:send_raw(bytes)
	self.rules:relax()
	write(self, bytes)
end

--- Publishes to this client; QoS 1 and 2 get an id. Returns the id.
function connection:publish(p)
	p.type = "publish"
	if (p.qos or 0) > 0 and not p.id then
		self.id = self.id % 65535 + 1
		p.id = self.id
	end
	self:send(p)
	return p.id
end

--- Closes once what was sent has left.
function connection:close()
	local socket = self.socket
	if not socket:is_closing() then
		socket:shutdown(function()
			net.close(socket)
		end)
	end
end

function connection:closed()
	return self.socket:is_closing()
end

-- What each packet is answered with. A spec's function of the same name may
-- return a reason code, a whole packet, or false for silence; nil means the
-- default.
local defaults = {}

function defaults.connect()
	return { type = "connack", code = 0 }
end

function defaults.publish(_, p)
	if p.qos == 1 then
		return { type = "puback", id = p.id }
	elseif p.qos == 2 then
		return { type = "pubrec", id = p.id }
	end
end

function defaults.pubrec(_, p)
	return { type = "pubrel", id = p.id }
end

function defaults.pubrel(_, p)
	return { type = "pubcomp", id = p.id }
end

function defaults.subscribe(_, p)
	local codes = {}
	for i, f in ipairs(p.filters) do
		codes[i] = f.qos
	end
	return { type = "suback", id = p.id, codes = codes }
end

function defaults.unsubscribe(_, p)
	local codes = {}
	for i in ipairs(p.filters) do
		codes[i] = 0
	end
	return { type = "unsuback", id = p.id, codes = codes }
end

function defaults.pingreq()
	return { type = "pingresp" }
end

local function answer(self, conn, p)
	local custom = self[p.type]
	local reply
	if custom then
		reply = custom(conn, p)
	end
	if reply == nil and defaults[p.type] then
		reply = defaults[p.type](conn, p)
	elseif type(reply) == "number" then
		local code = reply
		reply = defaults[p.type](conn, p)
		reply.code = code
	end
	if type(reply) == "table" then
		conn:send(reply)
	end
end

local function accept(self, socket)
	local conn = setmetatable({ socket = socket, options = {}, id = 0, packets = {}, rules = client_rules.new() },
		connection)
	local feed = packet.decoder(conn.options, function(p, flags, body)
		conn.rules:received(p, flags, body, conn.options.version)
	end)
	self.connections[#self.connections + 1] = conn
	socket:read_start(loop.guard(function(_, data)
		if not data then
			net.close(socket)
			return
		end
		for _, p in ipairs(feed(data)) do
			p.connection = conn
			conn.packets[#conn.packets + 1] = p
			self.packets[#self.packets + 1] = p
			if p.type == "connect" then
				conn.connect = p
			end
			answer(self, conn, p)
		end
	end))
end

local broker = {}
broker.__index = broker

--- Starts one on a free port. `behaviour` has a function for each packet type it
-- wants to answer itself: fn(connection, packet) -> reason code, packet, false
-- for no answer, or nil for the usual one. They may be changed at any time.
-- `packets` lists all packets received, `connections` all connections.
function M.start(behaviour)
	local self = setmetatable({ connections = {}, packets = {} }, broker)
	for name, fn in pairs(behaviour or {}) do
		self[name] = fn
	end
	self.listener = net.listen(function(socket)
		accept(self, socket)
	end)
	self.port = self.listener.port
	cleanup.on_failure(function()
		local lines = { ("---- fake broker on port %d received ----\n"):format(self.port) }
		for i = math.max(1, #self.packets - 39), #self.packets do
			local p = self.packets[i]
			lines[#lines + 1] = ("%s %s %s\n"):format(p.type, p.id or "", p.topic and #p.topic < 100 and p.topic or "")
		end
		return table.concat(lines)
	end)
	return self
end

--- The packets of one type received so far, in order.
function broker:received(kind)
	local list = {}
	for _, p in ipairs(self.packets) do
		if p.type == kind then
			list[#list + 1] = p
		end
	end
	return list
end

--- The payloads of all PUBLISH packets received so far.
function broker:payloads()
	local list = {}
	for i, p in ipairs(self:received("publish")) do
		list[i] = p.payload
	end
	return list
end

--- Waits until at least `n` packets of a type have been received; returns them.
function broker:wait_for(kind, n, seconds)
	loop.run_until(function()
		return #self:received(kind) >= n
	end, seconds or loop.deadline)
	local list = self:received(kind)
	if #list < n then
		error(("%d of %d %s packets arrived"):format(#list, n, kind), 2)
	end
	return list
end

--- The newest connection that said CONNECT.
function broker:newest()
	for i = #self.connections, 1, -1 do
		if self.connections[i].connect then
			return self.connections[i]
		end
	end
end

--- Waits for the `n`-th CONNECT, and for the SUBSCRIBE that follows if `filter`
-- is given; returns the connection.
function broker:wait_connected(n, filter)
	self:wait_for("connect", n or 1)
	local conn = self:newest()
	if filter then
		loop.eventually(function()
			for _, p in ipairs(conn.packets) do
				if p.type == "subscribe" and p.filters[1].filter == filter then
					return true
				end
			end
		end, "a subscription to " .. filter)
	end
	return conn
end

return M
