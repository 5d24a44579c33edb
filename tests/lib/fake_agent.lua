--- A double of the agent for rules: runs a script in the scripts' world, in virtual
-- time, without links. Handlers are all or nothing: when one raises an error, what it
-- published and changed in `state` is undone.
--
--	local agent = fake_agent.new()
--	agent:load("scripts/examples/silence.lua")
--	agent:play("scripts/examples/silence.input.jsonl")
--	agent:advance(60)
--	agent.published[1].topic
--
-- Fields: `time`, `published` (topic, payload, options, time), `rows` (table, row, options,
-- time), `logged` (level, text, time), `errors` (texts), `metrics` (name or
-- name{label="value"} → number), `env` (the script's globals).
local cjson = require "cjson"
local fake_state = require "lib.fake_state"

local M = {}
M.__index = M

local LIBRARY = "scripts/lib/"
local BASE = {
	"assert", "collectgarbage", "error", "getmetatable", "ipairs", "pairs", "pcall", "print", "rawequal", "rawget",
	"rawlen", "rawset", "select", "setmetatable", "tonumber", "tostring", "type", "xpcall", "string", "table", "math",
	"utf8", "coroutine",
}

--- Does the MQTT filter match?
local function matches(filter, topic)
	local pattern = "^" .. filter:gsub("[%^%$%(%)%%%.%[%]%*%-%?]", "%%%0"):gsub("%+", "[^/]*")
	pattern = pattern:gsub("/#$", "\0"):gsub("#$", ".*") .. "$"
	if pattern:find("\0", 1, true) then
		return topic:find((pattern:gsub("%z", ""))) or topic:find((pattern:gsub("%z", "/.*")))
	end
	return topic:find(pattern)
end

-- ---- what scripts are given ----

local function give_log(self)
	local log = {}
	for _, level in ipairs { "debug", "info", "warn", "error" } do
		log[level] = function(text, ...)
			text = select("#", ...) > 0 and text:format(...) or text
			table.insert(self.logged, { level = level, text = text, time = self.time })
		end
	end
	self.env.log = log
end

local function give_mqtt(self)
	local tokens = 0
	local function pub(topic, payload, options)
		assert(type(topic) == "string" and not topic:find("[+#]"), "topic")
		assert(type(payload) == "string" or type(payload) == "number", "payload")
		tokens = tokens + 1
		table.insert(self.published, { topic = topic, payload = tostring(payload), options = options or {},
			time = self.time })
		return tokens
	end
	self.env.mqtt = {
		pub = pub,
		pubx = function(topic, payload, qos, retain)
			return pub(topic, payload, { qos = qos, retain = retain })
		end,
		sub = function()
			return true
		end,
	}
end

-- Rows as they were given: no types are declared here.
local function give_kdb(self)
	self.env.kdb = {
		upd = function(name, row, options)
			assert(type(name) == "string", "table")
			assert(type(row) == "table", "row")
			table.insert(self.rows, { table = name, row = row, options = options or {}, time = self.time })
			return #self.rows
		end,
	}
end

local function metric_name(name, labels)
	local parts = {}
	for label, value in pairs(labels or {}) do
		parts[#parts + 1] = ("%s=%q"):format(label, value)
	end
	table.sort(parts)
	return #parts > 0 and ("%s{%s}"):format(name, table.concat(parts, ",")) or name
end

local function give_metric(self)
	local metrics = self.metrics
	self.env.metric = {
		counter = function(name, labels)
			local key = metric_name(name, labels)
			return { add = function(_, n)
				assert(n == nil or n >= 0, "n")
				metrics[key] = (metrics[key] or 0) + (n or 1)
			end }
		end,
		gauge = function(name, labels)
			local key = metric_name(name, labels)
			return { set = function(_, value)
				metrics[key] = value
			end }
		end,
	}
end

local UNITS = { ms = 0.001, s = 1, m = 60, h = 3600, d = 86400 }

local function add_timer(self, seconds, fn, again)
	if type(seconds) == "string" then
		local number, unit = seconds:match("^([%d.]+)(%a+)$")
		seconds = tonumber(number) * UNITS[unit]
	end
	assert(seconds > 0 and type(fn) == "function")
	self.timers_made = self.timers_made + 1
	local timer = { due = self.time + seconds, period = again and seconds, fn = fn, order = self.timers_made }
	table.insert(self.timers, timer)
	function timer.cancel()
		timer.cancelled = true
	end
	return timer
end

local function give_time(self)
	local env = self.env
	function env.now()
		return self.time
	end
	function env.uptime()
		return self.time - self.started
	end
	function env.every(seconds, fn)
		return add_timer(self, seconds, fn, true)
	end
	function env.after(seconds, fn)
		return add_timer(self, seconds, fn, false)
	end
	env.os = {
		clock = os.clock, difftime = os.difftime,
		time = function(date)
			return date and os.time(date) or math.floor(self.time)
		end,
		date = function(format, time)
			return os.date(format, math.floor(time or self.time))
		end,
	}
end

local function give_base(self)
	local env = self.env
	for _, name in ipairs(BASE) do
		env[name] = _G[name]
	end
	env._G = env
	env.next = fake_state.next
	env.json = { encode = cjson.encode, null = cjson.null, decode = function(text)
		local ok, value = pcall(cjson.decode, text)
		if ok then
			return value
		end
		return nil, value
	end }
	env.agent = { name = "gw", version = "test" }
	env.state = self.state
	function env.require(name)
		return self:require(name)
	end
	function env.on(filter, fn)
		table.insert(self.handlers, { filter = filter, fn = fn })
	end
end

--- An agent. `options`: `time` (of its start; default 1000), `state` (a plain table, what
-- an earlier run left).
function M.new(options)
	options = options or {}
	local time = options.time or 1000
	local self = setmetatable({
		time = time, started = time, state = fake_state.new(options.state), env = {}, modules = {}, handlers = {},
		timers = {}, timers_made = 0, published = {}, rows = {}, logged = {}, errors = {}, metrics = {},
	}, M)
	give_base(self)
	give_time(self)
	give_log(self)
	give_mqtt(self)
	give_kdb(self)
	give_metric(self)
	return self
end

-- ---- running ----

--- A module of the library, as the script would get it.
function M:require(name)
	if self.modules[name] == nil then
		local path = LIBRARY .. name:gsub("%.", "/") .. ".lua"
		self.modules[name] = assert(loadfile(path, "t", self.env))(name, path)
	end
	return self.modules[name]
end

--- Calls a handler, if there is one: all or nothing. True if it returned.
function M:call(fn, ...)
	if not fn then
		return true
	end
	local before, published, rows = fake_state.plain(self.state), #self.published, #self.rows
	local ok, message = xpcall(fn, debug.traceback, ...)
	if not ok then
		fake_state.restore(self.state, before)
		for i = #self.published, published + 1, -1 do
			self.published[i] = nil
		end
		for i = #self.rows, rows + 1, -1 do
			self.rows[i] = nil
		end
		table.insert(self.errors, message)
	end
	return ok
end

--- Loads a script file and starts it.
function M:load(path)
	assert(loadfile(path, "t", self.env))()
	self:call(self.env.on_start)
	return self
end

--- A message comes now.
function M:message(topic, payload, link)
	local msg = { link = link or "field", qos = 1, retain = false, dup = false, time = self.time }
	if self.env.on_message then
		self:call(self.env.on_message, topic, payload, msg)
	end
	for _, handler in ipairs { table.unpack(self.handlers) } do
		if matches(handler.filter, topic) then
			self:call(handler.fn, topic, payload, msg)
		end
	end
end

local function next_timer(self, limit)
	local first
	for _, timer in ipairs(self.timers) do
		local sooner = not first or timer.due < first.due or timer.due == first.due and timer.order < first.order
		if not timer.cancelled and timer.due <= limit and sooner then
			first = timer
		end
	end
	return first
end

--- Lets time pass until `time`; timers fire meanwhile.
function M:run_until(time)
	local timer = next_timer(self, time)
	while timer do
		self.time = math.max(self.time, timer.due)
		timer.due = timer.period and timer.due + timer.period
		timer.cancelled = not timer.period
		self:call(timer.fn)
		timer = next_timer(self, time)
	end
	self.time = time
end

--- Lets so many seconds pass.
function M:advance(seconds)
	self:run_until(self.time + seconds)
end

--- Gives it the messages of a file of JSON lines: topic, payload, link, at (seconds since
-- the start or, when they are many, since 1970); a line without a topic lets time pass.
function M:play(path)
	for line in io.lines(path) do
		local message = cjson.decode(line)
		self:run_until(message.at < 1e9 and self.started + message.at or message.at)
		if message.topic then
			self:message(message.topic, message.payload, message.link)
		end
	end
	return self
end

--- What was published on topics that match the filter: payloads, in order.
function M:payloads(filter)
	local payloads = {}
	for _, message in ipairs(self.published) do
		if matches(filter, message.topic) then
			payloads[#payloads + 1] = message.payload
		end
	end
	return payloads
end

--- The state as a plain table: what a restart would find.
function M:saved()
	return fake_state.plain(self.state)
end

--- Stops it, and starts a new one with its state at its time, or at `time`.
function M:restart(time)
	self:call(self.env.on_stop)
	return M.new { state = self:saved(), time = time or self.time }
end

return M
