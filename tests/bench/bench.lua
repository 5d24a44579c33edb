--- `make bench`: Tidegate beside what people use today, in one run on one machine.
--
-- Each measurement has two private brokers, a forwarder between them, a publisher
-- and a collector (tests/tools/load.c, which costs a third of a broker and less);
-- all files are below $TMPDIR (/tmp). Settings:
--
--	BENCH_ROUNDS=3          rounds, in each of which every forwarder has its turn
--	BENCH_COUNT=50000       messages to forward; the slow ones get a fifth
--	BENCH_DRAIN=60000       backlog to drain (above 65,535 mosquitto's bridge stalls)
--	BENCH_BACKLOG=200000    backlog to hold
--	BENCH_ONLY=...          of tidegate,bridge,paho,python
--
-- A quick run: BENCH_ROUNDS=1 BENCH_COUNT=10000 BENCH_DRAIN=10000 BENCH_BACKLOG=20000.
-- A missed bar is printed and fails nothing; only what breaks or loses messages does.
package.path = "tests/?.lua;" .. package.path

local uv = require "luv"
local file = require "lib.file"
local loop = require "lib.loop"
local proc = require "lib.proc"
local disk = require "bench.disk"
local forwarders = require "bench.forwarders"
local lab = require "bench.lab"
local tables = require "bench.tables"

local function setting(name, default)
	return math.tointeger(tonumber(os.getenv(name) or "") or default) or lab.fail("%s: expected a whole number", name)
end

local ROUNDS = setting("BENCH_ROUNDS", 3)
local COUNT = setting("BENCH_COUNT", 50000)
local DRAIN = setting("BENCH_DRAIN", 60000)
local BACKLOG = setting("BENCH_BACKLOG", 200000)
local SIZES = { 64, 1024 }
local IN_FLIGHT = "max_inflight_messages 100"
-- What the source broker's own $SYS topics keep in its store, and some more.
local STORE_EMPTY = 200

local bench = { broken = {} }

local function note(...)
	io.stderr:write((...):format(select(2, ...)), "\n")
end

-- Long enough for the slowest.
local function patience(count)
	return 60 + count / 300
end

-- ---- scenes ----

local scene = {}
scene.__index = scene

local function close(self)
	if self.process:running() then
		self.process:destroy()
	end
	for _, broker in ipairs { self.source, self.sink } do
		broker.process:destroy()
	end
	os.execute(("rm -rf %s %s"):format(file.quote(self.directory), file.quote(self.files)))
end

-- What the measurement before left to be written is not the next one's business.
local function settle()
	os.execute("sync")
	lab.sleep(1)
end

-- Two brokers and a forwarder between them that is known to work.
local function open(forwarder)
	settle()
	bench.scenes = (bench.scenes or 0) + 1
	local self = setmetatable({ forwarder = forwarder }, scene)
	self.directory = ("%s/%d"):format(bench.directory, bench.scenes)
	self.files = ("%s/%d"):format(bench.files, bench.scenes)
	assert(uv.fs_mkdir(self.directory, 448))
	uv.fs_mkdir(self.files, 448)
	self.sink = lab.broker(self.directory, "sink", { IN_FLIGHT })
	local lines = { IN_FLIGHT, "sys_interval 1" }
	local more = forwarder.source_lines and forwarder.source_lines(self.sink) or {}
	self.source = lab.broker(self.directory, "source", table.move(more, 1, #more, #lines + 1, lines))
	self.process = forwarder.start(self)
	self:probe()
	return self
end

-- Publishes until something comes through.
function scene:probe()
	local collector = self:collect { topic = "bench/probe", count = 1 }
	local deadline = loop.now() + loop.deadline
	while collector.process:running() do
		if not self.process:running() or loop.now() > deadline then
			lab.fail("%s does not forward; it said:\n%s", self.forwarder.name,
				file.read(self.directory .. "/forwarder.log"))
		end
		self:publish { topic = "bench/probe", count = 1 }:finish(1)
		lab.sleep(0.2)
	end
end

function scene:publish(options)
	options.port = self.source.port
	return lab.load("publish", self.directory, options)
end

function scene:collect(options)
	options.port = self.sink.port
	return lab.load("collect", self.directory, options):ready()
end

function scene:usage()
	return lab.usage(self.process.pid), lab.usage(self.source.process.pid)
end

-- Waits until the source broker has nothing left that the forwarder should take.
function scene:wait_taken(seconds)
	if self.process == self.source.process then
		return true
	end
	local path = self.directory .. "/store"
	local watcher = proc.spawn({ "mosquitto_sub", "-h", "127.0.0.1", "-p", tostring(self.source.port), "-t",
		"$SYS/broker/store/messages/count" }, { stdout = path })
	local since = loop.now()
	local taken = loop.run_until(function()
		local stored = tonumber(file.read(path):match("(%d+)\n$"))
		-- the first value can be a second old
		return stored and stored < STORE_EMPTY and loop.now() - since > 2
	end, seconds)
	watcher:destroy()
	return taken
end

-- ---- measurements ----

local function broke(forwarder, ...)
	local text = ("%s: %s"):format(forwarder.name, (...):format(select(2, ...)))
	note("  %s", text)
	table.insert(bench.broken, { key = forwarder.key, text = text })
end

-- Messages a second from the producer to the collector, and what they cost.
local function forwarding(forwarder, size)
	local count = math.ceil(COUNT * forwarder.share)
	local self = open(forwarder)
	local collector = self:collect { topic = "bench/data", count = count }
	local before, source_before = self:usage()
	local publisher = self:publish { topic = "bench/data", count = count, size = size }
	local published = publisher:finish(patience(count))
	local collected = published and collector:finish(patience(count))
	if not collected then
		broke(forwarder, "%d of %d messages of %d bytes arrived", collector:progress().distinct or 0, count, size)
		close(self)
		return nil
	end
	lab.sleep(1) -- what it still has to clear away is part of the price
	local after, source_after = self:usage()
	local cpu = after.cpu - before.cpu
	local both = self.process == self.source.process and cpu or cpu + source_after.cpu - source_before.cpu
	close(self)
	return {
		rate = count / (collected.last - published.first),
		producer = count / (published.last - published.first),
		cpu = cpu * 100000 / count,
		cpu_both = both * 100000 / count,
		written = (after.written - before.written) / count,
		duplicates = collected.duplicates,
		reordered = collected.reordered,
	}
end

-- The collector's broker goes away, `count` messages come, and with `drain` it
-- comes back for the first BENCH_DRAIN of them or, if `whole`, for all.
local function outage(forwarder, count, drain, whole)
	local self = open(forwarder)
	local session = { topic = "bench/data", client_id = "collector", session = true }
	self:collect(session):stop()
	self.sink:stop()
	local started = loop.now()
	local published = self:publish { topic = "bench/data", count = count }:finish(patience(count))
	if not published or not self:wait_taken(patience(count)) then
		broke(forwarder, "did not take %d messages with the sink away", count)
		close(self)
		return nil
	end
	local result = { memory = (self:usage()).memory, filled = loop.now() - started }
	if drain then
		local expected = whole and count or math.min(count, DRAIN)
		session.count = expected
		session.port = self.sink.port
		local collector = lab.load("collect", self.directory, session)
		self.sink:start()
		local collected = collector:finish(patience(expected))
		if collected then
			result.seconds = collected.last - collected.first
			result.drained = expected
		else
			broke(forwarder, "drained only %d of %d", collector:progress().distinct or 0, expected)
		end
	end
	close(self)
	return result
end

-- ---- the run ----

local function keep(results, value)
	if value then
		results[#results + 1] = value
	end
end

-- Every round begins with another one, so that none always runs first.
local function turn(list, round)
	local order = {}
	for i = 1, #list do
		order[i] = list[(i + round - 2) % #list + 1]
	end
	return order
end

local function run_forwarding(list, results)
	for _, size in ipairs(SIZES) do
		for round = 1, ROUNDS do
			for _, forwarder in ipairs(turn(list, round)) do
				local value = forwarding(forwarder, size)
				keep(results[forwarder.key][size], value)
				note("forwarding, %d bytes, round %d: %-16s %s", size, round, forwarder.name,
					value and ("%.0f messages/s"):format(value.rate) or "failed")
			end
		end
	end
end

local function run_outages(list, results)
	for round = 1, ROUNDS do
		for _, forwarder in ipairs(turn(list, round)) do
			for _, backlog in ipairs(forwarder.backlogs) do
				if round == 1 or backlog.rounds then
					local count = backlog.full and BACKLOG or DRAIN
					local value = outage(forwarder, count, backlog.drain, forwarder.key == "tidegate")
					keep(results[forwarder.key][backlog.full and "full" or "drain"], value)
					note("outage, %d messages, round %d: %-16s %s", count, round, forwarder.name,
						not value and "failed" or ("%.1f MB%s"):format(value.memory / 2 ^ 20,
						value.seconds and (", %d drained in %.2f s"):format(value.drained, value.seconds) or ""))
				end
			end
		end
	end
end

local function chosen()
	local only = os.getenv("BENCH_ONLY")
	local list, results = {}, {}
	for _, forwarder in ipairs(forwarders.all) do
		if not only or ("," .. only .. ","):find("," .. forwarder.key .. ",", 1, true) then
			list[#list + 1] = forwarder
		end
		results[forwarder.key] = { full = {}, drain = {} }
		for _, size in ipairs(SIZES) do
			results[forwarder.key][size] = {}
		end
	end
	return list, results
end

local function version_of(command, pattern)
	local pipe = io.popen(command .. " 2>&1")
	local text = pipe and pipe:read("a") or ""
	if pipe then
		pipe:close()
	end
	return text:match(pattern) or "?"
end

-- What the load program and a broker do without a forwarder: if that were near
-- what is measured, it would not be the forwarders that are measured.
local function ceiling()
	local directory = bench.directory .. "/ceiling"
	assert(uv.fs_mkdir(directory, 448))
	local self = setmetatable({ directory = directory }, scene)
	self.source = lab.broker(directory, "broker", { IN_FLIGHT })
	self.sink = self.source
	local collector = self:collect { topic = "bench/data", count = COUNT }
	local published = self:publish { topic = "bench/data", count = COUNT }:finish(patience(COUNT))
	local collected = collector:finish(patience(COUNT))
	self.source:stop()
	if not published or not collected then
		lab.fail("the load program does not get its messages through a broker")
	end
	return COUNT / (collected.last - published.first)
end

local function describe(list, files_remark)
	print(("Tidegate bench on %d cores (%s), Linux %s, %s"):format(#uv.cpu_info(), uv.cpu_info()[1].model,
		uv.os_uname().release, disk.describe(bench.directory)))
	print(("QoS 1; mosquitto %s with 100 in flight, TCP_NODELAY and unlimited queues on both sides; rounds: %d")
		:format(version_of("mosquitto -h", "version ([%d.]+)"), ROUNDS))
	for _, forwarder in ipairs(list) do
		print(("  %-17s %s"):format(forwarder.name, forwarder.about))
		if forwarder.key == "paho" and files_remark then
			print(("  %-17s %s"):format("", files_remark))
		end
	end
	print(("  %-17s %.0f messages/s: publisher and collector on one broker, 64 bytes"):format("nothing between",
		ceiling()))
	print()
	io.stdout:flush()
end

-- Only Tidegate's own losses and failures are ours to answer for.
local function verdict()
	local status = 0
	for _, broken in ipairs(bench.broken) do
		print(broken.text)
		if broken.key == "tidegate" then
			status = 1
		end
	end
	return status
end

lab.main(function()
	if DRAIN > 65535 then
		lab.fail("BENCH_DRAIN: above 65,535 mosquitto's bridge stalls")
	end
	bench.directory = file.directory()
	local list, results = chosen()
	local files_remark
	bench.files, files_remark = disk.for_small_files(bench.directory)
	describe(list, files_remark)
	local started = loop.now()
	run_forwarding(list, results)
	run_outages(list, results)
	tables.forwarding(list, results, SIZES)
	tables.outages(list, results, DRAIN, BACKLOG)
	tables.bars(results, SIZES, DRAIN, BACKLOG)
	print(("\n%.0f seconds in all"):format(loop.now() - started))
	return verdict()
end)
