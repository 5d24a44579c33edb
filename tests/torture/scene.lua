--- What the tortures of the whole agent share: sensors -> field broker -> (line) ->
-- agent -> (line) -> core broker -> collector, under load, and what came of it.
--
-- The oracle is outside the agent: the producer's own record of what the field broker
-- acknowledged to it, and the collector's of what arrived, in order.
local uv = require "luv"
local file = require "lib.file"
local lab = require "bench.lab"
local loop = require "lib.loop"
local proxy = require "lib.proxy"
local tables = require "lib.tables"
local tidegate = require "lib.tidegate"
local figures = require "torture.figures"

local M = {}

local scene = {}
scene.__index = scene

local FORWARD = [[
	function on_message(topic, payload)
		assert(mqtt.pub(topic, payload))
	end
]]

local function start_agent_files(self, options)
	self.config = tables.merged({ links = {
		field = tables.merged({ url = "mqtt://127.0.0.1:" .. self.field_line.port, subscribe = { "sensors/#" },
			keepalive = "5s" }, options.field),
		core = tables.merged({ url = "mqtt://127.0.0.1:" .. self.core_line.port, default = true, keepalive = "5s",
			ack_timeout = "3s" }, options.core),
	} }, options.config)
	self.agent = tidegate.new(tables.merged({
		config = self.config,
		scripts = { ["rules.lua"] = options.script or FORWARD },
	}, options.agent))
end

--- Sets the scene; all are connected. Options, all optional:
--   field, core     keys added to the two links in agent.lua
--   config          keys added to agent.lua
--   script          rules.lua (default: forward everything)
--   agent           options for tests/lib/tidegate.lua
--   field_broker, core_broker   lines for mosquitto.conf
--   idle            true: the agent is not started
-- Gives `field`, `core` (brokers), `field_line`, `core_line` (see tests/lib/proxy.lua),
-- `agent`.
function M.start(options)
	options = options or {}
	local self = setmetatable({ directory = file.directory(), began = loop.now() }, scene)
	math.randomseed(figures.seed)
	self.field = lab.broker(self.directory, "field", options.field_broker)
	self.core = lab.broker(self.directory, "core", options.core_broker)
	self.field_line, self.core_line = proxy.start(self.field.port), proxy.start(self.core.port)
	self.collector = lab.load("collect", self.directory, { port = self.core.port, topic = "sensors/#",
		client_id = "collector", session = true, progress = 50, record = self.directory .. "/arrived" }):ready()
	start_agent_files(self, options)
	if not options.idle then
		self.agent:start()
		self:wait_subscribed()
	end
	return self
end

--- Waits until the agent has subscribed at the field broker.
function scene:wait_subscribed()
	self.field:wait_subscribed("gw-field", function()
		assert(self.agent.process:running(), "the agent runs")
	end)
end

--- Begins to publish; `options` for `load publish`.
function scene:publish(options)
	self.producer = lab.load("publish", self.directory, tables.merged({ port = self.field.port, topic = "sensors/%",
		sensors = 5, count = 0, progress = 50, window = 200, record = self.directory .. "/acknowledged" }, options))
end

--- How many readings the collector has.
function scene:arrived()
	return self.collector:progress().distinct or 0
end

--- How many readings were acknowledged to the producer.
function scene:acknowledged()
	return self.producer:progress().acknowledged or 0
end

--- Lets time pass, for the load to go on.
function M.go_on(seconds)
	loop.run_until(function() return false end, seconds)
end

--- Stops the producer in its tracks and waits until nothing is on its way any more.
function scene:pause()
	self.producer.process:kill("sigstop")
	local arrived, since = self:arrived(), loop.now()
	loop.eventually(function()
		if self:arrived() > arrived then
			arrived, since = self:arrived(), loop.now()
		end
		return loop.now() - since > 0.5
	end, "all that was sent arrives", 60)
end

--- Lets it go on.
function scene:resume()
	self.producer.process:kill("sigcont")
end

--- Stops a broker, which keeps what it has unless `forget`, and starts it again.
function M.restart(broker, forget)
	broker:stop()
	if forget then
		os.remove(broker.directory .. "/mosquitto.db")
	end
	broker:start()
end

--- Waits until `n` readings more have arrived than now.
function scene:wait_progress(n, seconds)
	local goal = self:arrived() + (n or 1)
	loop.eventually(function() return self:arrived() >= goal end, "readings arrive", seconds or 30)
end

-- So long nothing arrives that should, and it is taken for lost: seconds.
local PATIENCE = 20

--- Ends the producer and waits until all that it sent has arrived.
function scene:settle()
	if not self.producer.settled then
		self.producer.settled = self.producer.process:running() and self.producer:stop() or self.producer:progress()
	end
	local result = self.producer.settled
	local arrived, since = 0, loop.now()
	repeat
		loop.run_until(function() return self:arrived() > arrived end, 1)
		if self:arrived() > arrived then
			arrived, since = self:arrived(), loop.now()
		end
	until arrived >= result.acknowledged or self.gave_up or loop.now() - since > PATIENCE
	self.gave_up = arrived < result.acknowledged
end

local function numbers(path)
	local handle = assert(io.open(path))
	return function()
		local n = handle:read("n")
		if not n then
			handle:close()
		end
		return n
	end
end

--- Ends producer and collector, and compares their records. Returns the figures:
-- acknowledged, delivered, lost, out_of_order (first deliveries only), duplicates,
-- seconds.
function scene:verdict()
	self:settle()
	self.collector:stop()
	local result = { acknowledged = 0, delivered = 0, lost = 0, out_of_order = 0, duplicates = 0 }
	local seen, highest = {}, 0
	for n in numbers(self.directory .. "/arrived") do
		if seen[n] then
			result.duplicates = result.duplicates + 1
		else
			seen[n] = true
			result.delivered = result.delivered + 1
			result.out_of_order = result.out_of_order + (n < highest and 1 or 0)
			highest = math.max(highest, n)
		end
	end
	for n in numbers(self.directory .. "/acknowledged") do
		result.acknowledged = result.acknowledged + 1
		if not seen[n] then
			result.lost = result.lost + 1
			result.first_lost = math.min(result.first_lost or n, n)
		end
	end
	result.seconds = loop.now() - self.began
	return result
end

--- verdict(), printed under the name `test` with `more` fields, and asserted: nothing
-- lost, nothing out of order.
function scene:judge(test, more)
	local result = self:verdict()
	figures.print(tables.merged(tables.merged({ test = test, cases = 1 }, result), more))
	if result.lost > 0 or result.out_of_order > 0 or result.acknowledged == 0 then
		error(("%s: %d lost (the first is %s), %d out of order, of %d acknowledged; TORTURE_SEED=%d"):format(test,
			result.lost, result.first_lost, result.out_of_order, result.acknowledged, figures.seed), 0)
	end
	return result
end

--- Kills the agent and starts it again.
function scene:kill()
	uv.kill(self.agent:pid(), "sigkill")
	self.agent.process:wait()
end

return M
