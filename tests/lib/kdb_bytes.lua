--- kdb+ messages put together by hand, and a client that sends them: for what must be
-- tested without Tidegate's codec, or with bytes that no codec makes.
local loop = require "lib.loop"
local net = require "lib.net"

local M = {}

local FORMATS = { b = "b", x = "B", h = "<i2", i = "<i4", j = "<i8", e = "<f", f = "<d", c = "c1", p = "<i8", d = "<i4",
	n = "<i8", t = "<i4", s = "z", g = "c16" }
local CODES = { b = 1, g = 2, x = 4, h = 5, i = 6, j = 7, e = 8, f = 9, c = 10, s = 11, p = 12, d = 14, n = 16, t = 19 }

--- An atom, by the letter of its type: atom("s", "abc").
function M.atom(letter, value)
	return string.pack("<b" .. FORMATS[letter], -CODES[letter], value)
end

--- A vector: vector("j", { 1, 2 }); chars are a string.
function M.vector(letter, values)
	if letter == "c" then
		return string.pack("<bBi4", 10, 0, #values) .. values
	end
	local parts = { string.pack("<bBi4", CODES[letter], 0, #values) }
	for i, value in ipairs(values) do
		parts[i + 1] = FORMATS[letter] == "b" and string.char(value and 1 or 0) or string.pack(FORMATS[letter], value)
	end
	return table.concat(parts)
end

--- A general list of objects.
function M.list(...)
	return string.pack("<bBi4", 0, 0, select("#", ...)) .. table.concat { ... }
end

M.null = "\x65\0"

--- A message. Kinds: 0 async, 1 sync, 2 response.
function M.message(kind, body)
	return string.pack("<BBBBI4", 1, kind, 0, 0, 8 + #body) .. body
end

--- The message of `.u.upd`, or what `call` says: upd("sensor", column, column, ...).
function M.upd(table_name, ...)
	return M.message(1, M.list(M.atom("s", ".u.upd"), M.atom("s", table_name), M.list(...)))
end

--- The message of `.tidegate.upd`; `instance`: 16 bytes.
function M.exactly_once(agent, instance, first, last, table_name, ...)
	return M.message(1, M.list(M.atom("s", ".tidegate.upd"), M.atom("s", agent), M.atom("g", instance), M.atom("j", first),
		M.atom("j", last), M.atom("s", table_name), M.list(...)))
end

local client = {}
client.__index = client

--- Connects to 127.0.0.1:`port` and says `credentials` with the capability.
function M.connect(port, credentials, capability)
	local self = setmetatable({ received = "", closed = false }, client)
	net.connect(port, function(err, socket)
		assert(not err, err)
		self.socket = socket
		socket:read_start(loop.guard(function(_, data)
			if data then
				self.received = self.received .. data
			else
				self.closed = true
				net.close(socket)
			end
		end))
		socket:write((credentials or "me:secret") .. string.char(capability or 3, 0))
	end)
	loop.eventually(function()
		return self.closed or #self.received > 0
	end, "an answer to the handshake")
	self.capability = self.received:byte(1)
	self.received = self.received:sub(2)
	return self
end

function client:send(bytes)
	self.socket:write(bytes)
end

--- The next whole message: its kind, its body. Nothing once the connection is closed.
function client:take()
	local size = loop.eventually(function()
		local whole = #self.received >= 8 and string.unpack("<I4", self.received, 5)
		return whole and #self.received >= whole and whole or self.closed and 0
	end, "a message")
	if size == 0 then
		return nil
	end
	local message = self.received:sub(1, size)
	self.received = self.received:sub(size + 1)
	return message:byte(2), message:sub(9), message
end

--- Sends and waits for the response: "::", "'text" of an error, or the body.
function client:ask(bytes)
	self:send(bytes)
	local _, body = self:take()
	if body == M.null then
		return "::"
	end
	return body and body:byte() == 128 and "'" .. body:sub(2, -2) or body
end

function client:close()
	net.close(self.socket)
end

return M
