--- A client for the agent's pages, as bare as it gets.
local loop = require "lib.loop"
local net = require "lib.net"

local M = {}

local function parse(text)
	local status, head, body = text:match("^HTTP/1%.1 (%d+)[^\r\n]*\r\n(.-\r\n)\r\n(.*)$")
	if not status then
		return nil
	end
	local answer = { status = tonumber(status), headers = {}, body = body, text = text }
	for name, value in head:gmatch("([^:\r\n]+): *([^\r\n]*)\r\n") do
		answer.headers[name:lower()] = value
	end
	return answer
end

--- Sends `bytes` to `port`. The object it returns has `text`, what came, and `closed`, the time at
-- which the connection ended; `:send(bytes)` sends more.
function M.open(port, bytes)
	local self = { text = "" }
	local socket
	function self.send(_, more)
		if not socket:is_closing() then
			socket:write(more)
		end
	end
	net.connect(port, function(err, connected)
		if err then
			self.refused, self.closed = err, loop.now()
			return
		end
		socket = connected
		socket:read_start(loop.guard(function(_, data)
			if data then
				self.text = self.text .. data
			else
				self.closed = loop.now()
				net.close(socket)
			end
		end))
		socket:write(bytes)
		self.connected = true
	end)
	return self
end

--- Waits for the end of the connection, and returns the answer: `status`, `headers`, `body`.
function M.answer(request)
	loop.eventually(function()
		return request.closed
	end, "the connection ends")
	assert(not request.refused, request.refused)
	return assert(parse(request.text), "no HTTP: " .. request.text:sub(1, 200))
end

--- Asks for a path, and returns the answer.
function M.get(port, path, method)
	return M.answer(M.open(port, ("%s %s HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"):format(method or "GET", path)))
end

--- The samples of a page in Prometheus' text format, by name with labels as they are written.
function M.metrics(port)
	local answer = M.get(port, "/metrics")
	assert(answer.status == 200, answer.body)
	local samples = {}
	for line in answer.body:gmatch("[^\n]+") do
		local name, value = line:match("^([^#].*) (%S+)$")
		if name then
			assert(not samples[name], "twice: " .. name)
			samples[name] = tonumber(value) or value
		end
	end
	return samples, answer
end

return M
