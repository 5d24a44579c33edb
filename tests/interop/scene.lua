--- The scene of an interoperability test: a sensor and a collector, the broker, which is that of both, and the agent
-- between them, watched on both of its sides, so that it is known who lost a message. Either the broker is under test,
-- or its `guest`, a client, in the role of the sensor or the collector; other clients are the tests' own. Topics and
-- client ids are new for each scene, so that one broker serves them all:
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
	self.role = broker.guest and broker.guest.role
	self.sensor = self:connect("sensor")
	self.collector = self:connect("collector", { client_id = "c-" .. self.tag, clean = false })
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

--- A client of the scene's version, in a role: of the kind under test, if that is its role. Options are those of
-- tests/lib/client.lua, and `ca` (TLS) and `port` (default: the broker's).
function scene:connect(role, options)
	local kind = role == self.role and self.broker.guest or client
	local keeps = self.number == 5 and options and options.clean == false
	options = merged({ version = self.number, keepalive = 300,
		properties = keeps and { session_expiry = 86400 } or nil }, options)
	return kind.connect(options.port or options.ca and self.broker.tls_port or self.broker:port(self.number), options)
end

--- Another one of the kind under test.
function scene:peer(options)
	return self:connect(self.role, options)
end

--- Puts another one of the kind under test, connected otherwise, in the place of the first.
function scene:replace(options)
	local peer = self:peer(options)
	self[self.role] = peer
	if self.role == "collector" then
		peer:subscribe(self:topic("out/#"), self.options.qos)
	end
end

--- Starts the agent, and waits until what the sensor publishes reaches the collector.
function scene:start()
	self.agent:start()
	self:await_flow()
end

--- Waits until a message gets through; `rest` is its topic below TAG/in/.
function scene:await_flow(rest)
	local probe = rest or "probe"
	local seen, brought = #self:arrived(probe), #self.field.of("publish", "down")
	local due = 0
	local flows = loop.run_until(function()
		if loop.now() >= due then
			self.sensor:post(self:topic("in/" .. probe), "probe", { qos = 0 })
			due = loop.now() + 0.2
		end
		return #self:arrived(probe) > seen
	end, 20)
	if not flows then
		error(#self.field.of("publish", "down") > brought and "the first message does not get through" or
			"the broker did not bring the first message", 0)
	end
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

-- The numbers of the readings among packets, each when it first came; how often each came is in `have`, and at which
-- QoS at last, in `qos`.
local function numbers(packets, topic)
	local list = { have = {}, qos = {} }
	for _, p in ipairs(packets) do
		local number = p.topic == topic and math.tointeger(tonumber(p.payload))
		if number then
			list.have[number], list.qos[number] = (list.have[number] or 0) + 1, p.qos
			list[#list + 1] = list.have[number] == 1 and number or nil
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

-- How many came to the agent that it has not sent.
local function kept_back(brought, sent)
	local count_kept = 0
	for number in pairs(brought.have) do
		count_kept = count_kept + (sent.have[number] and 0 or 1)
	end
	return count_kept
end

-- Who has not passed on what: raises an error. An agent that has as many messages on their way as it ever had is
-- not at fault: it waits for the broker. Else it is, if it has kept any back, whatever the broker has done.
local function blame(self, n)
	local brought, sent, arrived = hops(self)
	local waiting, kept = watches.count(self.core.flight.up), kept_back(brought, sent)
	local waits = waiting > 0 and waiting == self.core.most.up
	if kept > 0 and not waits then
		error(("THE AGENT did not send %d of %d"):format(kept, n), 0)
	elseif missing(brought, n) > 0 then
		error(("the broker did not bring %d of %d"):format(missing(brought, n), n), 0)
	elseif kept > 0 then
		error(("the broker acknowledges none of the %d that the agent has on their way"):format(waiting), 0)
	end
	error(("the broker did not pass on %d of %d"):format(missing(arrived, n), n), 0)
end

--- Waits until the readings 1 to `n` have arrived, and checks that the agent sent them in the order in which they came
-- to it, at the right QoS. Raises an error that says what is wrong, and whose fault it is. Options:
--   qos       (1)
--   seconds   after how long without anything new it gives up (some brokers need minutes for 10,000 messages)
--   order     true: the broker must keep it, too
function scene:check(n, options)
	options = options or {}
	local qos, topic = options.qos or 1, self:topic("out/r")
	local have, seen, twice, left, last = {}, 0, 0, n, loop.now()
	local patience = options.seconds or loop.deadline
	loop.run_until(function()
		for i = seen + 1, #self.collector.messages do
			local p = self.collector.messages[i]
			if p.topic == topic then
				left, twice = left - (have[p.payload] and 0 or 1), twice + (have[p.payload] and 1 or 0)
				last = have[p.payload] and last or loop.now()
				have[p.payload] = true
			end
		end
		seen = #self.collector.messages
		return left <= 0 or loop.now() - last > patience
	end, math.huge)
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

-- The numbers of a list without those that the broker brought twice: it did not know that they had come, nor, if it was
-- killed then, may the agent. Where they belong is open.
local function certain(list, brought)
	local left = {}
	for _, number in ipairs(list) do
		left[#left + 1] = (brought.have[number] or 1) == 1 and number or nil
	end
	return left
end

-- Checks that the agent sent each message as often as it came, unless it had to connect again, and at its QoS.
local function check_copies(self, brought, sent)
	local connected_once = #self.core.of("connect") == 1
	for _, number in ipairs(#brought > 0 and sent or {}) do
		if connected_once and sent.have[number] > (brought.have[number] or 0) then
			error(("THE AGENT sends %d twice"):format(number), 0)
		elseif sent.qos[number] ~= brought.qos[number] then
			error(("THE AGENT sends %d at QoS %d, it came at %s"):format(number, sent.qos[number],
				brought.qos[number]), 0)
		end
	end
end

--- Checks that the agent sent in the order in which messages came to it, each as it came; with `all`, that the broker
-- kept the order, too.
function scene:check_order(all)
	local brought, sent, arrived = hops(self)
	check_copies(self, brought, sent)
	local expected = certain(brought, brought)
	for i, number in ipairs(#brought > 0 and certain(sent, brought) or {}) do
		if number ~= expected[i] then
			error(("THE AGENT sends %d where %s came"):format(number, expected[i]), 0)
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
