--- A stand-in for a kdb+ collector (tests/collector): another process, with somebody
-- else's codec, that takes connections and calls as q would. What it has applied is in a
-- file; it can be killed and started again with that.
local uv = require "luv"
local cjson = require "cjson"
local cleanup = require "lib.cleanup"
local file = require "lib.file"
local loop = require "lib.loop"
local need = require "lib.need"
local net = require "lib.net"
local proc = require "lib.proc"

local M = {}

--- A null, of whatever type.
M.null = cjson.null

local collector = {}
collector.__index = collector

-- New whole lines of a file since the last time, decoded.
local function follow(path, at)
	local lines, now_at = file.lines(path, at)
	for i, line in ipairs(lines) do
		lines[i] = cjson.decode(line)
	end
	return lines, now_at
end

-- Integers as such: longs that a double does not hold come as texts.
local function exact(value, letter)
	if ("xhijpmdnuvt"):find(letter, 1, true) and value ~= M.null then
		return math.tointeger(tonumber(value)) or value
	end
	return value
end

-- A record has columns; a row is a list, with `table`, and `agent`, `instance`, `first`
-- and `last` of the call that brought it.
local function add_rows(rows, record)
	for i = 1, #(record.columns[1] or {}) do
		local row = { table = record.table, call = record.call, agent = record.agent, instance = record.instance,
			first = math.tointeger(tonumber(record.first)), last = math.tointeger(tonumber(record.last)) }
		for j, column in ipairs(record.columns) do
			row[j] = exact(column[i], record.types:sub(j, j))
		end
		rows[#rows + 1] = row
	end
end

--- Starts one. Options, all optional:
--   port            (default: a free one) or
--   unix            the path of a socket, "@name" for an abstract one
--   tls             { cert, key [, ca] }: TLS from the first byte; with `ca` clients need a certificate
--   user, password  what is accepted (default: anything)
--   refuse          true: nobody is let in
--   handshake       "silence", "http", "tls", "chatty" (a message comes with the answer), or the byte to answer
--   tables          { sensor = { "sym:symbol", ... } }: others are refused, types are checked, and `meta`
--                   answers; default: anything is taken
--   faults          a list of { ["do"] = what, conditions... }; the first that fits a call happens to it.
--                   what:   "error" (with `text`), "hang up", "say nothing", "apply, hang up", "apply, say nothing",
--                           "half a reply" (applied), "garbage" (applied), "die" (applied; kill -9 before the reply),
--                           "tell first" (an async message before the reply), "ask first" (a call of its own before
--                           it), or none of these for what is usual
--                   when:   call, table, column (its number) with value, rows (so many at least), after (lets so many
--                           pass), times (default: always)
--                   and:    wait (milliseconds before anything), compressed (the reply), long_reply (over 2000 bytes)
function M.start(options)
	need.collector()
	local self = setmetatable({ directory = file.directory(), options = {}, ids = 0 }, collector)
	for name, value in pairs(options or {}) do
		self.options[name] = value
	end
	self.options.log = self.directory .. "/applied"
	if not self.options.unix then
		self.options.port = self.options.port or net.free_port()
	end
	self.port = self.options.port
	self.applied = { rows = {}, at = 0 }
	self.seen = { events = {}, at = 0 }
	cleanup.on_failure(function()
		local events = file.read(self.directory .. "/events")
		return ("---- collector in %s ----\n%s%s"):format(self.directory, events:sub(-8000),
			file.read(self.directory .. "/errors"))
	end)
	return self:start()
end

--- Starts it again, on the same port and with what it has applied.
function collector:start()
	local before = #self:events("listening")
	file.write(self.directory .. "/options", cjson.encode(self.options))
	self.stdin = uv.new_pipe()
	local argv = { "node", "--no-deprecation", "tests/collector/collector.js", self.directory .. "/options" }
	self.process = proc.spawn(argv, {
		pipes = { self.stdin }, stdout = self.directory .. "/events", stderr = self.directory .. "/errors",
		env = { NODE_PATH = need.collector() },
	})
	local pipe = self.stdin
	cleanup.defer(function()
		net.close(pipe)
	end)
	loop.eventually(function()
		assert(self.process:running(), "the collector ended: " .. file.read(self.directory .. "/errors"))
		return #self:events("listening") > before
	end, "the collector listens")
	return self
end

--- kill -9.
function collector:kill()
	self.process:kill("sigkill")
	self.process:wait()
	net.close(self.stdin)
end

--- Ends it.
function collector:stop()
	self.process:kill("sigterm")
	self.process:wait()
	net.close(self.stdin)
end

--- Stalls it as a q process with a long query does, and lets it go on.
function collector:pause()
	self.process:kill("sigstop")
end

function collector:resume()
	self.process:kill("sigcont")
end

function collector:running()
	return self.process:running()
end

local function command(self, what)
	self.ids = self.ids + 1
	what.id = self.ids
	self.stdin:write(cjson.encode(what) .. "\n")
	loop.eventually(function()
		for _, event in ipairs(self:events("done")) do
			if event.id == what.id then
				return true
			end
		end
	end, "the collector obeys")
end

--- Changes options of M.start() from now on, for this process and the next ones;
-- `faults = {}` ends faults. Returns when it holds.
function collector:set(options)
	for name, value in pairs(options) do
		self.options[name] = value
	end
	command(self, { set = options })
end

--- Sends bytes to all who are connected.
function collector:send(bytes)
	command(self, { send = (bytes:gsub(".", function(c) return ("%02x"):format(c:byte()) end)) })
end

--- Closes all connections.
function collector:disconnect()
	command(self, { close = true })
end

--- What has happened, in order; those of one kind if it is given: "listening", "connected" (user, capability),
-- "refused", "call" (call, call_as, expression, table, types, rows, first, last, sync, did, applied, skipped, error,
-- compressed), "answer" (error: what it was answered), "badmsg" (text), "closed", "tls error".
function collector:events(kind)
	local lines
	lines, self.seen.at = follow(self.directory .. "/events", self.seen.at)
	for _, event in ipairs(lines) do
		table.insert(self.seen.events, event)
	end
	local list = {}
	for _, event in ipairs(self.seen.events) do
		if not kind or event.event == kind then
			list[#list + 1] = event
		end
	end
	return list
end

--- The calls so far; of one function if it is named.
function collector:calls(name)
	local list = {}
	for _, event in ipairs(self:events("call")) do
		if not name or event.call == name then
			list[#list + 1] = event
		end
	end
	return list
end

--- Waits until so many have connected, all told.
function collector:wait_connected(n)
	loop.eventually(function()
		return #self:events("connected") >= (n or 1)
	end, "a connection to the collector")
end

--- Waits until there were `n` calls, and returns them all. A call is told of after its rows were applied: who sees
-- the rows may have to wait for the call.
function collector:wait_calls(n, name)
	loop.eventually(function()
		return #self:calls(name) >= n
	end, n .. " calls of the collector")
	return self:calls(name)
end

--- The rows it has applied so far, over all its lives, in order; of one table if it is named. Each is a list of
-- values, with `table`, `call` and what exactly-once says as fields. Temporal values are integers, guids
-- texts with hyphens, infinities 1/0 and -1/0, nulls M.null.
function collector:rows(name)
	local lines
	lines, self.applied.at = follow(self.options.log, self.applied.at)
	for _, record in ipairs(lines) do
		add_rows(self.applied.rows, record)
	end
	if not name then
		return self.applied.rows
	end
	local list = {}
	for _, row in ipairs(self.applied.rows) do
		if row.table == name then
			list[#list + 1] = row
		end
	end
	return list
end

--- Waits until it has applied at least `n` rows; returns them all.
function collector:wait_rows(n, seconds)
	loop.run_until(function()
		return #self:rows() >= n
	end, seconds or loop.deadline)
	local rows = self:rows()
	if #rows < n then
		error(("%d of %d rows arrived"):format(#rows, n), 2)
	end
	return rows
end

return M
