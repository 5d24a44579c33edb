--- `make bench`: Tidegate beside what people use today, in one run on one machine.
--
-- Each measurement has two private brokers, a forwarder between them, a publisher
-- and a collector (tests/tools/load.c, which costs a third of a broker and less);
-- all files are below $TMPDIR (/tmp). Settings:
--
--	BENCH_PARTS=...         of forwarding,outage,slow,backlog,flash,rules,kdb,sizing
--	BENCH_ONLY=...          of tidegate,express,default20,bridge,sqlite21,paho,python
--	BENCH_ROUNDS=3          rounds, in each of which every forwarder has its turn
--	BENCH_COUNT=50000       messages to forward; the slow ones get a fifth
--	BENCH_DRAIN=60000       an outage that all can stand (above 65,535 mosquitto's bridge stalls)
--	BENCH_LONG=200000       a long outage
--	BENCH_BACKLOG=1000000   messages to restart with
--	BENCH_SYNC_MS=5         how much longer a sync takes in part `slow`
--	BENCH_FLASH=60          seconds of 100 messages/s in part `flash`, with the uplink up and down
--	BENCH_CALLS=200000      calls of each handler in part `rules`, in each round
--	BENCH_SCRIPTS=100       scripts that are loaded there
--	BENCH_LOOPS=10          endless loops there
--	BENCH_ROWS=1000000      kdb+ rows that drain in part `kdb`; one at a time, a twentieth
--	BENCH_WRITTEN=10        seconds of each flow of part `sizing`
--
-- A quick run: BENCH_ROUNDS=1 BENCH_COUNT=10000 BENCH_DRAIN=10000 BENCH_LONG=20000 BENCH_BACKLOG=50000 BENCH_FLASH=5
-- BENCH_CALLS=20000 BENCH_LOOPS=3 BENCH_ROWS=50000 BENCH_WRITTEN=2.
-- A missed bar is printed and fails nothing; only what breaks or loses messages does.
package.path = "tests/?.lua;" .. package.path

local uv = require "luv"
local file = require "lib.file"
local loop = require "lib.loop"
local disk = require "bench.disk"
local forwarders = require "bench.forwarders"
local kdb = require "bench.kdb"
local lab = require "bench.lab"
local measure = require "bench.measure"
local rules = require "bench.rules"
local sizing = require "bench.sizing"
local tables = require "bench.tables"

local function setting(name, default)
	return math.tointeger(tonumber(os.getenv(name) or "") or default) or lab.fail("%s: expected a whole number", name)
end

local settings = {
	rounds = setting("BENCH_ROUNDS", 3),
	count = setting("BENCH_COUNT", 50000),
	drain = setting("BENCH_DRAIN", 60000),
	long = setting("BENCH_LONG", 200000),
	backlog = setting("BENCH_BACKLOG", 1000000),
	sync_ms = setting("BENCH_SYNC_MS", 5),
	flash = setting("BENCH_FLASH", 60),
	calls = setting("BENCH_CALLS", 200000),
	scripts = setting("BENCH_SCRIPTS", 100),
	loops = setting("BENCH_LOOPS", 10),
	rows = setting("BENCH_ROWS", 1000000),
	written = setting("BENCH_WRITTEN", 10),
	call_limit = rules.call_limit,
	rate = 100,
	sizes = { 64, 1024 },
	whole = not os.getenv("BENCH_PARTS") and not os.getenv("BENCH_ONLY"),
}

-- `long`: what to do with BENCH_LONG messages, "drain" or "hold" them. `slow_share`: of
-- BENCH_COUNT in part `slow`.
local candidates = {
	forwarders.tidegate("0s", {
		key = "tidegate",
		about = "a one-line rule, window 100, synchronous=FULL, linger 0: committed before it is sent or acknowledged",
		drain = true, long = "drain", slow_share = 1,
	}),
	forwarders.tidegate("250ms", {
		key = "express",
		name = "Tidegate, linger",
		about = "the same with the default linger of 250 ms: written to disk if the collector is slower than that",
		slow_share = 1,
	}),
	forwarders.tidegate("0s", {
		key = "default20",
		name = "Tidegate, 20 in flight",
		about = "as the first, but mosquitto's default of 20 in flight instead of 100",
		share = 0, slow_share = 1, in_flight = 20,
	}),
	forwarders.bridge({}, {
		key = "bridge",
		about = "in the source broker, queue in memory without limit, persistence on (saved every 1800 s)",
		drain = true, long = "hold", slow_share = 1,
	}),
	forwarders.sqlite_bridge({ "plugin_opt_sync full", "plugin_opt_flush_period 0" }, {
		key = "sqlite21",
		about = "its bridge; SQLite plugin with sync full, flush period 0",
		share = 1, slow_share = 0.2,
	}) or { key = "sqlite21" },
	forwarders.paho {
		key = "paho",
		about = "asynchronous client, window 1,000, a file per message, not synced, 65,535 at most",
		drain = true, many_files = true,
	},
	forwarders.python {
		key = "python",
		about = "paho-mqtt, window 100, WAL, synchronous=FULL, a commit per message",
		drain = true, slow_share = 0.01,
	},
}

local broken, results = {}, { rules = {}, kdb = {} }

local function note(...)
	io.stderr:write((...):format(select(2, ...)), "\n")
end

-- Is `word` in the list that the environment gives? Without one, all are.
local function wanted(name, word)
	local list = os.getenv(name)
	return not list or ("," .. list .. ","):find("," .. word .. ",", 1, true) ~= nil
end

-- Files a measurement away, or what went wrong with it.
local function keep(forwarder, what, value, err)
	local list = results[forwarder.key][what] or {}
	results[forwarder.key][what] = list
	list[#list + 1] = value
	if err then
		local text = ("%s: %s"):format(forwarder.name, err)
		note("  %s", text)
		table.insert(broken, { key = forwarder.key, text = text })
	end
	return value
end

-- Every round begins with another one, so that none always runs first.
local function turn(list, round)
	local order = {}
	for i = 1, #list do
		order[i] = list[(i + round - 2) % #list + 1]
	end
	return order
end

-- ---- the parts ----

local parts = {}

local function forwarding(forwarder, size, round)
	if forwarder.share > 0 then
		local value = keep(forwarder, size, measure.forwarding(forwarder, settings.count, size))
		note("forwarding, %d bytes, round %d: %-17s %s", size, round, forwarder.name,
			value and ("%.0f messages/s"):format(value.rate) or "failed")
	end
end

function parts.forwarding(list)
	for _, size in ipairs(settings.sizes) do
		for round = 1, settings.rounds do
			for _, forwarder in ipairs(turn(list, round)) do
				forwarding(forwarder, size, round)
			end
		end
	end
end

local function outage(forwarder, what, round, count, drain)
	local value = keep(forwarder, what, measure.outage(forwarder, count, drain))
	note("outage, %d messages, round %d: %-17s %s", count, round, forwarder.name,
		not value and "failed" or ("%.1f MB%s"):format(value.memory / 2 ^ 20,
		value.seconds and (", %d drained in %.2f s"):format(value.drained, value.seconds) or ""))
end

function parts.outage(list)
	for round = 1, settings.rounds do
		for _, forwarder in ipairs(turn(list, round)) do
			-- the bars are about Tidegate and the bridge
			local again = round == 1 or forwarder.key == "tidegate" or forwarder.key == "bridge"
			if forwarder.drain and again then
				outage(forwarder, "drain", round, settings.drain, settings.drain)
			end
			if forwarder.long and (round == 1 or forwarder.key == "tidegate") then
				local drain = forwarder.key == "tidegate" and settings.long or settings.drain
				outage(forwarder, "long", round, settings.long, forwarder.long == "drain" and drain or 0)
			end
		end
	end
end

function parts.slow(list)
	for round = 1, settings.rounds do
		for _, forwarder in ipairs(turn(list, round)) do
			if forwarder.slow_share then
				local value = keep(forwarder, "slow", measure.slow_sync(forwarder, settings.count, settings.sync_ms))
				note("syncs of %d ms, round %d: %-17s %s", settings.sync_ms, round, forwarder.name, value and
					("%.0f messages/s, %.3f syncs a message"):format(value.rate, value.syncs) or "failed")
			end
		end
	end
end

function parts.backlog(list)
	for _, forwarder in ipairs(list) do
		if forwarder.key == "tidegate" then
			local value = keep(forwarder, "backlog", measure.backlog(forwarder, settings.backlog))
			note("backlog of %d: %s", settings.backlog, value and ("%.1f MB"):format(value.memory / 2 ^ 20) or "failed")
		end
	end
end

function parts.flash(list)
	for _, forwarder in ipairs(list) do
		if forwarder.key == "express" then
			local value = keep(forwarder, "flash", measure.flash(forwarder, settings.rate, settings.flash))
			note("steady %d messages/s: %-17s %s", settings.rate, forwarder.name,
				value and ("%.0f bytes a message up, %.0f down"):format(value.up, value.down) or "failed")
		end
	end
end

-- Tidegate alone.
function parts.rules()
	local mine = results.rules
	mine.calls = rules.calls(settings.rounds, settings.calls)
	note("%d rounds of %d calls of each handler", settings.rounds, settings.calls)
	mine.memory = rules.memory(settings.scripts)
	note("%d scripts: %.1f MB", settings.scripts, mine.memory[1].library / 2 ^ 20)
	mine.loops = rules.loops(settings.loops)
	note("%d loops", settings.loops)
end

-- Tidegate alone.
function parts.kdb()
	results.kdb.encoding = kdb.encoding(settings.rounds)
	note("%d rounds of encoding for kdb+", settings.rounds)
	results.kdb.drain, results.kdb.single = {}, {}
	for round = 1, settings.rounds do
		results.kdb.drain[round] = kdb.drain(settings.rows, 500)
		results.kdb.single[round] = kdb.drain(settings.rows // 20, 1)
		note("drained %d rows in %.1f s, and one at a time %d in %.1f s", settings.rows, results.kdb.drain[round].seconds,
			settings.rows // 20, results.kdb.single[round].seconds)
	end
end

-- Tidegate alone.
function parts.sizing()
	results.sizing = { memory = sizing.memory(), disk = sizing.disk(settings.count),
		written = sizing.written(settings.written) }
	note("sizes of %d configurations", #results.sizing.memory)
end

-- ---- the run ----

local function chosen()
	local list = {}
	for _, forwarder in ipairs(candidates) do
		results[forwarder.key] = {}
		if forwarder.name and wanted("BENCH_ONLY", forwarder.key) then
			list[#list + 1] = forwarder
		end
	end
	return list
end

local function version_of(command, pattern)
	local pipe = io.popen(command .. " 2>&1")
	local text = pipe and pipe:read("a") or ""
	if pipe then
		pipe:close()
	end
	return text:match(pattern) or "?"
end

local function describe(list, files_remark)
	print(("Tidegate bench on %d cores (%s), Linux %s, %s"):format(#uv.cpu_info(), uv.cpu_info()[1].model,
		uv.os_uname().release, disk.describe(measure.directory)))
	print(("QoS 1; mosquitto %s with 100 in flight, TCP_NODELAY and unlimited queues on both sides; rounds: %d")
		:format(version_of("mosquitto -h", "version ([%d.]+)"), settings.rounds))
	for _, forwarder in ipairs(list) do
		print(("  %-22s %s"):format(forwarder.name, forwarder.about))
		if forwarder.key == "paho" and files_remark then
			print(("  %-22s %s"):format("", files_remark))
		end
	end
	print(("  %-22s %.0f messages/s: publisher and collector on one broker, 64 bytes"):format("nothing between",
		measure.ceiling(settings.count)))
	print()
	io.stdout:flush()
end

-- Only Tidegate's own losses and failures are ours to answer for.
local function verdict()
	local status = 0
	for _, failure in ipairs(broken) do
		print(failure.text)
		if failure.key == "tidegate" or failure.key == "express" then
			status = 1
		end
	end
	return status
end

lab.main(function()
	if settings.drain > 65535 then
		lab.fail("BENCH_DRAIN: above 65,535 mosquitto's bridge stalls")
	end
	local list = chosen()
	local files_remark
	measure.directory = file.directory()
	measure.files, files_remark = disk.for_small_files(measure.directory)
	rules.directory = measure.directory
	kdb.directory = measure.directory
	sizing.directory = measure.directory
	describe(list, files_remark)
	local started = loop.now()
	for _, part in ipairs { "forwarding", "outage", "slow", "backlog", "flash", "rules", "kdb", "sizing" } do
		if wanted("BENCH_PARTS", part) then
			parts[part](list)
			tables[part](list, results, settings)
		end
	end
	tables.bars(results, settings)
	print(("\n%.0f seconds in all"):format(loop.now() - started))
	return verdict()
end)
