--- Sockets on the loopback: free ports, listeners, a proxy that can be cut, and
-- a SOCKS5 server.
local uv = require "luv"
local cleanup = require "lib.cleanup"
local loop = require "lib.loop"

local M = {}

local function close(handle)
	if handle and not handle:is_closing() then
		handle:close()
	end
end
M.close = close

-- Below the range the kernel takes outgoing ports from, so that nobody grabs
-- the port between our look and its use, or while a broker is down.
local FIRST_PORT, PORTS = 20000, 12000
local next_port = FIRST_PORT + math.floor(uv.os_getpid() * 37 + uv.hrtime() / 1e6) % PORTS

-- Whether the port was taken for this spec. Spec files run side by side, and nothing listens at a broker's port while
-- that is down: who has the UDP port of that number has the TCP port.
local function reserve(port)
	local mark, probe = uv.new_udp(), uv.new_tcp()
	local free = mark:bind("127.0.0.1", port) and probe:bind("127.0.0.1", port) and probe:listen(1, function() end)
	close(probe)
	if not free then
		close(mark)
		return false
	end
	cleanup.defer_last(function()
		close(mark)
	end)
	return true
end

--- A TCP port of 127.0.0.1 that nobody listens on, and that no other process is given until the spec ends. It is
-- looked for behind `after` (default: the port that was given last).
function M.free_port(after)
	next_port = after or next_port
	for _ = 1, 1000 do
		next_port = FIRST_PORT + (next_port - FIRST_PORT + 1) % PORTS
		if reserve(next_port) then
			return next_port
		end
	end
	error("no free port")
end

local listener = {}
listener.__index = listener

function listener:resume()
	if self.server then
		return
	end
	self.server = uv.new_tcp()
	assert(self.server:bind("127.0.0.1", self.port))
	assert(self.server:listen(64, loop.guard(function(err)
		assert(not err, err)
		local socket = uv.new_tcp()
		self.server:accept(socket)
		socket:nodelay(true)
		self.sockets[#self.sockets + 1] = socket
		self.accepted(socket)
	end)))
end

function listener:pause()
	close(self.server)
	self.server = nil
end

function listener:close()
	self:pause()
	for _, socket in ipairs(self.sockets) do
		close(socket)
	end
	self.sockets = {}
end

--- Listens on `port` (default: a free one) and calls `accepted(socket)` for each
-- connection. Returns an object with `port` and `sockets`; `:pause()` refuses new
-- connections until `:resume()`, `:close()` ends it and them.
function M.listen(accepted, port)
	local self = setmetatable({ port = port or M.free_port(), sockets = {}, accepted = accepted }, listener)
	self:resume()
	cleanup.defer(function()
		self:close()
	end)
	return self
end

--- Opens a TCP connection and calls `done(err, socket)`.
function M.connect(port, done, host)
	local socket = uv.new_tcp()
	socket:connect(host or "127.0.0.1", port, loop.guard(function(err)
		if err then
			close(socket)
			return done(err)
		end
		socket:nodelay(true)
		done(nil, socket)
	end))
	cleanup.defer(function()
		close(socket)
	end)
	return socket
end

-- Copies what `from` brings to `to` while `gate.open`; what comes meanwhile
-- waits, in order.
local function pump(from, to, gate)
	local waiting = {}
	local function flush()
		while gate.open and #waiting > 0 and not to:is_closing() do
			to:write(table.remove(waiting, 1))
		end
	end
	gate.flushers[#gate.flushers + 1] = flush
	from:read_start(loop.guard(function(_, data)
		if not data then
			close(from)
			close(to)
			return
		end
		gate.bytes = gate.bytes + #data
		if gate.limit and gate.bytes > gate.limit then
			data = data:sub(1, math.max(0, #data - (gate.bytes - gate.limit)))
			gate.limit = nil
			if not to:is_closing() then
				to:write(data, function()
					close(from)
					close(to)
				end)
			end
			return
		end
		waiting[#waiting + 1] = data
		flush()
	end))
end

--- A TCP proxy before 127.0.0.1:`target`. `port` is its own.
--   :cut()          ends all connections, refuses new ones until :restore()
--   :stall()        keeps connections open but lets nothing pass until :restore()
--   :cut_after(n)   ends the connection in the middle: after n more bytes, both
--                   directions together
--   connections     how many there have been
function M.proxy(target)
	local proxy = { connections = 0 }
	local gate = { open = true, flushers = {}, bytes = 0 }
	local server_side
	server_side = M.listen(function(client)
		proxy.connections = proxy.connections + 1
		M.connect(target, function(err, server)
			if err or client:is_closing() then
				close(client)
				close(server)
				return
			end
			server_side.sockets[#server_side.sockets + 1] = server
			pump(client, server, gate)
			pump(server, client, gate)
		end)
	end)
	proxy.port = server_side.port

	function proxy.cut()
		server_side:close()
		gate.flushers = {}
	end

	function proxy.stall()
		gate.open = false
	end

	function proxy.restore()
		gate.open = true
		for _, flush in ipairs(gate.flushers) do
			flush()
		end
		server_side:resume()
	end

	function proxy.cut_after(n)
		gate.limit = gate.bytes + n
	end

	return proxy
end

--- A UDP socket that takes everything and answers nothing; `received` counts.
function M.udp_sink(host, port)
	local sink = { received = 0 }
	local socket = uv.new_udp()
	assert(socket:bind(host, port))
	socket:recv_start(loop.guard(function(_, data)
		sink.received = sink.received + (data and 1 or 0)
	end))
	cleanup.defer(function()
		close(socket)
	end)
	return sink
end

-- A reader of exact counts for a protocol written as a coroutine.
local function coroutine_reader(socket, body)
	local buffer, wanted = "", nil
	local thread = coroutine.create(body)
	local function resume(...)
		local ok, n = coroutine.resume(thread, ...)
		assert(ok, n)
		wanted = n
	end
	local function feed()
		while wanted and #buffer >= wanted do
			local piece = buffer:sub(1, wanted)
			buffer = buffer:sub(wanted + 1)
			wanted = nil
			resume(piece)
		end
	end
	resume()
	socket:read_start(loop.guard(function(_, data)
		if not data then
			return close(socket)
		end
		buffer = buffer .. data
		feed()
	end))
	return function()
		return buffer
	end
end

--- A SOCKS5 server (RFC 1928, CONNECT only). With `username` and `password` it
-- insists on them (RFC 1929). `requests` lists what was asked for, as
-- { host, port, username }. Every name is taken to be 127.0.0.1, and with `port` every port to be that.
function M.socks5(options)
	options = options or {}
	local self = { requests = {} }
	local need = coroutine.yield
	local server_side
	local function serve(client)
		local rest
		local function converse()
			local _, n_methods = need(2):byte(1, 2)
			need(n_methods)
			local request = {}
			if options.username then
				client:write("\5\2")
				need(1)
				request.username = need(need(1):byte())
				request.password = need(need(1):byte())
				local well = request.username == options.username and request.password == options.password
				client:write(well and "\1\0" or "\1\1")
				if not well then
					self.rejected = true
					return
				end
			else
				client:write("\5\0")
			end
			local kind = need(4):byte(4)
			if kind == 3 then
				request.host = need(need(1):byte())
			else
				request.host = table.concat({ need(kind == 1 and 4 or 16):byte(1, -1) }, ".")
			end
			request.port = string.unpack(">I2", need(2))
			self.requests[#self.requests + 1] = request
			M.connect(options.port or request.port, function(err, server)
				if err then
					client:write("\5\5\0\1\0\0\0\0\0\0")
					return
				end
				server_side.sockets[#server_side.sockets + 1] = server
				client:write("\5\0\0\1\127\0\0\1\0\0")
				client:read_stop()
				server:write(rest())
				local gate = { open = true, flushers = {}, bytes = 0 }
				pump(client, server, gate)
				pump(server, client, gate)
			end)
		end
		rest = coroutine_reader(client, converse)
	end
	server_side = M.listen(serve)
	self.port = server_side.port
	return self
end

return M
