--- `make losses`: what a kill, a power cut and a full disk cost Tidegate and others.
--
-- Readings of 64 bytes come at a steady rate while the uplink is down. The forwarder
-- meets with an accident and starts again; then the uplink is up. "Acknowledged" is
-- what the publisher got an acknowledgement for, "lost" what of that never arrived:
--
--	kill   SIGKILL after 5 s
--	cut    power fails after 7.5 s: ext4 with a journal, on a device that gets nothing
--	       from that moment on (fs_shutdown.c)
--	full   a disk of 4 MB fills up; then SIGKILL, and there is room
--
-- A forwarder that is not part of the sensors' broker has one in front of it that
-- goes on meanwhile, unless the row says otherwise. Prints Markdown. Settings:
--
--	LOSSES_EVENTS=...    of kill,cut,full
--	LOSSES_ONLY=...      of tidegate,strict,box,bridge,unlimited,autosave,sqlite21,sqlite21full,nanomq,paho,python
--	LOSSES_ROUNDS=1      rounds; figures become ranges
--	LOSSES_COUNT=20000   readings
--	LOSSES_RATE=2000     a second
--
-- MOSQUITTO21, MOSQUITTO21_SQLITE and NANOMQ name programs that are not where packages put
-- them. Exit status 1 if Tidegate lost anything.
package.path = "tests/?.lua;" .. package.path

local uv = require "luv"
local file = require "lib.file"
local loop = require "lib.loop"
local forwarders = require "bench.forwarders"
local lab = require "bench.lab"
local accidents = require "losses.accident"

local ROUNDS = math.tointeger(os.getenv("LOSSES_ROUNDS") or 1)
local COUNT = math.tointeger(os.getenv("LOSSES_COUNT") or 20000)
local RATE = math.tointeger(os.getenv("LOSSES_RATE") or 2000)

local TITLES = {
	kill = "SIGKILL",
	cut = "power cut",
	full = "full disk",
}

-- A row each. What is not installed has `missing`.
local function rows()
	local list = {}
	local function add(key, name, forwarder, reason)
		forwarder = forwarder or { missing = reason }
		forwarder.key, forwarder.name = key, name
		list[#list + 1] = forwarder
	end
	add("tidegate", "Tidegate", forwarders.tidegate("250ms", { ours = true }))
	add("strict", "Tidegate, linger 0", forwarders.tidegate("0s", { ours = true }))
	add("box", "Tidegate, the sensors' broker dies with it", forwarders.tidegate("250ms", { with_source = true }))
	add("bridge", "mosquitto bridge, persistence, defaults", forwarders.bridge { "max_queued_messages 1000" })
	add("unlimited", "mosquitto bridge, limits lifted", forwarders.bridge {})
	add("autosave", "mosquitto bridge, limits lifted, autosave every second",
		forwarders.bridge { "autosave_interval 1" })
	add("sqlite21", "mosquitto 2.1 bridge, SQLite plugin", forwarders.sqlite_bridge {})
	add("sqlite21full", "mosquitto 2.1 bridge, SQLite, sync full, flush 0",
		forwarders.sqlite_bridge { "plugin_opt_sync full", "plugin_opt_flush_period 0" })
	add("nanomq", "NanoMQ bridge, SQLite cache", forwarders.nanomq())
	add("paho", "Paho C, file persistence", forwarders.paho())
	add("python", "Python, SQLite FULL, a commit a message", forwarders.python())
	return list
end

local function wanted(name, word)
	local list = os.getenv(name)
	return not list or ("," .. list .. ","):find("," .. word .. ",", 1, true) ~= nil
end

-- ---- the tables ----

local function range(rounds, field, format)
	local low, high
	for _, round in ipairs(rounds) do
		local value = round[field]
		low = value and math.min(low or value, value) or low
		high = value and math.max(high or value, value) or high
	end
	if not low then
		return "-"
	end
	local from, to = format:format(low), format:format(high)
	return from == to and from or from .. " to " .. to
end

local COLUMNS = {
	{ "acknowledged", "acknowledged", "%.0f" },
	{ "lost", "lost", "%.0f" },
	{ "twice", "duplicates", "%.0f" },
	{ "out of order", "reordered", "%.0f" },
	{ "s to drain", "seconds", "%.1f" },
	{ "bytes written each", "written", "%.0f" },
}

-- What is written is only known where the disk does not fail.
local function columns_of(event)
	return table.move(COLUMNS, 1, event == "kill" and #COLUMNS or #COLUMNS - 1, 1, {})
end

local function print_row(event, forwarder, rounds)
	local cells = { forwarder.name }
	local reason = forwarder.missing or not rounds[1] and rounds.reason:gsub("%s+", " ")
	for _, column in ipairs(columns_of(event)) do
		cells[#cells + 1] = reason and "" or range(rounds, column[2], column[3])
	end
	cells[#cells + 1] = reason or rounds.remark or ""
	print("| " .. table.concat(cells, " | ") .. " |")
	io.stdout:flush()
end

local function print_head(event)
	local cells, line = { TITLES[event] }, { "---" }
	for _, column in ipairs(columns_of(event)) do
		cells[#cells + 1] = column[1]
		line[#line + 1] = "---:"
	end
	print("\n| " .. table.concat(cells, " | ") .. " | |")
	print("| " .. table.concat(line, " | ") .. " | --- |")
end

local function measure(event, forwarder, directory)
	local rounds = {}
	for _ = 1, forwarder.missing and 0 or ROUNDS do
		local figures, reason = accidents.happen(event, forwarder, directory, COUNT, RATE)
		rounds[#rounds + 1] = figures
		rounds.reason = reason
		rounds.remark = figures and figures.remark or rounds.remark
	end
	return rounds
end

lab.main(function()
	local directory = file.directory()
	local started = loop.now()
	local status = 0
	print(("%d readings of 64 bytes at %d/s with the uplink down; %s, Linux %s"):format(COUNT, RATE,
		uv.cpu_info()[1].model, uv.os_uname().release))
	for _, event in ipairs { "kill", "cut", "full" } do
		if wanted("LOSSES_EVENTS", event) then
			print_head(event)
			for _, forwarder in ipairs(rows()) do
				if wanted("LOSSES_ONLY", forwarder.key) then
					local rounds = measure(event, forwarder, directory)
					print_row(event, forwarder, rounds)
					if forwarder.ours and (not rounds[1] or range(rounds, "lost", "%.0f") ~= "0") then
						status = 1
					end
				end
			end
		end
	end
	print(("\n%.0f seconds in all"):format(loop.now() - started))
	return status
end)
