--- The candidates: how each is configured and started between two brokers.
--
-- A scene has `source` and `sink` (brokers), `directory` (fresh), and
-- `files` (a fresh directory for many small files).
local uv = require "luv"
local file = require "lib.file"
local proc = require "lib.proc"
local lab = require "bench.lab"

local M = {}

local function spawn(scene, argv)
	return proc.spawn(argv, { cwd = scene.directory, stdout = scene.directory .. "/forwarder.log" })
end

local AGENT = [[
return {
	name = "bench",
	links = {
		field = { url = "mqtt://127.0.0.1:%d", subscribe = { "bench/#" } },
		core = { url = "mqtt://127.0.0.1:%d", default = true, reconnect = { min = "1s", max = "1s" },
		         queue = { max_bytes = "2GB" } },
	},
	scripts = { "forward.lua" },
	store = { path = "%s/queue.db", durability = "full", linger = 0 },
}
]]

local SCRIPT = [[
function on_message(topic, payload)
	mqtt.pub(topic, payload)
end
]]

local tidegate = {
	key = "tidegate",
	name = "Tidegate",
	about = "a one-line rule, window 100, synchronous=FULL, linger 0: committed before it is acknowledged",
	share = 1,
	backlogs = { { drain = true, rounds = true }, { full = true, drain = true } },
}

function tidegate.start(scene)
	file.write(scene.directory .. "/agent.lua", AGENT:format(scene.source.port, scene.sink.port, scene.directory))
	file.write(scene.directory .. "/forward.lua", SCRIPT)
	return spawn(scene, { lab.program("TIDEGATE", "build/tidegate"), "run", "-c", scene.directory .. "/agent.lua" })
end

-- The bridge is part of the source broker.
local bridge = {
	key = "bridge",
	name = "mosquitto bridge",
	about = "in the source broker, queue in memory without limit, persistence on (saved every 1800 s)",
	share = 1,
	backlogs = { { drain = true, rounds = true }, { full = true } },
}

function bridge.source_lines(sink)
	return { "connection core", "address 127.0.0.1:" .. sink.port, "topic bench/# out 1", "cleansession false",
		"notifications false", "restart_timeout 1" }
end

function bridge.start(scene)
	return scene.source.process
end

local paho = {
	key = "paho",
	name = "Paho C, files",
	about = "asynchronous client, window 1,000, a file per message, not synced, 65,535 at most",
	share = 0.2,
	backlogs = { { drain = true } },
}

function paho.start(scene)
	return spawn(scene, { lab.program("PAHO", "build/paho_forward"), tostring(scene.source.port),
		tostring(scene.sink.port), "bench/#", scene.files })
end

local python = {
	key = "python",
	name = "Python, SQLite",
	about = "paho-mqtt, window 100, WAL, synchronous=FULL, a commit per message",
	share = 0.2,
	backlogs = { { full = true, drain = true } },
}

function python.start(scene)
	local script = assert(uv.fs_realpath("tests/bench/python_forward.py"))
	return spawn(scene, { "/usr/bin/python3", script, tostring(scene.source.port), tostring(scene.sink.port),
		"bench/#", scene.directory .. "/queue.db" })
end

--- In the order of the tables. Of each: `key`, `name`, `about`, `start(scene)` →
-- process, `source_lines(sink)` or nil, `share` (of the number of messages, for
-- slow ones), and `backlogs`, what to try with the collector's broker away: with
-- BENCH_DRAIN messages, or with BENCH_BACKLOG (`full`); and whether to `drain` it,
-- and to do so in every one of the `rounds`.
M.all = { tidegate, bridge, paho, python }

return M
