--- The scene of an interoperability test: a sensor and a collector of the tests' own, the broker under test, which is
-- both the sensors' and the collector's, and the agent between them, watched on both of its sides, so that it is known
-- who lost a message. Topics and client ids are new for each scene, so that one broker serves them all:
--
--   sensor -> TAG/in/... -> (watched) agent -> (watched; can be cut) -> TAG/out/... -> collector
local client = require "lib.client"
local loop = require "lib.loop"
local net = require "lib.net"
local tidegate = require "lib.tidegate"
local uv = require "luv"
local watches = require "lib.watch"

local M = {}

local scene = {}
scene.__index = scene

local NUMBERS = { ["3.1"] = 3, ["3.1.1"] = 4, ["5"] = 5 }
local count = 0

-- As it came, but for the first word after the tag; what is called kept is retained.
local FORWARD = [[
function on_message(topic, payload, msg)
	local tag, rest = topic:match("^([^/]+)/in/(.*)$")
	mqtt.pub(tag .. "/out/" .. rest, payload,
		{ link = "core", qos = msg.qos, retain = rest:find("kept") ~= nil, properties = msg.properties })
end
]]

local function merged(base, more)
	for key, value in pairs(more or {}) do
		base[key] = value
	end
	return base
end

local function link(self, port, more)
	return merged({ url = "mqtt://127.0.0.1:" .. port, version = self.options.version }, more)
end

--- Sets the scene and waits until readings pass through. Options, all optional:
--   version       of MQTT, for everybody ("3.1.1")
--   qos           of the agent's and the collector's subscriptions (1)
--   subscribe     what the agent subscribes to, below TAG/ ({ "in/#" })
--   field, core   keys added to the two links
--   script        in place of one that forwards everything
--   idle          true: the agent is not started
function M.new(broker, options)
	options = merged({ version = "3.1.1", qos = 1, subscribe = { "in/#" } }, options)
	count = count + 1
	local self = setmetatable({ broker = broker, options = options, number = NUMBERS[options.version],
		tag = ("t%dx%d"):format(uv.os_getpid() % 100000, count) }, scene)
	local port = broker:port(self.number)
	self.field, self.core = watches.start(port), watches.start(port)
	self.uplink = net.proxy(self.core.port)
	self.sensor = self:client()
	self.collector = self:client { client_id = "c-" .. self.tag, clean = false }
	self.collector:subscribe(self.tag .. "/out/#", options.qos)
	local filters = {}
	for i, filter in ipairs(options.subscribe) do
		filters[i] = { self:topic(filter), qos = options.qos }
	end
	self.config = { name = self.tag, links = {
		field = merged(link(self, self.field.port, options.field),
			{ subscribe = filters }),
		core = link(self, self.uplink.port, options.core),
	} }
	self.agent = tidegate.new { config = self.config, scripts = { ["rules.lua"] = options.script or FORWARD } }
	if not options.idle then
		self:start()
	end
	return self
end

--- A topic or filter of this scene; that of a shared subscription begins with $share/.
function scene:topic(rest)
	local group = rest:match("^%$share/[^/]+/")
	return group and group .. self.tag .. "/" .. rest:sub(#group + 1) or self.tag .. "/" .. rest
end

--- A client of the scene's version and broker.
function scene:client(options)
	local keeps = self.number == 5 and options and options.clean == false
	return client.connect(self.broker:port(self.number), merged({ version = self.number, keepalive = 300,
		properties = keeps and { session_expiry = 86400 } or nil }, options))
end

--- Starts the agent, and waits until what the sensor publishes reaches the collector.
function scene:start()
	self.agent:start()
	self:await_flow()
end

--- Waits until a message gets through; `rest` is its topic below TAG/in/.
function scene:await_flow(rest)
	local probe = rest or "probe"
	local seen = #self:arrived(probe)
	local due = 0
	loop.eventually(function()
		if loop.now() >= due then
			self.sensor:post(self:topic("in/" .. probe), "probe", { qos = 0 })
			due = loop.now() + 0.2
		end
		return #self:arrived(probe) > seen
	end, "the first message gets through", 20)
end

--- What the collector got below TAG/out/`rest` (exactly), in order.
function scene:arrived(rest)
	local topic, list = self:topic("out/" .. rest), {}
	for _, message in ipairs(self.collector.messages) do
		if message.topic == topic then
			list[#list + 1] = message
		end
	end
	return list
end

--- Waits for a message there, and returns the first.
function scene:await_message(rest, seconds)
	return loop.eventually(function()
		return self:arrived(rest)[1]
	end, "a message on out/" .. rest, seconds)
end

--- Publishes readings `first` to `last` and waits until the broker has acknowledged them.
function scene:publish(first, last, qos)
	self.sensor:publish_many(last - first + 1, function(i)
		return self:topic("in/r"), tostring(first + i - 1)
	end, { qos = qos or 1 })
end

-- The numbers of the readings among packets, each when it first came.
local function numbers(packets, topic)
	local list, seen = { have = {} }, {}
	for _, p in ipairs(packets) do
		if p.topic == topic and not seen[p.payload] then
			seen[p.payload] = true
			list[#list + 1] = math.tointeger(tonumber(p.payload))
			list.have[list[#list]] = true
		end
	end
	return list
end

local function missing(list, n)
	local count_missing = 0
	for i = 1, n do
		count_missing = count_missing + (list.have[i] and 0 or 1)
	end
	return count_missing
end

-- The first that came too early, and the one before which it came.
local function disorder(list)
	for i = 2, #list do
		if list[i] < list[i - 1] then
			return list[i - 1], list[i]
		end
	end
end

-- The messages that the broker brought the agent: at QoS 2, those that it has released.
local function brought_by(watch)
	local list, held = {}, {}
	for _, p in ipairs(watch.packets) do
		if p.way == "down" and p.type == "publish" and p.qos == 2 then
			held[p.id] = p
		elseif p.way == "down" and p.type == "publish" then
			list[#list + 1] = p
		elseif p.way == "down" and p.type == "pubrel" and held[p.id] then
			list[#list + 1] = held[p.id]
			held[p.id] = nil
		end
	end
	return list
end

-- What passed where, if the agent was watched (it is not where a link has a URL of its own).
local function hops(self)
	return numbers(brought_by(self.field), self:topic("in/r")),
		numbers(self.core.of("publish", "up"), self:topic("out/r")),
		numbers(self.collector.messages, self:topic("out/r"))
end

-- Who has not passed on what: raises an error.
local function blame(self, n)
	local brought, sent, arrived = hops(self)
	if missing(brought, n) > 0 then
		error(("the broker did not bring %d of %d"):format(missing(brought, n), n), 0)
	elseif missing(sent, n) > 0 then
		error(("THE AGENT did not send %d of %d"):format(missing(sent, n), n), 0)
	end
	error(("the broker did not pass on %d of %d"):format(missing(arrived, n), n), 0)
end

--- Waits until the readings 1 to `n` have arrived, and checks that the agent sent them in the order in which they came
-- to it, at the right QoS. Raises an error that says what is wrong, and whose fault it is. Options: qos (1), seconds,
-- order (true: by the broker, too).
function scene:check(n, options)
	options = options or {}
	local qos, topic = options.qos or 1, self:topic("out/r")
	local have, seen, twice, left = {}, 0, 0, n
	loop.run_until(function()
		for i = seen + 1, #self.collector.messages do
			local p = self.collector.messages[i]
			if p.topic == topic then
				left, twice = left - (have[p.payload] and 0 or 1), twice + (have[p.payload] and 1 or 0)
				have[p.payload] = true
			end
		end
		seen = #self.collector.messages
		return left <= 0
	end, options.seconds or loop.deadline)
	if left > 0 then
		blame(self, n)
	end
	self:check_order(options.order)
	for _, message in ipairs(self:arrived("r")) do
		if message.qos ~= qos then
			error(("QoS %d comes as QoS %d"):format(qos, message.qos), 0)
		end
	end
	if qos == 2 and twice > 0 then
		error(("%d came twice at QoS 2"):format(twice), 0)
	end
end

--- Checks that the agent sent in the order in which messages came to it; with `all`, that the broker kept it, too.
function scene:check_order(all)
	local brought, sent, arrived = hops(self)
	for i, number in ipairs(#brought > 0 and sent or {}) do
		if number ~= brought[i] then
			error(("THE AGENT sends %d where %s came"):format(number, brought[i]), 0)
		end
	end
	for place, list in pairs(all and { agent = brought, collector = arrived } or {}) do
		local early, late = disorder(list)
		if early then
			error(("out of order: the broker brings %d before %d to the %s"):format(early, late, place), 0)
		end
	end
end

return M
