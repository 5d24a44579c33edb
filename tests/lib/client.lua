--- A small MQTT client for the tests: the sensors that publish and the
-- collector that takes. Calls wait for the broker's answer, so a spec reads in
-- order; what arrives meanwhile gathers in `messages`.
local uv = require "luv"
local loop = require "lib.loop"
local net = require "lib.net"
local packet = require "lib.packet"

local M = {}

local client = {}
client.__index = client

local count = 0

local function send(self, p)
	if not self.socket:is_closing() then
		self.socket:write(packet.encode(p, self.version))
	end
end

local function next_id(self)
	self.id = self.id % 65535 + 1
	return self.id
end

local handlers = {}

function handlers.publish(self, p)
	if p.qos == 2 then
		if self.held[p.id] then
			send(self, { type = "pubrec", id = p.id })
			return
		end
		self.held[p.id] = true
	end
	self.messages[#self.messages + 1] = p
	if self.acknowledge and p.qos > 0 then
		send(self, { type = p.qos == 1 and "puback" or "pubrec", id = p.id })
	end
end

function handlers.pubrel(self, p)
	self.held[p.id] = nil
	send(self, { type = "pubcomp", id = p.id })
end

function handlers.pubrec(self, p)
	send(self, { type = "pubrel", id = p.id })
end

local function answer(self, p)
	self.answers[p.id] = p
end
handlers.puback, handlers.pubcomp, handlers.suback, handlers.unsuback = answer, answer, answer, answer

function handlers.connack(self, p)
	self.connack = p
end

function handlers.disconnect(self, p)
	self.disconnected = p
end

local function open(self)
	self.connack, self.disconnected, self.closed = nil, nil, false
	self.answers, self.held, self.id = {}, {}, 0
	local failed
	local options = self.options
	net.connect(options.port, function(err, socket)
		if err then
			failed = err
			return
		end
		self.socket = socket
		local feed = packet.decoder { version = self.version }
		socket:read_start(loop.guard(function(_, data)
			if not data then
				self.closed = true
				net.close(socket)
				return
			end
			for _, p in ipairs(feed(data)) do
				local handler = handlers[p.type]
				if handler then
					handler(self, p)
				end
			end
		end))
		send(self, { type = "connect", version = self.version, client_id = self.client_id, clean = options.clean,
			keepalive = options.keepalive,
			username = options.username, password = options.password, will = options.will,
			properties = options.properties })
	end)
	loop.eventually(function()
		return self.connack or failed or self.closed
	end, "the broker's answer to CONNECT")
	if not self.connack or self.connack.code ~= 0 then
		error("refused by the broker: " .. tostring(failed or self.connack and self.connack.code or "closed"), 3)
	end
end

--- Connects to 127.0.0.1:`port` and waits for the CONNACK. Options: `client_id`,
-- `clean` (default true), `version` (3, 4, 5; default 4), `username`, `password`,
-- `will`, `properties` (of CONNECT), `keepalive` (in seconds, none by default; it sends no pings), `acknowledge`
-- (default true).
function M.connect(port, options)
	count = count + 1
	options = setmetatable({ port = port }, { __index = options or {} })
	local self = setmetatable({
		options = options,
		version = options.version or 4,
		client_id = options.client_id or ("test-%d-%d"):format(uv.os_getpid(), count),
		acknowledge = options.acknowledge ~= false,
		messages = {},
	}, client)
	open(self)
	return self
end

--- Connects again, with the same options; keeps `messages`.
function client:reconnect()
	net.close(self.socket)
	open(self)
end

local function await(self, id, what)
	return loop.eventually(function()
		assert(self.answers[id] or not self.closed, "the broker closed the connection")
		return self.answers[id]
	end, "the broker's answer to " .. what)
end

--- Subscribes and waits for the SUBACK. `options`: no_local, retain_as_published,
-- retain_handling.
function client:subscribe(filter, qos, options)
	local id = next_id(self)
	local wanted = { filter = filter, qos = qos or 1 }
	for name, value in pairs(options or {}) do
		wanted[name] = value
	end
	send(self, { type = "subscribe", id = id, filters = { wanted } })
	local codes = await(self, id, "SUBSCRIBE").codes
	assert(codes[1] < 128, "subscription refused")
	return self
end

-- Sends one message without waiting; returns its id (nil at QoS 0).
local function post(self, topic, payload, options)
	options = options or {}
	local qos = options.qos or 1
	local id = qos > 0 and next_id(self) or nil
	self.answers[id or 0] = nil
	send(self, { type = "publish", topic = topic, payload = payload, qos = qos, retain = options.retain,
		dup = options.dup, id = id, properties = options.properties })
	return id
end

--- Publishes and waits for the acknowledgement. Options: `qos` (default 1),
-- `retain`, `properties`.
function client:publish(topic, payload, options)
	local id = post(self, topic, payload, options)
	if id then
		return await(self, id, "PUBLISH")
	end
end

--- Publishes without waiting for anything.
function client:post(topic, payload, options)
	post(self, topic, payload, options)
end

--- Publishes `n` messages, the i-th being make(i) -> topic, payload; at most 20
-- unacknowledged at a time, or as many as the broker takes. Waits until all are acknowledged.
function client:publish_many(n, make, options)
	local waiting = {}
	local window = math.min(20, self.connack.properties.receive_maximum or 20)
	for i = 1, n do
		local topic, payload = make(i)
		waiting[#waiting + 1] = post(self, topic, payload, options)
		if #waiting >= window then
			await(self, table.remove(waiting, 1), "PUBLISH")
		end
	end
	for _, id in ipairs(waiting) do
		await(self, id, "PUBLISH")
	end
end

--- The payloads received so far, in order of arrival; only those whose topic
-- matches the Lua pattern, if one is given.
function client:payloads(pattern)
	local list = {}
	for _, message in ipairs(self.messages) do
		if not pattern or message.topic:find(pattern) then
			list[#list + 1] = message.payload
		end
	end
	return list
end

--- Waits until at least `n` messages have arrived, and returns `messages`.
function client:wait_for(n, seconds)
	loop.run_until(function()
		return #self.messages >= n
	end, seconds or loop.deadline)
	if #self.messages < n then
		error(("%d of %d messages arrived"):format(#self.messages, n), 2)
	end
	return self.messages
end

--- Waits for a message on exactly this topic, and returns it.
function client:wait_topic(topic, seconds)
	return loop.eventually(function()
		for _, message in ipairs(self.messages) do
			if message.topic == topic then
				return message
			end
		end
	end, "a message on " .. topic, seconds)
end

--- Says goodbye and closes.
function client:close()
	send(self, { type = "disconnect" })
	self:drop()
end

--- Closes without a word (the broker then publishes the will).
function client:drop()
	loop.run_until(function()
		return self.socket:is_closing() or self.socket:write_queue_size() == 0
	end, loop.deadline)
	net.close(self.socket)
end

return M
