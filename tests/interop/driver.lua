--- A client of somebody else's, as a program that does what it is told (tests/interop/clients), with the calls of
-- tests/lib/client.lua. It is told in lines of JSON on its standard input, whose end means goodbye:
--
--   { call = "connect", host, port, version, client_id, clean, keepalive, username, password, ca, will, properties }
--   { call = "subscribe", id, filter, qos }
--   { call = "publish", id, topic, payload, qos, retain, properties }
--
-- and tells what happens on its standard output:
--
--   { event = "connected" }, and again when it has connected by itself; { event = "lost" }
--   { event = "failed", reason }: no connection
--   { event = "done", id, code }: acknowledged, at QoS 0 sent; a code from 128 refuses
--   { event = "message", topic, payload, qos, retain, properties }
--
-- Payloads and correlation data are in hexadecimal digits, properties named as in tests/lib/packet.lua.
local cjson = require "cjson"
local cleanup = require "lib.cleanup"
local file = require "lib.file"
local lines = require "lib.lines"
local loop = require "lib.loop"
local net = require "lib.net"
local proc = require "lib.proc"
local uv = require "luv"

local M = {}

local client = {}
client.__index = client

local count = 0

local function hex(bytes)
	return (bytes:gsub(".", function(byte) return ("%02x"):format(byte:byte()) end))
end

local function unhex(digits)
	return (digits:gsub("%x%x", function(pair) return string.char(tonumber(pair, 16)) end))
end

-- A copy of properties, with the correlation data converted.
local function convert(properties, how)
	local copy = {}
	for name, value in pairs(properties or {}) do
		copy[name] = name == "correlation" and how(value) or value
	end
	return next(copy) and copy or nil
end

local function tell(self, call)
	self.input:write(cjson.encode(call) .. "\n")
end

local events = {}

function events.connected(self)
	self.connected, self.failure = true, nil
end

function events.lost(self)
	self.connected = false
end

function events.failed(self, event)
	self.failure = event.reason
end

function events.done(self, event)
	self.answers[event.id] = { code = event.code }
end

function events.message(self, event)
	self.messages[#self.messages + 1] = { topic = event.topic, payload = unhex(event.payload), qos = event.qos,
		retain = event.retain, properties = convert(event.properties, unhex) or {} }
end

-- Starts the program and has it connect.
local function open(self)
	local options = self.options
	self.connected, self.failure, self.answers = false, nil, {}
	self.input, self.output = uv.new_pipe(), uv.new_pipe()
	cleanup.defer(function()
		net.close(self.input)
		net.close(self.output)
	end)
	self.process = proc.spawn(self.kind.command(), { pipes = { self.input, self.output }, env = self.kind.env,
		stderr = self.errors })
	local feed = lines.splitter(function(line)
		local event = cjson.decode(line)
		events[event.event](self, event)
	end)
	self.output:read_start(loop.guard(function(_, data)
		feed(data or "")
	end))
	tell(self, { call = "connect", host = options.ca and "localhost" or "127.0.0.1", port = self.port,
		version = self.version, client_id = self.client_id, clean = options.clean ~= false,
		keepalive = options.keepalive or 60, username = options.username, password = options.password,
		ca = options.ca, will = options.will, properties = convert(options.properties, hex) })
	loop.eventually(function()
		assert(self.process:running(), "it ended: " .. file.read(self.errors))
		return self.connected or self.failure
	end, self.kind.name .. " connects")
	if self.failure then
		self:drop() -- some try for ever
		error("refused by the broker: " .. self.failure, 3)
	end
end

--- Starts a client of a kind (see clients.lua) and has it connect to 127.0.0.1:`port`, as M.connect of
-- tests/lib/client.lua does; with the option `ca` by TLS, to a broker that this authority vouches for.
function M.connect(kind, port, options)
	count = count + 1
	local self = setmetatable({ kind = kind, port = port, options = options or {}, messages = {}, last_id = 0 }, client)
	self.version = self.options.version or 4
	self.client_id = self.options.client_id or ("%s-%d-%d"):format(kind.key, uv.os_getpid(), count)
	self.errors = file.directory() .. "/errors"
	open(self)
	return self
end

local function ask(self, call)
	self.last_id = self.last_id + 1
	call.id = self.last_id
	tell(self, call)
	return call.id
end

local function await(self, id, what)
	return loop.eventually(function()
		assert(self.answers[id] or self.process:running(), "the client ended")
		return self.answers[id]
	end, "the broker's answer to " .. what, 60)
end

--- Subscribes and waits for the acknowledgement.
function client:subscribe(filter, qos)
	local id = ask(self, { call = "subscribe", filter = filter, qos = qos or 1 })
	assert(await(self, id, "SUBSCRIBE").code < 128, "subscription refused")
	return self
end

--- Publishes without waiting for anything; returns the id of the call. Options: `qos` (1), `retain`, `properties`.
function client:post(topic, payload, options)
	options = options or {}
	return ask(self, { call = "publish", topic = topic, payload = hex(payload), qos = options.qos or 1,
		retain = options.retain == true, properties = convert(options.properties, hex) })
end

--- Publishes and waits for the acknowledgement; returns it: `code`.
function client:publish(topic, payload, options)
	return await(self, self:post(topic, payload, options), "PUBLISH")
end

--- Publishes `n` messages, the i-th being make(i) -> topic, payload, as fast as the client takes them; waits until all
-- are acknowledged.
function client:publish_many(n, make, options)
	local ids = {}
	for i = 1, n do
		local topic, payload = make(i)
		ids[i] = self:post(topic, payload, options)
	end
	for _, id in ipairs(ids) do
		local code = await(self, id, "PUBLISH").code
		assert(code < 128, ("a message was refused, code %d"):format(code))
	end
end

--- Waits until it has connected by itself; once it was dropped, starts it again. Keeps `messages`.
function client:reconnect()
	if not self.process:running() then
		open(self)
		return
	end
	loop.eventually(function() return self.connected end, self.kind.name .. " connects again", 30)
end

--- Ends it at once, without a goodbye.
function client:drop()
	self.process:destroy()
end

--- Has it say goodbye, and waits for its end.
function client:close()
	self.input:shutdown()
	self.process:wait()
end

return M
