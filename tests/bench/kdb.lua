--- What is measured of kdb+: what its wire costs in CPU time, and how fast a backlog of rows
-- drains into a collector that only reads and answers.
local uv = require "luv"
local cjson = require "cjson"
local file = require "lib.file"
local loop = require "lib.loop"
local net = require "lib.net"
local proc = require "lib.proc"
local lab = require "bench.lab"

local M = {}

--- A list of rounds of kdb_encode.c: `copy` and `encode`, nanoseconds for four columns of 100,000
-- floats, and `ratio` of the two; `rows`, `read` and `compress`, nanoseconds a row of batches of
-- 500, and `smaller`, how many times smaller they become.
function M.encoding(rounds)
	local output = proc.output(("%s %d"):format(file.quote(lab.program("KDB_ENCODE", "build/kdb_encode")), rounds))
	local results = {}
	for copy, encode, rows, read, compress, smaller in output:gmatch(
		"vector (%d+) (%d+)\nrows (%d+)\nread (%d+)\ncompress (%d+) (%S+)\n") do
		copy, encode = tonumber(copy), tonumber(encode)
		results[#results + 1] = {
			copy = copy, encode = encode, ratio = encode / copy, rows = tonumber(rows), read = tonumber(read),
			compress = tonumber(compress), smaller = tonumber(smaller),
		}
	end
	return results
end

-- ---- a backlog ----

-- Files are made below it.
M.directory = nil

local AGENT = [[
return {
	user = "root",
	name = "gw",
	links = {
		hist = { url = "kdb://127.0.0.1:%d", batch = { rows = %d, bytes = "1MB" }, reconnect = { min = "50ms", max = "50ms" },
			tables = { sensor = { "time:timestamp", "sym:symbol", "val:float" } } },
	},
	scripts = { %s },
	store = { path = "queue.db" },
}
]]

local FILL = [[
local names, done, timer = { "pump1", "pump2", "valve", "tank" }, 0, nil
timer = every(0.001, function()
	for _ = 1, math.min(1000, %d - done) do
		done = done + 1
		assert(kdb.upd("sensor", { now(), names[done %% 4 + 1], done / 8 }))
	end
	if done == %d then
		timer:cancel()
		log.info("all are queued")
	end
end)
]]

local function agent(directory, port, batch, script)
	file.write(directory .. "/agent.lua", AGENT:format(port, batch, script or ""))
	return proc.spawn({ lab.program("TIDEGATE", "build/tidegate"), "run", "-c", directory .. "/agent.lua" },
		{ cwd = directory, stderr = directory .. "/agent.log" })
end

local function stop(process)
	process:kill("sigterm")
	process:wait()
end

local function fill(directory, rows)
	file.write(directory .. "/fill.lua", FILL:format(rows, rows))
	local process = agent(directory, net.free_port(), 500, '"fill.lua"')
	loop.eventually(function()
		return file.read(directory .. "/agent.log"):find("all are queued", 1, true)
	end, "rows are queued", 60 + rows / 5000)
	stop(process)
end

--- So many rows of (time, sym, value) are queued by a script, and then drained by another process, `batch`
-- to a call. Gives `rows`, `seconds` from the first call to the last, `cpu` of that process in seconds, all
-- told, and `memory`, its highest resident size in bytes; and `per_second`, `per_cpu_second`.
function M.drain(rows, batch)
	local directory = assert(uv.fs_mkdtemp(M.directory .. "/kdb-XXXXXX"))
	fill(directory, rows)
	local port = net.free_port()
	local sink = proc.spawn({ lab.program("KDB_SINK", "build/kdb_sink"), tostring(port), tostring(rows) },
		{ stdout = directory .. "/sink" })
	local process = agent(directory, port, batch)
	loop.run_until(function()
		return not sink:running()
	end, 60 + rows / 500)
	local usage, figures = lab.usage(process.pid), file.read(directory .. "/sink"):match("({\"rows\".-)\n")
	local memory = tonumber(file.read(("/proc/%d/status"):format(process.pid)):match("VmHWM:%s*(%d+)")) * 1024
	stop(process)
	figures = cjson.decode(figures or lab.fail("rows do not drain: see %s", directory))
	return { rows = figures.rows, seconds = figures.seconds, cpu = usage.cpu, memory = memory,
		per_second = figures.rows / figures.seconds, per_cpu_second = figures.rows / usage.cpu }
end

return M
