--- Specs for rules, with busted:
--
--     local spec = require "tidegate.spec"
--
--     it("tells of changes only", function()
--         local rules = spec.load "doors.lua"
--         rules:message("sensors/hall/door", "open")
--         rules:advance(60)
--         rules:message("sensors/hall/door", "open")
--         assert.equal(1, #rules.published)
--     end)
--
-- The rules run in the real program, `tidegate test`, with its sandbox, limits and queue.
-- What is said to happen is gathered; whenever a result is asked for, all of it is run,
-- from the beginning and in simulated time, which gives the same every time.
--
-- Works with Lua 5.1 and later; needs dkjson (which busted brings) or cjson.
local M = {}

--- The program: $TIDEGATE, or "tidegate" in the search path.
M.program = os.getenv("TIDEGATE") or "tidegate"

local function find_json()
	for _, name in ipairs { "dkjson", "cjson" } do
		local found, json = pcall(require, name)
		if found then
			return json
		end
	end
	error("tidegate.spec needs dkjson or cjson")
end

local json = find_json()

local units = { ms = 0.001, s = 1, m = 60, h = 3600, d = 86400 }

-- 90, "90s" or "2h" in seconds.
local function seconds(time)
	local number, unit = tostring(time):match("^([%d.]+)(%a*)$")
	local factor = units[unit] or unit == "" and 1
	if not tonumber(number) or not factor then
		error(('expected seconds or a duration such as "10m", got %s'):format(tostring(time)), 3)
	end
	return tonumber(number) * factor
end

local function quote(word)
	return "'" .. tostring(word):gsub("'", "'\\''") .. "'"
end

local digits = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"

local function digit(n)
	return digits:sub(n + 1, n + 1)
end

local function base64(bytes)
	return (bytes:gsub("..?.?", function(group)
		local a, b, c = group:byte(1, 3)
		local n = a * 65536 + (b or 0) * 256 + (c or 0)
		return digit(math.floor(n / 262144)) .. digit(math.floor(n / 4096) % 64)
			.. (b and digit(math.floor(n / 64) % 64) or "=") .. (c and digit(n % 64) or "=")
	end))
end

local function bytes_of(code)
	return (code:gsub("%s", ""):gsub("....", function(group)
		local n, padding = 0, select(2, group:gsub("=", ""))
		for i = 1, 4 do
			n = n * 64 + (digits:find(group:sub(i, i), 1, true) or 1) - 1
		end
		return string.char(math.floor(n / 65536), math.floor(n / 256) % 256, n % 256):sub(1, 3 - padding)
	end))
end

local Rules = {}

-- ---- what happens ----

local function add(self, line)
	line.at = self.time
	self._lines[#self._lines + 1] = line
	self._results = nil
	return self
end

--- A message arrives. `payload` is a string of any bytes, a number, or a table, which goes
-- as JSON. `more` may have link ("field"), qos (1), retain, dup and properties, as in
-- scripts but user properties as pairs.
function Rules:message(topic, payload, more)
	local line = {}
	for key, value in pairs(more or {}) do
		line[key] = value
	end
	line.topic = topic
	if type(payload) == "string" then
		line.payload_base64 = base64(payload)
	else
		line.payload = payload
	end
	return add(self, line)
end

--- Time passes: seconds, or "10m". Timers fire meanwhile.
function Rules:advance(time)
	self.time = self.time + seconds(time)
	return add(self, {})
end

--- A link goes down, or up again; "core" is the one rules publish on by default.
function Rules:down(link, reason)
	return add(self, { link = link or "core", event = "down", reason = reason })
end

function Rules:up(link)
	return add(self, { link = link or "core", event = "up" })
end

--- The agent is told to stop; nothing happens after that.
function Rules:stop()
	self._stopped = true
	self._results = nil
	return self
end

--- What has happened so far is not shown any more.
function Rules:forget()
	self._forgotten = #self.events + self._forgotten
	self._results = nil
	return self
end

--- The payloads of what was published on this topic, the oldest first.
function Rules:payloads(topic)
	local list = {}
	for _, message in ipairs(self.published) do
		if message.topic == topic then
			list[#list + 1] = message.payload
		end
	end
	return list
end

-- ---- running it ----

local function write_input(self)
	local path = os.tmpname()
	local file = assert(io.open(path, "w"))
	for _, line in ipairs(self._lines) do
		assert(file:write(json.encode(line), "\n"))
	end
	assert(file:close())
	return path
end

local function run_program(self)
	local input, errors = write_input(self), os.tmpname()
	local command = self._command .. " --input " .. quote(input) .. " 2>" .. quote(errors)
	local pipe = assert(io.popen(command))
	local output = pipe:read("*a")
	pipe:close()
	local file = assert(io.open(errors))
	local complaints = file:read("*a")
	file:close()
	os.remove(input)
	os.remove(errors)
	if not output:find('"event":"stop"', 1, true) then
		error(complaints ~= "" and complaints or "nothing came of " .. command, 0)
	end
	return output
end

local function decode(text)
	local event = assert(json.decode(text))
	for _, key in ipairs { "payload", "topic", "text" } do
		if event[key .. "_base64"] then
			event[key], event[key .. "_base64"] = bytes_of(event[key .. "_base64"]), nil
		end
	end
	for key, value in pairs(event) do
		if value == json.null then
			event[key] = nil
		end
	end
	return event
end

local function metric_name(event)
	local labels = {}
	for name, value in pairs(event.labels) do
		labels[#labels + 1] = ("%s=%q"):format(name, value)
	end
	table.sort(labels)
	return event.name .. (labels[1] and "{" .. table.concat(labels, ",") .. "}" or "")
end

local lists = { publish = "published", upd = "rows", log = "logs", error = "errors", drop = "dropped", sent = "sent",
	subscribe = "subscribed", unsubscribe = "unsubscribed", connect = "connected", disconnect = "disconnected" }

local function empty_results()
	local results = { all = {}, events = {}, state = {}, metrics = {} }
	for _, name in pairs(lists) do
		results[name] = {}
	end
	return results
end

-- What an event means, now or (`shown`) also for the lists.
local function take(results, event, shown)
	if event.event == "metric" then
		results.metrics[metric_name(event)] = event.value
		return
	end
	results.all[#results.all + 1] = event
	if event.event == "state" then
		results.state[event.key] = event.value
	end
	if shown then
		results.events[#results.events + 1] = event
		local list = results[lists[event.event] or ""]
		if list then
			list[#list + 1] = event
		end
	end
end

function Rules:_run()
	if self._results then
		return self._results
	end
	local results, stopped = empty_results(), false
	for text in run_program(self):gmatch("[^\n]+") do
		local event = decode(text)
		stopped = stopped or event.event == "stop"
		if not stopped or self._stopped or event.event == "metric" then
			take(results, event, #results.all >= self._forgotten)
		end
	end
	self._results = results
	return results
end

-- A handler that raised fails the spec, unless that is what it is about.
local function result(self, name)
	local results = self:_run()
	local failure = results.errors[1]
	if failure and name ~= "errors" and not self._may_fail then
		error(("%s: %s: %s"):format(failure.script or "?", failure.where or "?", failure.text), 3)
	end
	return results[name]
end

local results_of = { events = true, state = true, metrics = true }
for _, name in pairs(lists) do
	results_of[name] = true
end

local metatable = {
	__index = function(self, name)
		if results_of[name] then
			return result(self, name)
		end
		return Rules[name]
	end,
}

--- Loads a script, or several: `spec.load("doors.lua")`, `spec.load({ "a.lua", "b.lua" })`.
-- `options`:
--   config     agent.lua with links and limits
--   start      what the clock says in the beginning, UTC: "2026-03-29T00:30:00"
--   may_fail   true: handlers may raise, see `errors`; else that fails the spec
--
-- Results, each a list in order unless it says otherwise; `at` in each entry is the time:
--   published     messages: topic, payload, link, qos, retain, ttl, priority, ctx, properties
--   rows          rows for kdb+ links: table, row (by column names), link, ttl, ctx; times are texts as q writes them
--   sent, dropped what became of them: link, topic; reason
--   logs          level, text
--   errors        where, text
--   state         a table: `state` as it is now
--   metrics       a table: what was counted, 'name{label="value"}' = number
--   subscribed    link, filter, qos
--   events        everything
--- @param scripts string|string[]
function M.load(scripts, options)
	options = options or {}
	local words = { quote(M.program), "test", "--json" }
	for _, script in ipairs(type(scripts) == "table" and scripts or { scripts }) do
		words[#words + 1] = quote(script)
	end
	if options.config then
		words[#words + 1] = "-c " .. quote(options.config)
	end
	if options.start then
		words[#words + 1] = "--start " .. quote(options.start)
	end
	local self = { time = 0, _lines = {}, _forgotten = 0, _may_fail = options.may_fail, _stopped = false }
	self._command = table.concat(words, " ")
	return setmetatable(self, metatable)
end

return M
