--- What is measured of scripts: what a call costs, what many of them take, and for how
-- long one that loops holds up the others. Each returns a list of rounds.
local uv = require "luv"
local client = require "lib.client"
local file = require "lib.file"
local loop = require "lib.loop"
local proc = require "lib.proc"
local lab = require "bench.lab"

local M = {}

-- Files are made below it.
M.directory = nil

--- The CPU time that a handler call may take, in seconds: the agent's default.
M.call_limit = 0.25

-- ---- what a call costs ----

--- Nanoseconds of CPU time a call of the handlers of handler_cost.c, by their names:
-- `ours` in the agent's script host, `bare` in a lua_State alone where that was measured,
-- and how many times as much ours are.
function M.calls(rounds, calls)
	local output = proc.output(("%s %d %d"):format(file.quote(lab.program("HANDLER_COST", "build/handler_cost")),
		rounds, calls))
	local results = {}
	for name, ours, bare in output:gmatch("(%S+) (%d+) (%S+)\n") do
		local list = results[name] or {}
		results[name] = list
		ours, bare = tonumber(ours), tonumber(bare)
		list[#list + 1] = { ours = ours, bare = bare, ratio = bare and ours / bare }
	end
	return results
end

-- ---- a broker and an agent ----

local AGENT = [[
return {
	user = "root",
	name = "bench",
	links = {
		field = { url = "mqtt://127.0.0.1:%d", subscribe = { "in/#" } },
		core = { url = "mqtt://127.0.0.1:%d", default = true },
	},
	scripts = { %s },
	store = { path = %q },
}
]]

local opened = 0

-- Runs the agent with what `scripts` has, texts by name, on a broker of its own. Both links
-- lead there.
local function open(scripts)
	opened = opened + 1
	local self = { directory = ("%s/rules-%d"):format(M.directory, opened) }
	local names = {}
	assert(uv.fs_mkdir(self.directory, 448))
	for name, text in pairs(scripts) do
		file.write(self.directory .. "/" .. name, text)
		names[#names + 1] = ("%q"):format(name)
	end
	table.sort(names)
	self.broker = lab.broker(self.directory, "broker")
	file.write(self.directory .. "/agent.lua", AGENT:format(self.broker.port, self.broker.port,
		table.concat(names, ", "), self.directory .. "/queue.db"))
	self.log_path = self.directory .. "/agent.log"
	self.agent = proc.spawn({ lab.program("TIDEGATE", "build/tidegate"), "run", "-c", self.directory .. "/agent.lua" },
		{ cwd = self.directory, stdout = self.log_path })
	self.broker:wait_subscribed("bench-field", function()
		if not self.agent:running() then
			lab.fail("the agent ended; it said:\n%s", file.read(self.log_path))
		end
	end)
	return self
end

local function close(self)
	self.agent:destroy()
	self.broker.process:destroy()
	os.execute("rm -rf " .. file.quote(self.directory))
end

-- ---- what many take ----

-- The examples by name: all, or those that do without the rules library.
local function examples(plain)
	local list = {}
	for name in uv.fs_scandir_next, assert(uv.fs_scandir("scripts/examples")) do
		if name:find("%.lua$") then
			local text = file.read("scripts/examples/" .. name)
			if not plain or not text:find("%f[%w]require%f[%W]") then
				list[#list + 1] = { name = name:sub(1, -5), text = text }
			end
		end
	end
	table.sort(list, function(a, b) return a.name < b.name end)
	return list
end

-- Resident bytes of the agent with so many scripts loaded, the examples in turn.
local function resident(count, plain)
	local list, scripts = examples(plain), {}
	for i = 1, count do
		local example = list[(i - 1) % #list + 1]
		scripts[("%s_%d.lua"):format(example.name, i)] = example.text
	end
	local self = open(scripts)
	lab.sleep(1) -- the other link
	local memory = lab.usage(self.agent.pid).memory
	close(self)
	return memory
end

--- Resident bytes of the agent: with `count` scripts, with as many that do without the
-- library, with none.
function M.memory(count)
	return { { library = resident(count), plain = resident(count, true), none = resident(0) } }
end

-- ---- one that loops ----

local LOOPING = [[
on("in/loop", function()
	while true do
		pcall(function() while true do end end)
	end
end)
]]

local QUICK = [[
on("in/ping", function(_, payload)
	mqtt.pub("out/pong", payload, { qos = 0 })
end)
]]

local PING_EVERY = 0.005

-- Seconds for which a process was ready to run, but another one ran.
local function waited(pid)
	local ns = file.read(("/proc/%d/schedstat"):format(pid)):match("^%d+ (%d+)")
	return ns and ns / 1e9 or 0
end

-- Has pings go to and fro for some time; returns the greatest delay, and the greatest that
-- is left when the agent's waiting for a CPU is not counted.
local function ping(self, seconds)
	local sent, seen, before = {}, #self.client.messages, #self.client.messages
	local delay, own, since, latest = 0, 0, loop.now(), 0
	loop.run_until(function()
		local now = loop.now()
		while seen < #self.client.messages do
			seen = seen + 1
			local one = sent[tonumber(self.client.messages[seen].payload)]
			delay = math.max(delay, now - one.at)
			own = math.max(own, now - one.at - (waited(self.agent.pid) - one.waited))
		end
		if now - since < seconds and now - latest >= PING_EVERY then
			latest = now
			sent[#sent + 1] = { at = now, waited = waited(self.agent.pid) }
			self.client:post("in/ping", tostring(#sent), { qos = 0 })
		end
		return now - since >= seconds and seen - before == #sent
	end, seconds + loop.deadline)
	if seen - before < #sent then
		lab.fail("%d of %d messages came through beside a loop", seen - before, #sent)
	end
	return delay, own
end

--- The greatest delay of messages for another script while a script loops, in seconds; and
-- with nothing else to do. `own`: without the time for which the agent waited for a CPU.
function M.loops(rounds)
	local self = open { ["looping.lua"] = LOOPING, ["quick.lua"] = QUICK }
	local list = {}
	self.client = client.connect(self.broker.port)
	self.client:subscribe("out/pong", 0)
	ping(self, 1)
	for round = 1, rounds do
		local result = {}
		result.quiet, result.quiet_own = ping(self, 1)
		self.client:post("in/loop", "")
		result.delay, result.own = ping(self, 1)
		list[round] = result
	end
	self.client:close()
	close(self)
	return list
end

return M
