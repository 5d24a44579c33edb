--- What `make bench` prints: medians, ratios, and the bars.
--
-- `results[key][size]` lists the rounds of forwarding messages of that size,
-- `results[key].drain` and `.full` those of the outages.
local M = {}

local function grouped(number)
	local text = ("%.0f"):format(number)
	local head = (#text - 1) % 3 + 1
	return text:sub(1, head) .. text:sub(head + 1):gsub("%d%d%d", ",%0")
end

local function values(rounds, field)
	local list = {}
	for _, round in ipairs(rounds) do
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
function M.forwarding(list, results, sizes)
	for _, size in ipairs(sizes) do
		print(("Forwarding messages of %d bytes (medians; CPU seconds are for 100,000 messages, of the forwarder alone")
			:format(size))
		print("and together with its source broker; bytes are what the forwarder had written to disk)")
		print(("  %-17s %10s %15s %8s %9s %9s %9s %6s"):format("", "messages/s", "slowest-fastest", "Tidegate",
			"CPU s", "CPU s", "bytes", "dupli-"))
		print(("  %-17s %10s %15s %8s %9s %9s %9s %6s"):format("", "", "round", "is", "forwarder", "+ source",
			"/message", "cates"))
		local ours = median(results.tidegate[size], "rate")
		for _, forwarder in ipairs(list) do
			local rounds = results[forwarder.key][size]
			local rate = median(rounds, "rate")
			print(("  %-17s %10s %15s %8s %9s %9s %9s %6s"):format(forwarder.name, cell(rate, grouped),
				span(rounds, "rate"), ours and rate and forwarder.key ~= "tidegate" and
				("%.2fx"):format(ours / rate) or "", cell(median(rounds, "cpu"), "%.2f"),
				cell(median(rounds, "cpu_both"), "%.2f"), cell(median(rounds, "written"), grouped),
				cell(median(rounds, "duplicates"), grouped)))
		end
		print()
	end
end

--- What an outage costs.
function M.outages(list, results, drain, backlog)
	print(("An outage, 64 bytes (medians; resident memory of the forwarder with %s and %s messages waiting;")
		:format(grouped(drain), grouped(backlog)))
	print("seconds from the first to the last message at the collector once its broker is back)")
	print(("  %-17s %10s %10s %12s %10s %12s"):format("", "MB", "MB", "seconds for", "messages", "seconds for"))
	print(("  %-17s %10s %10s %12s %10s %12s"):format("", "at " .. grouped(drain), "at " .. grouped(backlog),
		grouped(drain), "/s", grouped(backlog)))
	for _, forwarder in ipairs(list) do
		local short, long = results[forwarder.key].drain, results[forwarder.key].full
		local timed = #short > 0 and short or long
		local seconds = M.drain_seconds(results, forwarder.key, drain)
		local whole = long[1] and long[1].drained == backlog and long[1].seconds or nil
		print(("  %-17s %10s %10s %12s %10s %12s"):format(forwarder.name, cell(median(short, "memory"), megabytes),
			cell(median(long, "memory"), megabytes), cell(seconds, "%.2f"),
			seconds and timed[1] and grouped(drain / seconds) or "-", cell(whole, "%.2f")))
	end
	print()
end

--- Seconds to drain `drain` messages, from whichever outage tells.
function M.drain_seconds(results, key, drain)
	for _, rounds in ipairs { results[key].drain, results[key].full } do
		local told = {}
		for _, round in ipairs(rounds) do
			if round.drained == drain then
				told[#told + 1] = round
			end
		end
		if #told > 0 then
			return median(told, "seconds")
		end
	end
end

local function bar(what, met, figure)
	print(("  %-58s %-18s %s"):format(what, figure, met == nil and "not measured" or met and "met" or "missed"))
end

local function at_least(what, ours, theirs, factor)
	if not ours or not theirs then
		return bar(what, nil, "")
	end
	bar(what, ours >= theirs * factor, ("%.2fx"):format(ours / theirs))
end

--- The bars that Tidegate sets itself.
function M.bars(results, sizes, drain, backlog)
	print("Bars")
	for _, size in ipairs(sizes) do
		local ours = median(results.tidegate[size], "rate")
		at_least(("at least 0.8x the rate of mosquitto's bridge, %d bytes"):format(size), ours,
			median(results.bridge[size], "rate"), 0.8)
		at_least(("at least 4x the rate of Paho with files, %d bytes"):format(size), ours,
			median(results.paho[size], "rate"), 4)
	end
	local ours, bridge = M.drain_seconds(results, "tidegate", drain), M.drain_seconds(results, "bridge", drain)
	bar(("%s drained at least as fast as by mosquitto's bridge"):format(grouped(drain)),
		ours and bridge and ours <= bridge, ours and bridge and ("%.2f s to %.2f s"):format(ours, bridge) or "")
	local low, high = median(results.tidegate.drain, "memory"), median(results.tidegate.full, "memory")
	bar(("memory flat: %s waiting add less than 1 MB, below 8 MB"):format(grouped(backlog - drain)),
		low and high and high - low < 2 ^ 20 and high < 8 * 2 ^ 20,
		low and high and ("%s to %s MB"):format(megabytes(low), megabytes(high)) or "")
end

return M
