--- What the collectors have received, as it comes: two of them share one queue.
local uv = require "luv"
local file = require "lib.file"
local proc = require "lib.proc"
local lab = require "bench.lab"

local M = {}

local collection = {}
collection.__index = collection

--- Starts `n` collectors, each connected to another node of the cluster.
function M.start(directory, n, queue, ports)
	local self = setmetatable({ files = {}, arrived = {}, sent = {}, order = {}, received = 0, twice = 0,
		summaries = 0, whole = 0 }, collection)
	for i = 1, n do
		local path = ("%s/collector%d"):format(directory, i)
		local argv = { lab.program("COLLECTOR", "build/fleet_collector"), queue, path }
		for k = 0, #ports - 1 do
			argv[#argv + 1] = tostring(ports[(i + k - 1) % #ports + 1])
		end
		self.files[i] = { path = path, offset = 0, count = 0, log = path .. ".log",
			process = proc.spawn(argv, { stdout = path .. ".log" }) }
	end
	return self
end

--- True once all have connected.
function collection:ready()
	for _, one in ipairs(self.files) do
		if not file.read(one.log):find("connected", 1, true) then
			return false
		end
	end
	return true
end

--- How many are connected to the node whose AMQP port that is.
function collection:on(port)
	local count = 0
	for _, one in ipairs(self.files) do
		local latest = file.read(one.log):match(".*connected to (%d+)\n")
		count = count + (latest == tostring(port) and 1 or 0)
	end
	return count
end

local function take(self, one, line)
	local n, sent, arrived = line:match("^(%d+) (%d+) (%d+)$")
	n = math.tointeger(n)
	one.count = one.count + 1
	self.received = self.received + 1
	if n == 0 then
		self.summaries = self.summaries + 1
	elseif self.arrived[n] then
		self.twice = self.twice + 1
	else
		self.arrived[n], self.sent[n] = arrived / 1e6, sent / 1e6
		self.order[#self.order + 1] = n
	end
end

--- Reads what is new; returns how many different readings there are. All up to number `whole` have
-- arrived then.
function collection:catch_up()
	for _, one in ipairs(self.files) do
		local lines
		lines, one.offset = file.lines(one.path, one.offset)
		for _, line in ipairs(lines) do
			take(self, one, line)
		end
	end
	while self.arrived[self.whole + 1] do
		self.whole = self.whole + 1
	end
	return #self.order
end

--- How many readings the first, the second ... has taken.
function collection:shares()
	local shares = {}
	for i, one in ipairs(self.files) do
		shares[i] = one.count
	end
	return shares
end

--- The readings that arrived after `since` and not after `till`, in order of arrival: a list of
-- { n, sent, arrived }, times in seconds since 1970.
function collection:between(since, till)
	local list = {}
	for _, n in ipairs(self.order) do
		local arrived = self.arrived[n]
		if arrived > since and arrived <= till then
			list[#list + 1] = { n = n, sent = self.sent[n], arrived = arrived }
		end
	end
	table.sort(list, function(a, b) return a.arrived < b.arrived end)
	return list
end

--- Seconds since 1970.
function M.now()
	local seconds, microseconds = uv.gettimeofday()
	return seconds + microseconds / 1e6
end

return M
