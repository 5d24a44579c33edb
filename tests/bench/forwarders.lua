--- The candidates: how each is configured and started between two brokers.
--
-- A scene (see scene.lua) has `source` and `sink` (brokers), `directory` (fresh),
-- `store` (a fresh directory for what must last) and `env`. A forwarder has
--   key, name, about       what it is called, and how it is set up
--   start(scene)           -> process; or else, if it is the source broker itself,
--   source(scene, lines)   -> broker, with mosquitto's configuration `lines`
--   share                  of the number of messages, for slow ones
local uv = require "luv"
local file = require "lib.file"
local proc = require "lib.proc"
local lab = require "bench.lab"

local M = {}

local function spawn(scene, argv)
	return proc.spawn(argv, { cwd = scene.directory, stdout = scene.directory .. "/forwarder.log", env = scene.env })
end

local function with(base, fields)
	for name, value in pairs(fields or {}) do
		base[name] = value
	end
	return base
end

-- ---- Tidegate ----

local AGENT = [[
return {
	user = "root",
	name = "bench",
	links = {
		field = { url = "mqtt://127.0.0.1:%d", subscribe = { "bench/#" }, reconnect = { min = "100ms", max = "1s" } },
		core = { url = "mqtt://127.0.0.1:%d", default = true, reconnect = { min = "1s", max = "1s" },
		         queue = { max_bytes = "2GB" } },
	},
	scripts = { "forward.lua" },
	store = { path = "%s/queue.db", durability = "full", linger = %q },
}
]]

local SCRIPT = [[
function on_message(topic, payload)
	mqtt.pub(topic, payload)
end
]]

--- Tidegate with a one-line rule. `linger` "0s": each reading is committed before it
-- is sent or acknowledged.
function M.tidegate(linger, fields)
	return with({
		name = "Tidegate",
		share = 1,
		start = function(scene)
			file.write(scene.directory .. "/agent.lua", AGENT:format(scene.source.port, scene.sink.port, scene.store,
				linger))
			file.write(scene.directory .. "/forward.lua", SCRIPT)
			return spawn(scene, { lab.program("TIDEGATE", "build/tidegate"), "run", "-c",
				scene.directory .. "/agent.lua" })
		end,
	}, fields)
end

-- ---- mosquitto's bridge: a part of the source broker ----

--- `lines` are added to its configuration. Fields may also be `program` and
-- `plugin`, see lab.broker().
function M.bridge(lines, fields)
	fields = fields or {}
	return with({
		name = "mosquitto bridge",
		share = 1,
		source = function(scene, scene_lines)
			local all = table.move(scene_lines, 1, #scene_lines, 1, {})
			table.move(lines, 1, #lines, #all + 1, all)
			table.move({ "connection core", "address 127.0.0.1:" .. scene.sink.port, "topic bench/# out 1",
				"cleansession false", "notifications false", "restart_timeout 1" }, 1, 6, #all + 1, all)
			return lab.broker(scene.directory, "source", all, { program = fields.program,
				plugin = fields.plugin, store = scene.store, env = scene.env })
		end,
	}, fields)
end

--- The broker of mosquitto 2.1 and its SQLite plugin, if they are there: nil
-- otherwise, and why. $MOSQUITTO21 and $MOSQUITTO21_SQLITE name other places.
function M.sqlite_bridge(plugin_options, fields)
	local program = os.getenv("MOSQUITTO21") or "/usr/sbin/mosquitto"
	local plugin = os.getenv("MOSQUITTO21_SQLITE")
	for _, directory in ipairs { "/usr/lib", "/usr/lib/x86_64-linux-gnu", "/usr/lib/aarch64-linux-gnu",
			"/usr/local/lib" } do
		local path = directory .. "/mosquitto_persist_sqlite.so"
		plugin = plugin or file.exists(path) and path
	end
	if not plugin or not file.exists(program) or not file.exists(plugin) then
		return nil, "not installed (MOSQUITTO21 and MOSQUITTO21_SQLITE name the broker and the plugin)"
	end
	return M.bridge({}, with({
		name = "mosquitto 2.1, SQLite",
		program = program,
		plugin = table.move(plugin_options, 1, #plugin_options, 2, { "plugin " .. plugin }),
	}, fields))
end

-- ---- NanoMQ ----

local NANOMQ = [[
listeners.tcp { bind = "127.0.0.1:%d" }
log { to = [console], level = warn }
bridges.mqtt.core {
	server = "mqtt-tcp://127.0.0.1:%d"
	proto_ver = 4
	clientid = "nanomq-core"
	keepalive = 60s
	backoff_max = 1s
	clean_start = false
	forwards = [{ remote_topic = "", local_topic = "bench/#", qos = 1 }]
	max_parallel_processes = 2
	max_send_queue_len = 32767
	max_recv_queue_len = 128
}
bridges.mqtt.cache {
	disk_cache_size = 1000000
	mounted_file_path = "%s/"
	flush_mem_threshold = 100
	resend_interval = 5000
}
]]

--- NanoMQ with its SQLite cache, if it is there: nil otherwise, and why. $NANOMQ
-- names another place.
function M.nanomq(fields)
	local program = os.getenv("NANOMQ") or "/usr/bin/nanomq"
	if not file.exists(program) then
		return nil, "not installed (NANOMQ names the program)"
	end
	return with({
		name = "NanoMQ, SQLite cache",
		share = 1,
		source = function(scene)
			return lab.server(scene.directory, "source", {
				config = function(port)
					return NANOMQ:format(port, scene.sink.port, scene.store)
				end,
				argv = function(config)
					return { program, "start", "--conf", config }
				end,
				running = "started successfully",
				env = scene.env,
			})
		end,
	}, fields)
end

-- ---- written by hand ----

--- On Paho's asynchronous C client with its file persistence.
function M.paho(fields)
	return with({
		name = "Paho C, files",
		share = 0.2,
		start = function(scene)
			return spawn(scene, { lab.program("PAHO", "build/paho_forward"), tostring(scene.source.port),
				tostring(scene.sink.port), "bench/#", scene.store })
		end,
	}, fields)
end

--- In Python, with paho-mqtt and SQLite.
function M.python(fields)
	return with({
		name = "Python, SQLite",
		share = 0.2,
		start = function(scene)
			local script = assert(uv.fs_realpath("tests/bench/python_forward.py"))
			return spawn(scene, { "/usr/bin/python3", script, tostring(scene.source.port),
				tostring(scene.sink.port), "bench/#", scene.store .. "/queue.db" })
		end,
	}, fields)
end

return M
