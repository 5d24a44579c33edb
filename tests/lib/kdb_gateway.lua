--- The scene for kdb+ links: sensors -> field broker -> agent -> collector. A message's
-- payload is a row as JSON; its topic ends in the table's name.
local assert = require "luassert"
local cjson = require "cjson"
local broker = require "lib.broker"
local collector = require "lib.collector"
local loop = require "lib.loop"
local tables = require "lib.tables"
local tidegate = require "lib.tidegate"

local M = {}

local gateway = {}
gateway.__index = gateway

--- What the link declares unless a spec says otherwise, and what the collector has.
M.tables = { sensor = { "sym:symbol", "n:long", "val:float" } }

local RULES = [[
	function on_message(topic, payload)
		assert(kdb.upd(topic:match("[^/]+$"), json.decode(payload)))
	end
	function on_drop(token, link, reason)
		log.info("dropped: %s", reason)
	end
]]

--- Sets the scene and waits until all are connected. Options, all optional:
--   collector   options for tests/lib/collector.lua; false: none is there, agent.lua names `port`
--   link        keys added to the link in agent.lua
--   url         the link's, if not that of the collector
--   config      keys added to agent.lua
--   script      text of rules.lua (default: each message is a row)
--   agent       options for tests/lib/tidegate.lua
--   idle        true: the agent is not started
--   apart       true: the agent is not connected to the collector yet, and nobody waits for that
-- Gives: `field`, `sensor` (a client there), `collector`, `agent`.
function M.start(options)
	options = options or {}
	local self = setmetatable({}, gateway)
	self.field = broker.start()
	self.sensor = self.field:client()
	if options.collector ~= false then
		self.collector = collector.start(tables.merged({ tables = M.tables }, options.collector))
	end
	local port = self.collector and self.collector.port or options.port
	self.config = tables.merged({
		links = {
			field = { url = "mqtt://127.0.0.1:" .. self.field.port, subscribe = { "rows/#" } },
			hist = tables.merged({ url = options.url or "kdb://127.0.0.1:" .. port, tables = M.tables,
				batch = { delay = "50ms" }, reconnect = { min = "50ms", max = "200ms" } }, options.link),
		},
		control = "control.sock",
	}, options.config)
	self.agent = tidegate.new(tables.merged({
		config = self.config,
		scripts = { ["rules.lua"] = options.script or RULES },
	}, options.agent))
	if not options.idle then
		self:start(not options.apart and self.collector)
	end
	return self
end

--- Starts the agent (again) and waits until it has subscribed, and with `connected` is
-- connected to the collector.
function gateway:start(connected)
	local field = self.field:connections("gw-field")
	local before, up = self.collector and #self.collector:events("connected"), self.agent:connections("hist")
	self.agent:start()
	self.field:wait_connected("gw-field", field + 1)
	self.field:wait_subscribed("gw-field", "rows/#")
	if connected then
		self.collector:wait_connected(before + 1)
		self.agent:wait_connected("hist", up + 1)
	end
end

--- The agent with other keys for the link; it is stopped and started.
function gateway:relink(link)
	tables.merged(self.config.links.hist, link)
	self.agent:stop()
	self.agent:configure(self.config)
	self:start(true)
end

--- A sensor's row; returns when the field broker has it.
function gateway:send(row, name)
	self.sensor:publish("rows/" .. (name or "sensor"), cjson.encode(row))
end

--- Rows { "pump", i, i / 4 } from first to last.
function gateway:send_rows(first, last, name)
	self.sensor:publish_many(last - first + 1, function(i)
		local n = first + i - 1
		return "rows/" .. (name or "sensor"), cjson.encode({ "pump", n, n / 4 })
	end)
end

--- The column `n` of what the collector has applied, in order.
function gateway:numbers(name)
	local list = {}
	for _, row in ipairs(self.collector:rows(name or "sensor")) do
		list[#list + 1] = row[2]
	end
	return list
end

--- Waits until rows first to last have been applied, each once and in order.
function gateway:wait_numbers(first, last, seconds)
	local wanted = {}
	for n = first, last do
		wanted[#wanted + 1] = n
	end
	self.collector:wait_rows(#wanted, seconds)
	assert.same(wanted, self:numbers())
end

--- Waits until the agent has acknowledged to the field broker every row that was sent.
function gateway:await_taken()
	self.field:wait_acknowledged("gw-field", self.sensor)
end

--- How many rows wait for the link, or are under way.
function gateway:queued()
	local code, out, err = self.agent:command("status", "--json")
	assert.equal(0, code, err)
	for text in out:gmatch("[^\n]+") do
		local line = cjson.decode(text)
		if line.kind == "queue" and line.link == "hist" then
			return line.messages
		end
	end
end

--- Waits until nothing is queued any more for the link.
function gateway:wait_empty(seconds)
	loop.eventually(function()
		return self:queued() == 0
	end, "the queue is empty", seconds)
end

--- The dead letters, as `tidegate dead list --json` tells them.
function gateway:dead()
	local code, out, err = self.agent:command("dead", "list", "--json")
	assert.equal(0, code, err)
	local list = {}
	for line in out:gmatch("[^\n]+") do
		list[#list + 1] = cjson.decode(line)
		list[#list].id = math.tointeger(list[#list].id)
	end
	return list
end

return M
