--- The door of a cloud: it reads the ClientHello of whoever comes, as load balancers do, and lets
-- in who names the right host (SNI) and protocol (ALPN). What follows passes through, still
-- encrypted, to a broker that speaks TLS itself.
local cleanup = require "lib.cleanup"
local loop = require "lib.loop"
local net = require "lib.net"

local M = {}

local HANDSHAKE, CLIENT_HELLO, SERVER_NAME, ALPN = 22, 1, 0, 16

-- What a ClientHello (RFC 8446, 4.1.2) asks for: { host, protocols }; nil while it is not whole.
local function read_hello(bytes)
	if #bytes < 5 or #bytes < 5 + string.unpack(">I2", bytes, 4) then
		return nil
	end
	local hello = { protocols = {} }
	local kind, record = string.unpack(">Bxxs2", bytes)
	if kind ~= HANDSHAKE or record:byte() ~= CLIENT_HELLO then
		return hello
	end
	local _, _, _, extensions = string.unpack(">s1s2s1s2", record, 1 + 4 + 2 + 32)
	local at = 1
	while at <= #extensions do
		local extension, data
		extension, data, at = string.unpack(">I2s2", extensions, at)
		if extension == SERVER_NAME then
			hello.host = string.unpack(">xxxs2", data)
		elseif extension == ALPN then
			local names, name_at = string.unpack(">s2", data), 1
			while name_at <= #names do
				hello.protocols[#hello.protocols + 1], name_at = string.unpack("s1", names, name_at)
			end
		end
	end
	return hello
end

local function pass(from, to)
	from:read_start(loop.guard(function(_, data)
		if data and not to:is_closing() then
			to:write(data)
		else
			net.close(from)
			net.close(to)
		end
	end))
end

local function accept(self, socket)
	local bytes = ""
	socket:read_start(loop.guard(function(_, data)
		bytes = bytes .. (data or "")
		local hello = read_hello(bytes)
		if not data or not hello then
			return data or net.close(socket)
		end
		socket:read_stop()
		self.hellos[#self.hellos + 1] = hello
		if hello.host ~= self.host or hello.protocols[1] ~= self.protocol then
			return net.close(socket)
		end
		net.connect(self.target, function(err, broker)
			if err or socket:is_closing() then
				net.close(broker)
				return net.close(socket)
			end
			self.sockets[#self.sockets + 1] = broker
			broker:write(bytes)
			pass(socket, broker)
			pass(broker, socket)
		end)
	end))
end

--- Starts one before 127.0.0.1:`target`, for those who name `host` and, if it is not nil, `protocol` (else
-- none). `port` is its own; `hellos` lists what was asked for, as { host, protocols }.
function M.start(target, host, protocol)
	local self = { target = target, host = host, protocol = protocol, hellos = {}, sockets = {} }
	self.listener = net.listen(function(socket)
		accept(self, socket)
	end)
	self.port = self.listener.port

	--- Ends all connections; who comes again is let in.
	function self.cut()
		for _, list in ipairs { self.sockets, self.listener.sockets } do
			for _, socket in ipairs(list) do
				net.close(socket)
			end
		end
	end

	cleanup.defer(self.cut)
	return self
end

return M
