--- TLS before a broker that speaks none, for one connection. What comes at once leaves
-- as few TLS records as can be, many packets in each, as some brokers do it; mosquitto
-- makes a record of each packet.
local uv = require "luv"
local cleanup = require "lib.cleanup"
local loop = require "lib.loop"
local need = require "lib.need"
local net = require "lib.net"
local proc = require "lib.proc"

local M = {}

--- Starts one before 127.0.0.1:`target` with the certificate of `pair` (see
-- tests/lib/certs.lua). `port` is its own.
function M.start(target, pair)
	need.program("openssl")
	local self = { port = net.free_port() }
	local to_agent, from_agent = uv.new_pipe(), uv.new_pipe()
	self.process = proc.spawn({ "openssl", "s_server", "-quiet", "-accept", "127.0.0.1:" .. self.port, "-naccept", "1",
		"-cert", pair.cert, "-key", pair.key }, { pipes = { to_agent, from_agent } })
	cleanup.defer(function()
		net.close(to_agent)
		net.close(from_agent)
	end)
	net.connect(target, function(err, socket)
		assert(not err, err)
		socket:read_start(loop.guard(function(_, data)
			if data and not to_agent:is_closing() then
				to_agent:write(data)
			end
		end))
		from_agent:read_start(loop.guard(function(_, data)
			if data and not socket:is_closing() then
				socket:write(data)
			end
		end))
	end)
	return self
end

return M
