--- mosquitto_pub and mosquitto_sub as clients of the tests, with the calls of tests/lib/client.lua. The first connects
-- for each publication anew; the second has one connection, that of its subscriptions.
local cleanup = require "lib.cleanup"
local file = require "lib.file"
local lines = require "lib.lines"
local loop = require "lib.loop"
local net = require "lib.net"
local proc = require "lib.proc"
local uv = require "luv"

local M = {}

local VERSIONS = { [3] = "mqttv31", [4] = "mqttv311", [5] = "mqttv5" }

-- Our names of properties, and the programs'.
local KNOWN = { payload_format = "payload-format-indicator", message_expiry = "message-expiry-interval",
	content_type = "content-type", response_topic = "response-topic", correlation = "correlation-data",
	receive_maximum = "receive-maximum" }

local count = 0

local function add(argv, ...)
	table.move({ ... }, 1, select("#", ...), #argv + 1, argv)
end

-- Adds the arguments -D CALL NAME VALUE.
local function add_properties(argv, call, properties)
	for name, value in pairs(properties or {}) do
		if KNOWN[name] then
			add(argv, "-D", call, KNOWN[name], tostring(value))
		end
	end
	for _, pair in ipairs(properties and properties.user_property or {}) do
		add(argv, "-D", call, "user-property", pair[1], pair[2])
	end
end

-- The arguments that say where to connect, and as whom; what is printed is not to wait for a full buffer.
local function arguments(program, self, client_id)
	local options = self.options
	local argv = { "stdbuf", "-oL", program, "-d", "-h", options.ca and "localhost" or "127.0.0.1",
		"-p", tostring(self.port), "-V", VERSIONS[options.version or 4], "-i", client_id,
		"-k", tostring(options.keepalive or 60) }
	if options.username then
		add(argv, "-u", options.username, "-P", options.password)
	end
	if options.ca then
		add(argv, "--cafile", options.ca)
	end
	if options.clean == false then
		add(argv, "-c")
	end
	if options.will then
		add(argv, "--will-topic", options.will.topic, "--will-payload", options.will.payload, "--will-qos",
			tostring(options.will.qos))
	end
	if options.properties and options.properties.session_expiry then
		add(argv, "-x", tostring(options.properties.session_expiry))
	end
	add_properties(argv, "connect", options.properties)
	return argv
end

local function new(methods, name, port, options)
	count = count + 1
	options = options or {}
	return setmetatable({ port = port, options = options, messages = {}, log = file.directory() .. "/log",
		client_id = options.client_id or ("%s-%d-%d"):format(name, uv.os_getpid(), count) }, methods)
end

-- Starts a program whose input stays open, what it prints goes to a file.
local function spawn(argv, log)
	local input = uv.new_pipe()
	cleanup.defer(function() net.close(input) end)
	return proc.spawn(argv, { pipes = { input }, stdout = log }), input
end

-- What the program says of a failure.
local function complaint(text)
	return text:match("(Connection error: [^\n]*)") or text:match("(Error: [^\n]*)") or text
end

-- ---- mosquitto_pub ----

local publisher = {}
publisher.__index = publisher

--- A publisher: M.connect of tests/lib/client.lua, with the option `ca` by TLS. What is connected until it is dropped
-- or closed publishes nothing, but has the client's id and will.
function M.publisher(port, options)
	local self = new(publisher, "pub", port, options)
	local argv = arguments("mosquitto_pub", self, self.client_id)
	add(argv, "-t", "nothing", "-l")
	self.process, self.input = spawn(argv, self.log)
	local text
	loop.eventually(function()
		text = file.read(self.log)
		return text:find("CONNACK %(0%)") or text:find("Error") or not self.process:running()
	end, "mosquitto_pub connects")
	if not text:find("CONNACK %(0%)") then
		self:drop() -- with -l it tries for ever
		error("refused by the broker: " .. complaint(text), 2)
	end
	return self
end

-- Starts a publication; `more` are its last arguments. Returns the process, its input and the file of its output.
local function start(self, topic, options, ...)
	options = options or {}
	count = count + 1
	local argv = arguments("mosquitto_pub", self, self.client_id .. "-" .. count)
	add(argv, "-t", topic, "-q", tostring(options.qos or 1), ...)
	if options.retain then
		add(argv, "-r")
	end
	add_properties(argv, "publish", options.properties)
	local log = self.log .. count
	local process, input = spawn(argv, log)
	return process, input, log
end

local function finish(process, log)
	process:wait(60)
	local text = file.read(log)
	assert(process.code == 0, complaint(text))
	return { code = text:find("failed: ") and 135 or 0 }
end

--- As of tests/lib/client.lua.
function publisher:post(topic, payload, options)
	start(self, topic, options, "-m", payload)
end

--- As of tests/lib/client.lua; returns a `code` of 135 if the program says that the broker refused.
function publisher:publish(topic, payload, options)
	local path = file.write(self.log .. "-payload", payload)
	local process, _, log = start(self, topic, options, table.unpack(payload == "" and { "-n" } or { "-f", path }))
	return finish(process, log)
end

--- As of tests/lib/client.lua, by one process; all have one topic, and no payload a line feed.
function publisher:publish_many(n, make, options)
	local topic = make(1)
	local text = {}
	for i = 1, n do
		text[i] = select(2, make(i)) .. "\n"
	end
	local process, input, log = start(self, topic, options, "-l")
	input:write(table.concat(text))
	input:shutdown()
	assert(finish(process, log).code == 0, "a message was refused")
end

--- It connects for each publication anyway.
function publisher.reconnect()
end

--- Ends without a goodbye.
function publisher:drop()
	self.process:destroy()
end

--- Says goodbye.
function publisher:close()
	self.input:shutdown()
	self.process:wait()
end

-- ---- mosquitto_sub ----

local subscriber = {}
subscriber.__index = subscriber

-- A line for each message: topic, QoS, retain, payload, and those properties of MQTT 5.
local FORMAT = "MESSAGE\t%t\t%q\t%r\t%x\t%F\t%E\t%C\t%R\t%D\t%P"

local function take(self, line)
	local fields = {}
	for field in line:gmatch("\t([^\t]*)") do
		fields[#fields + 1] = field
	end
	local message = { topic = fields[1], qos = math.tointeger(tonumber(fields[2])), retain = fields[3] == "1",
		payload = fields[4]:gsub("%x%x", function(pair) return string.char(tonumber(pair, 16)) end),
		properties = { payload_format = math.tointeger(tonumber(fields[5])),
			message_expiry = math.tointeger(tonumber(fields[6])), content_type = fields[7], response_topic = fields[8],
			correlation = fields[9], user_property = {} } }
	for name, value in fields[10]:gmatch("(%S+):(%S+)") do
		table.insert(message.properties.user_property, { name, value })
	end
	self.messages[#self.messages + 1] = message
end

-- What it prints: with -d, its packets, too.
local function follow(self, line)
	if line:find("^MESSAGE\t") then
		take(self, line)
	elseif line:find("sending CONNECT") then
		self.subscribed = false
	elseif line:find("received SUBACK") then
		self.subscribed = true
	end
end

-- Its arguments, for some topic filters.
local function subscription(self, filters, qos, ...)
	local argv = arguments("mosquitto_sub", self, self.client_id)
	add(argv, "-q", tostring(qos), ...)
	for _, filter in ipairs(filters) do
		add(argv, "-t", filter)
	end
	return argv
end

local function open(self)
	self.subscribed = false
	local output = uv.new_pipe()
	cleanup.defer(function() net.close(output) end)
	self.process = proc.spawn(subscription(self, self.filters, self.qos, "-F", FORMAT),
		{ pipes = { nil, output }, stderr = self.log })
	local feed = lines.splitter(function(line)
		follow(self, line)
	end)
	output:read_start(loop.guard(function(_, data)
		feed(data or "")
	end))
	loop.eventually(function()
		assert(self.process:running(), "mosquitto_sub ended: " .. file.read(self.log))
		return self.subscribed
	end, "mosquitto_sub subscribes")
end

--- A subscriber: M.connect of tests/lib/client.lua, with the option `ca` by TLS. As it does not connect without a
-- subscription, it subscribes to a topic of nobody's, with -E: then it says goodbye.
function M.subscriber(port, options)
	local self = new(subscriber, "sub", port, options)
	self.filters = {}
	self.process = proc.spawn(subscription(self, { "nothing" }, 0, "-E"), { stdout = self.log })
	if self.process:wait() ~= 0 then
		error("refused by the broker: " .. complaint(file.read(self.log)), 2)
	end
	return self
end

--- As of tests/lib/client.lua; it connects anew for it.
function subscriber:subscribe(filter, qos)
	for _, known in ipairs(self.filters) do
		if known == filter then
			return self
		end
	end
	self:drop()
	table.insert(self.filters, filter)
	self.qos = qos or 1
	open(self)
	return self
end

--- As of tests/lib/client.lua: waits until it has connected by itself, or starts it again.
function subscriber:reconnect()
	if not self.process:running() then
		open(self)
		return
	end
	loop.eventually(function() return self.subscribed end, "mosquitto_sub connects again", 30)
end

--- Ends it without a goodbye.
function subscriber:drop()
	self.process:destroy()
end

return M
