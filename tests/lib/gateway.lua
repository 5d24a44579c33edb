--- The usual scene: sensors -> field broker -> agent -> (a line that can be cut)
-- -> core broker -> collector.
local broker = require "lib.broker"
local loop = require "lib.loop"
local net = require "lib.net"
local tables = require "lib.tables"
local tidegate = require "lib.tidegate"

local M = {}

local gateway = {}
gateway.__index = gateway

-- Forwards everything, topic and payload unchanged.
M.forward = [[
function on_message(topic, payload)
	mqtt.pub(topic, payload)
end
]]

--- Sets the scene and waits until the agent is connected to both brokers and
-- subscribed. Options, all optional:
--   script                  text of rules.lua (default: forward everything)
--   field, core             keys added to the two links in agent.lua
--   config                  keys added to agent.lua
--   field_broker, core_broker   options for tests/lib/broker.lua
--   agent                   options for tests/lib/tidegate.lua
--   down                    true: the uplink is cut from the beginning
--   idle                    true: the agent is not started
-- Gives: `field`, `core` (brokers), `uplink` (the proxy between agent and core),
-- `agent`, `sensor` (a client on field), `collector` (a client on core that has
-- subscribed to everything).
function M.start(options)
	options = options or {}
	local self = setmetatable({}, gateway)
	self.field = broker.start(options.field_broker)
	self.core = broker.start(options.core_broker)
	self.uplink = net.proxy(self.core.port)
	self.sensor = self.field:client(options.sensor)
	self.collector = self.core:client(options.collector or { client_id = "collector", clean = false })
	self.collector:subscribe("#", 1)
	self.config = tables.merged({
		links = {
			field = tables.merged({ url = "mqtt://127.0.0.1:" .. self.field.port, subscribe = { "sensors/#" } }, options.field),
			core = tables.merged({ url = "mqtt://127.0.0.1:" .. self.uplink.port, default = true }, options.core),
		},
	}, options.config)
	self.agent = tidegate.new(tables.merged({
		config = self.config,
		scripts = { ["rules.lua"] = options.script or M.forward },
	}, options.agent))
	if options.down then
		self.uplink.cut()
	end
	if not options.idle then
		self:start(not options.down)
	end
	return self
end

--- Starts the agent (again) and waits until it is connected to the field broker and
-- has subscribed to what agent.lua names, and with `uplink` is connected to the core.
function gateway:start(uplink)
	local field, core = self.field:connections("gw-field"), self.core:connections("gw-core")
	local up = self.agent:connections("core")
	self.agent:start()
	self.field:wait_connected("gw-field", field + 1)
	for _, filter in ipairs(self.config.links.field.subscribe or {}) do
		self.field:wait_subscribed("gw-field", type(filter) == "table" and filter[1] or filter)
	end
	if uplink then
		self.core:wait_connected("gw-core", core + 1)
		self.agent:wait_connected("core", up + 1)
	end
end

--- Publishes readings `first` to `last` on sensors/a at QoS 1 and waits until the
-- field broker has them all. The payloads are "r1", "r2", ...
function gateway:publish_readings(first, last)
	self.sensor:publish_many(last - first + 1, function(i)
		return "sensors/a", "r" .. (first + i - 1)
	end)
end

--- Waits until the agent has acknowledged to the field broker everything the
-- sensor published at QoS 1.
function gateway:await_taken(seconds)
	self.field:wait_acknowledged("gw-field", self.sensor, seconds)
end

--- The numbers of the readings the collector has, in order of arrival.
function gateway:readings()
	local list = {}
	for _, message in ipairs(self.collector.messages) do
		local n = message.payload:match("^r(%d+)$")
		if n then
			list[#list + 1] = math.tointeger(n)
		end
	end
	return list
end

--- Waits until the collector has all readings 1 to n, and returns all it got, in
-- order of arrival.
function gateway:wait_readings(n, seconds)
	local have, missing
	loop.run_until(function()
		have, missing = {}, n
		for _, reading in ipairs(self:readings()) do
			if not have[reading] and reading <= n then
				have[reading], missing = true, missing - 1
			end
		end
		return missing == 0
	end, seconds or loop.deadline)
	if missing > 0 then
		local first
		for i = n, 1, -1 do
			first = not have[i] and i or first
		end
		error(("%d of %d readings have not arrived; the first is %d"):format(missing, n, first), 2)
	end
	return self:readings()
end

--- Raises unless each reading from 1 on came, first arrivals in order; returns how
-- many came more than once.
function M.assert_in_order(readings)
	local next_reading, duplicates = 1, 0
	for position, reading in ipairs(readings) do
		if reading == next_reading then
			next_reading = next_reading + 1
		elseif reading < next_reading then
			duplicates = duplicates + 1
		else
			error(("reading %d came at place %d, before %d"):format(reading, position, next_reading), 2)
		end
	end
	return duplicates
end

return M
