--- The gateways: as many agents as there are, each with a directory, a queue and a log of
-- its own, all with the same rules.
local uv = require "luv"
local file = require "lib.file"
local loop = require "lib.loop"
local proc = require "lib.proc"
local lab = require "bench.lab"

local M = {}

-- As agent.lua has it: the fleet's, and what the simulation is told.
M.reconnect = { min = 1, max = 15 }

local CONFIGURATION = [[
return {
	user = "root",
	name = %q,
	links = {
		field = { url = "mqtt://127.0.0.1:%d", subscribe = { "field/%d/reading" } },
		core = { urls = { %s }, default = true, reconnect = { min = %d, max = %d }, queue = { %s } },
	},
	scripts = { %q },
	store = { path = "queue.db" },
}
]]

local fleet = {}
fleet.__index = fleet

-- The nodes' URLs, beginning with another node for each gateway.
local function urls(self, i)
	local list = {}
	for k = 0, #self.ports - 1 do
		list[#list + 1] = ('"mqtt://127.0.0.1:%d"'):format(self.ports[(i + k - 1) % #self.ports + 1])
	end
	return table.concat(list, ", ")
end

local function configure(self, gateway, queue)
	file.write(gateway.directory .. "/agent.lua", CONFIGURATION:format(gateway.name, self.field, gateway.number,
		urls(self, gateway.number), M.reconnect.min, M.reconnect.max, queue, self.rules))
end

--- Makes `n` gateways below `directory` that take readings from the broker on port `field`
-- and have the cluster's nodes on `ports`. `queue` is text: what agent.lua's `queue` has.
function M.make(directory, n, field, ports, queue)
	local self = setmetatable({ field = field, ports = ports, binary = lab.program("TIDEGATE", "build/tidegate"),
		rules = assert(uv.fs_realpath("tests/fleet/rules.lua")) }, fleet)
	for i = 1, n do
		local gateway = { number = i, name = ("gw-%03d"):format(i), directory = ("%s/gw-%03d"):format(directory, i) }
		gateway.log_path, gateway.offset, gateway.events = gateway.directory .. "/log", 0, {}
		assert(uv.fs_mkdir(gateway.directory, 448))
		self[i] = gateway
		configure(self, gateway, queue)
	end
	return self
end

--- Starts one. `env` is its environment, for as long as it is not told otherwise.
function fleet:start_one(i, env)
	local gateway = self[i]
	gateway.env = env or gateway.env
	gateway.process = proc.spawn({ self.binary, "run" }, { cwd = gateway.directory, env = gateway.env,
		stdout = gateway.log_path })
end

--- Starts all.
function fleet:start(env)
	for i = 1, #self do
		self:start_one(i, env or {})
	end
end

--- Stops all with TERM, at once.
function fleet:stop()
	for _, gateway in ipairs(self) do
		gateway.process:kill("sigterm")
	end
	for _, gateway in ipairs(self) do
		gateway.process:wait(60)
	end
end

--- kill -9 of one; whoever supervises it starts it again at once.
function fleet:kill(i)
	self[i].process:destroy()
	self:start_one(i)
end

--- Gives all another `queue`, while they run.
function fleet:reload(queue)
	for _, gateway in ipairs(self) do
		configure(self, gateway, queue)
		gateway.process:kill("sighup")
	end
end

-- Reads what the logs have to say of links coming and going.
local function catch_up(gateway)
	local lines
	lines, gateway.offset = file.lines(gateway.log_path, gateway.offset)
	for _, line in ipairs(lines) do
		local event, link, time = line:match("(%a+) (%a+) (%d+%.%d+)$")
		if event == "up" or event == "down" then
			table.insert(gateway.events, { event = event, link = link, time = tonumber(time) })
		end
	end
end

--- When each gateway's uplink came up after `since` (seconds since 1970): the first time by gateway,
-- and a sorted list of the last times of those that are up.
function fleet:ups(since)
	local firsts, times = {}, {}
	for i, gateway in ipairs(self) do
		catch_up(gateway)
		local last
		for _, event in ipairs(gateway.events) do
			if event.link == "core" and event.time > since then
				last = event.event == "up" and event.time or nil
				firsts[i] = firsts[i] or last
			end
		end
		times[#times + 1] = last
	end
	table.sort(times)
	return firsts, times
end

--- How long those whose uplink went down after `since` took to have one again, in seconds after
-- that; sorted.
function fleet:failovers(since)
	local list = {}
	for _, gateway in ipairs(self) do
		catch_up(gateway)
		local lost
		for _, event in ipairs(gateway.events) do
			if event.link == "core" and event.time > since then
				lost = lost or event.event == "down"
				if lost and event.event == "up" then
					list[#list + 1] = event.time - since
					break
				end
			end
		end
	end
	table.sort(list)
	return list
end

--- Waits until all are up, and returns what :ups() returns. An error if one ends meanwhile.
function fleet:wait_up(since, seconds)
	local firsts, times
	loop.run_until(function()
		firsts, times = self:ups(since)
		for _, gateway in ipairs(self) do
			if not gateway.process:running() then
				lab.fail("%s ended:\n%s", gateway.name, file.read(gateway.log_path):sub(-2000))
			end
		end
		lab.sleep(0.2)
		return #times == #self
	end, seconds)
	if #times < #self then
		lab.fail("%d of %d gateways have an uplink after %d seconds", #times, #self, seconds)
	end
	return firsts, times
end

local function memory_of(pid)
	local text = file.read(("/proc/%d/smaps_rollup"):format(pid))
	local function kilobytes(name)
		return (tonumber(text:match("\n" .. name .. ":%s*(%d+) kB")) or 0)
	end
	return kilobytes("Pss"), kilobytes("Rss"), kilobytes("Private_Dirty")
end

--- Lists, one value a gateway: CPU seconds so far, kilobytes of memory (`pss`: what is shared is
-- divided by those who share it; `rss`: it is counted in full; `own`: written to by this one alone),
-- bytes written to disk.
function fleet:usage()
	local usage = { cpu = {}, pss = {}, rss = {}, own = {}, written = {} }
	for i, gateway in ipairs(self) do
		local process = lab.usage(gateway.process.pid)
		usage.cpu[i], usage.written[i] = process.cpu, process.written
		usage.pss[i], usage.rss[i], usage.own[i] = memory_of(gateway.process.pid)
	end
	return usage
end

return M
