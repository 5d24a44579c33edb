--- What `make bench` prints: medians, ratios, and the bars.
--
-- `results[key]` has lists of rounds, or nil where nothing was measured: `[size]` of
-- forwarding messages of that size, `drain` and `long` of outages, `slow` with slow
-- syncs, `backlog`, `flash`. What is in a round, measure.lua says. `results.rules` has
-- what rules.lua measured: `calls`, `memory`, `loops`; `results.kdb` what kdb.lua did: `encoding`, `drain`, `single`.
local M = {}

local function grouped(number)
	local text = ("%.0f"):format(number)
	local head = (#text - 1) % 3 + 1
	return text:sub(1, head) .. text:sub(head + 1):gsub("%d%d%d", ",%0")
end

local function values(rounds, field)
	local list = {}
	for _, round in ipairs(rounds or {}) do
		list[#list + 1] = round[field]
	end
	table.sort(list)
	return list
end

-- nil if there is none.
local function median(rounds, field)
	local list = values(rounds, field)
	local middle = #list // 2
	if #list % 2 == 1 then
		return list[middle + 1]
	end
	return list[1] and (list[middle] + list[middle + 1]) / 2
end

local function cell(value, format)
	return value and (type(format) == "function" and format(value) or format:format(value)) or "-"
end

local function megabytes(bytes)
	return ("%.1f"):format(bytes / 2 ^ 20)
end

local function span(rounds, field)
	local list = values(rounds, field)
	return list[1] and ("%s-%s"):format(grouped(list[1]), grouped(list[#list])) or "-"
end

--- Messages a second and their price, a table for each size.
function M.forwarding(list, results, settings)
	for _, size in ipairs(settings.sizes) do
		print(("Forwarding messages of %d bytes (medians; CPU seconds are for 100,000 messages, of the forwarder alone")
			:format(size))
		print("and together with its source broker; bytes are what the forwarder had written to disk)")
		local row = "  %-22s %10s %15s %8s %9s %9s %9s %6s"
		print(row:format("", "messages/s", "slowest-fastest", "Tidegate", "CPU s", "CPU s", "bytes", "dupli-"))
		print(row:format("", "", "round", "is", "forwarder", "+ source", "/message", "cates"))
		local ours = median(results.tidegate[size], "rate")
		for _, forwarder in ipairs(list) do
			local rounds = results[forwarder.key][size]
			if rounds then
				local rate = median(rounds, "rate")
				print(row:format(forwarder.name, cell(rate, grouped), span(rounds, "rate"),
					ours and rate and forwarder.key ~= "tidegate" and ("%.2fx"):format(ours / rate) or "",
					cell(median(rounds, "cpu"), "%.2f"), cell(median(rounds, "cpu_both"), "%.2f"),
					cell(median(rounds, "written"), grouped), cell(median(rounds, "duplicates"), grouped)))
			end
		end
		print()
	end
end

-- Seconds to drain `count` messages, the median or the least of whichever outages tell.
local function drain_seconds(results, key, count, least)
	for _, rounds in ipairs { results[key].drain or {}, results[key].long or {} } do
		local told = {}
		for _, round in ipairs(rounds) do
			if round.drained == count then
				told[#told + 1] = round
			end
		end
		if #told > 0 then
			return least and values(told, "seconds")[1] or median(told, "seconds")
		end
	end
end

--- What an outage costs.
function M.outage(list, results, settings)
	local drain, long = settings.drain, settings.long
	print(("An outage, 64 bytes (medians; resident memory of the forwarder with %s and %s messages waiting;")
		:format(grouped(drain), grouped(long)))
	print("seconds from the first to the last message at the collector once its broker is back)")
	local row = "  %-22s %10s %10s %12s %10s %12s %10s"
	print(row:format("", "MB", "MB", "seconds for", "messages", "seconds for", "messages"))
	print(row:format("", "at " .. grouped(drain), "at " .. grouped(long), grouped(drain), "/s", grouped(long), "/s"))
	for _, forwarder in ipairs(list) do
		local short = drain_seconds(results, forwarder.key, drain)
		local whole = drain_seconds(results, forwarder.key, long)
		if results[forwarder.key].drain or results[forwarder.key].long then
			print(row:format(forwarder.name, cell(median(results[forwarder.key].drain, "memory"), megabytes),
				cell(median(results[forwarder.key].long, "memory"), megabytes), cell(short, "%.2f"),
				short and grouped(drain / short) or "-", cell(whole, "%.2f"), whole and grouped(long / whole) or "-"))
		end
	end
	print()
end

--- What slow syncs cost.
function M.slow(list, results, settings)
	print(("Forwarding messages of 64 bytes, each fsync() and fdatasync() taking %d ms longer (medians)")
		:format(settings.sync_ms))
	local row = "  %-22s %10s %15s %9s"
	print(row:format("", "messages/s", "slowest-fastest", "syncs"))
	print(row:format("", "", "round", "/message"))
	for _, forwarder in ipairs(list) do
		local rounds = results[forwarder.key].slow
		if rounds then
			print(row:format(forwarder.name, cell(median(rounds, "rate"), grouped), span(rounds, "rate"),
				cell(median(rounds, "syncs"), "%.3f")))
		end
	end
	print()
end

--- A large backlog.
function M.backlog(_, results, settings)
	local round = (results.tidegate.backlog or {})[1]
	if not round then
		return
	end
	print(("Tidegate with %s messages of 64 bytes waiting, %s MB on disk"):format(grouped(settings.backlog),
		megabytes(round.on_disk)))
	print(("  resident memory %s MB, after restarts %s MB; from starting it to the first message at the collector:")
		:format(megabytes(round.memory), megabytes(round.memory_later)))
	print(("  %.3f s after a clean stop, %.3f s after kill -9"):format(round.after_stop, round.after_kill))
	print()
end

--- What the flash has to bear.
function M.flash(list, results, settings)
	print(("Bytes written a message at %d messages/s of 64 bytes, for %d s each (by the process; and what reached")
		:format(settings.rate, settings.flash))
	print("its device, ext4 with a journal, the file system's own share included)")
	local row = "  %-22s %10s %10s %12s %12s"
	print(row:format("", "uplink up", "on device", "uplink down", "on device"))
	for _, forwarder in ipairs(list) do
		local round = (results[forwarder.key].flash or {})[1]
		if round then
			print(row:format(forwarder.name, grouped(round.up), cell(round.up_device, grouped), grouped(round.down),
				cell(round.down_device, grouped)))
		end
	end
	print()
end

local HANDLERS = {
	{ "convert", "matches the topic, converts the payload, publishes" },
	{ "forward", "publishes what it was given" },
	{ "on", "the same, given to on(filter, fn)" },
	{ "details", "takes msg, too, and publishes with options" },
	{ "state", "counts in state, publishes" },
	{ "json", "decodes JSON, publishes" },
}

local function call_costs(calls, settings)
	print(("CPU time of a handler call (medians of %d rounds of %s calls; without network, queue and disk;")
		:format(settings.rounds, grouped(settings.calls)))
	print("bare: the same chunk in a lua_State of its own, without limits, and with an mqtt.pub that only copies)")
	local row = "  %-52s %10s %8s %8s %7s"
	print(row:format("", "calls/s", "ns/call", "bare", "ratio"))
	for _, handler in ipairs(HANDLERS) do
		local rounds = calls[handler[1]]
		local ours = median(rounds, "ours")
		print(row:format(handler[2], cell(ours and 1e9 / ours, grouped), cell(ours, grouped),
			cell(median(rounds, "bare"), grouped), cell(median(rounds, "ratio"), "%.2f")))
	end
	print()
end

local function milliseconds(seconds)
	return ("%.0f ms"):format(seconds * 1000)
end

local function loop_delays(loops, settings)
	local row = "  %-52s %10s %10s"
	print(("The greatest delay of messages for another script while one loops, %d times (limits.call is %s of CPU time;")
		:format(#loops, milliseconds(settings.call_limit)))
	print("own: without the time for which the process was ready to run, and others had the CPU)")
	print(row:format("", "median", "greatest"))
	for _, line in ipairs { { "delay", "as seen from outside" }, { "own", "own" },
			{ "quiet", "with nothing else to do, as seen from outside" }, { "quiet_own", "the same, own" } } do
		local list = values(loops, line[1])
		print(row:format(line[2], cell(median(loops, line[1]), milliseconds), cell(list[#list], milliseconds)))
	end
	print()
end

--- What scripts cost.
function M.rules(_, results, settings)
	local mine = results.rules
	local memory = mine.memory[1]
	call_costs(mine.calls, settings)
	print(("Resident memory with %d scripts loaded: %s MB if they are the examples in turn, %s MB if those that do")
		:format(settings.scripts, megabytes(memory.library), megabytes(memory.plain)))
	print(("without the rules library, %s MB with none"):format(megabytes(memory.none)))
	print()
	loop_delays(mine.loops, settings)
end

--- What kdb+'s wire costs.
function M.kdb(_, results)
	local rounds = results.kdb.encoding
	local drain, single = results.kdb.drain, results.kdb.single
	print("kdb+'s wire, CPU time of one core (medians)")
	print(("  four columns of 100,000 floats: %.0f us to encode, %.0f us for memcpy"):format(
		median(rounds, "encode") / 1e3, median(rounds, "copy") / 1e3))
	print(("  rows of (timestamp, symbol, float), 500 to a call: %.0f ns a row to check and to make into a call,"):format(
		median(rounds, "rows")))
	print(("  %.0f ns to read again, %.0f ns to compress, to 1/%.1f"):format(median(rounds, "read"),
		median(rounds, "compress"), median(rounds, "smaller")))
	print()
	print("Queued rows of (time, sym, value) drained into a collector that only reads and answers (medians)")
	print(("  500 to a call:  %7.0f rows/s, %7.0f rows per second of CPU time, %s MB resident at most"):format(
		median(drain, "per_second"), median(drain, "per_cpu_second"), megabytes(median(drain, "memory"))))
	print(("  one to a call:  %7.0f rows/s, %7.0f rows per second of CPU time"):format(
		median(single, "per_second"), median(single, "per_cpu_second")))
	print()
end

--- What a gateway needs of memory and flash.
function M.sizing(_, results)
	local mine = results.sizing
	print("Memory of the agent, MB: resident, and what of that is its own (the rest are pages of programs and libraries)")
	for _, entry in ipairs(mine.memory) do
		print(("  %-50s %6s %6s"):format(entry.name, megabytes(entry.resident), megabytes(entry.own)))
	end
	print("Bytes of the database for each message that waits, topics of 10 bytes")
	for _, entry in ipairs(mine.disk) do
		print(("  %5d bytes of payload: %8s, and a log of %s MB"):format(entry.size, grouped(entry.bytes),
			megabytes(entry.log)))
	end
	print("Bytes written for each message with the uplink down (by the process), and messages in a commit")
	for _, entry in ipairs(mine.written) do
		print(("  %5d bytes, %-30s %8s %6.1f"):format(entry.size, entry.about, grouped(entry.bytes), entry.together))
	end
	print()
end

-- ---- the bars ----

local whole -- everything was asked for: what was not measured is told

-- `met` is nil if it was not measured.
local function bar(what, met, figure)
	if met == nil and not whole then
		return
	end
	print(("  %-68s %-20s %s"):format(what, figure or "", met == nil and "not measured" or met and "met" or "missed"))
end

local function at_least(what, ours, theirs, factor)
	if not ours or not theirs then
		return bar(what)
	end
	bar(what, ours >= theirs * factor, ("%.2fx"):format(ours / theirs))
end

local function at_most(what, value, limit, format)
	if not value then
		return bar(what)
	end
	bar(what, value <= limit, format:format(value))
end

-- Strict: all on disk before it is acknowledged; with linger: on disk, or with the collector.
local function rate_bars(results, settings)
	for _, key in ipairs { "tidegate", "express" } do
		local name = key == "tidegate" and "strict" or "with linger"
		for _, size in ipairs(settings.sizes) do
			local ours = median(results[key][size], "rate")
			at_least(("%s: at least the rate of mosquitto's bridge in RAM, %d bytes"):format(name, size), ours,
				median(results.bridge[size], "rate"), 1)
			at_least(("%s: at least the rate of mosquitto 2.1's, synced, %d bytes"):format(name, size), ours,
				median(results.sqlite21[size], "rate"), 1)
			at_least(("%s: at least 4x the rate of Paho with files, %d bytes"):format(name, size), ours,
				median(results.paho[size], "rate"), 4)
		end
		local rate = median(results[key].slow, "rate")
		bar(("%s, syncs %d ms longer: at least 10,000 messages/s"):format(name, settings.sync_ms),
			rate and rate >= 10000, rate and grouped(rate))
		at_most(("%s, the same: at most 0.1 syncs a message"):format(name), median(results[key].slow, "syncs"), 0.1,
			"%.4f")
	end
end

-- mosquitto's bridge cannot drain the long one: its best rate for the short one is taken.
local function drain_bars(results, settings)
	local drain, long = settings.drain, settings.long
	local ours, bridge = drain_seconds(results, "tidegate", drain), drain_seconds(results, "bridge", drain)
	bar(("%s drained at least as fast as by mosquitto's bridge"):format(grouped(drain)),
		ours and bridge and ours <= bridge, ours and bridge and ("%.2f s to %.2f s"):format(ours, bridge))
	ours, bridge = drain_seconds(results, "tidegate", long), drain_seconds(results, "bridge", drain, true)
	bridge = bridge and bridge * long / drain
	bar(("%s at the rate of the bridge's best %s"):format(grouped(long), grouped(drain)),
		ours and bridge and ours <= bridge, ours and bridge and ("%.2f s to %.2f s"):format(ours, bridge))
	local low, high = median(results.tidegate.drain, "memory"), median(results.tidegate.long, "memory")
	bar(("memory flat: %s waiting add less than 1 MB, below 8 MB"):format(grouped(long - drain)),
		low and high and high - low < 2 ^ 20 and high < 8 * 2 ^ 20,
		low and high and ("%s to %s MB"):format(megabytes(low), megabytes(high)))
end

local function backlog_bars(results, settings)
	local round = (results.tidegate.backlog or {})[1]
	local memory = round and math.max(round.memory, round.memory_later) / 2 ^ 20
	local name = grouped(settings.backlog)
	at_most(("%s waiting: at most 10 MB resident"):format(name), memory, 10, "%.1f MB")
	at_most(("restart with %s, first message within 0.2 s"):format(name),
		round and math.max(round.after_stop, round.after_kill), 0.2, "%.3f s")
end

local function flash_bars(results, settings)
	local round = (results.express.flash or {})[1]
	at_most(("%d messages/s, uplink up: nothing written"):format(settings.rate), round and round.up, 0, "%.1f bytes")
	at_most(("%d messages/s, uplink down: at most 600 bytes a message"):format(settings.rate), round and round.down, 600,
		"%.0f bytes")
end

-- The clock of the limit ticks every 10 ms, and begins with the first tick of a call: 20 ms late
-- at most. 10 more are for what else is done meanwhile.
local LOOP_ALLOWANCE = 0.03

local function rules_bars(results, settings)
	local mine = results.rules
	at_most("a handler call costs at most twice the bare one", median((mine.calls or {}).convert, "ratio"), 2, "%.2fx")
	at_most(("%d scripts, the examples in turn: at most 12 MB resident"):format(settings.scripts),
		mine.memory and mine.memory[1].library / 2 ^ 20, 12, "%.1f MB")
	local own = median(mine.loops, "own")
	at_most(("a loop delays others by limits.call (and %s) at most"):format(milliseconds(LOOP_ALLOWANCE)),
		own and own * 1000, (settings.call_limit + LOOP_ALLOWANCE) * 1000, "%.0f ms")
end

local function kdb_bars(results)
	at_most("encoding 100,000 floats for kdb+: at most twice memcpy", median(results.kdb.encoding, "ratio"), 2, "%.2fx")
	local drain, single = results.kdb.drain, results.kdb.single
	local per_core = median(drain, "per_cpu_second")
	bar("kdb+ rows from disk: at least 300,000/s per core", per_core and per_core >= 300000,
		per_core and ("%.0f/s"):format(per_core))
	at_least("at least ten times as many as one at a time, in CPU time", per_core, median(single, "per_cpu_second"), 10)
	at_least("and in time", median(drain, "per_second"), median(single, "per_second"), 10)
	local memory = median(drain, "memory")
	at_most("under 10 MB resident meanwhile", memory and memory / 2 ^ 20, 10, "%.1f MB")
end

--- The bars that Tidegate sets itself.
function M.bars(results, settings)
	whole = settings.whole
	print("Bars")
	rate_bars(results, settings)
	drain_bars(results, settings)
	backlog_bars(results, settings)
	flash_bars(results, settings)
	rules_bars(results, settings)
	kdb_bars(results)
end

return M
