--- Real traffic is recorded, and played again through the real queue in simulated time:
-- what would an outage have cost?
local cjson = require "cjson"
local file = require "lib.file"
local gateway = require "lib.gateway"
local loop = require "lib.loop"
local need = require "lib.need"
local proc = require "lib.proc"
local uv = require "luv"

local binary = assert(uv.fs_realpath(os.getenv("TIDEGATE") or "build/tidegate"), "run make first")

local function run_in(directory, ...)
	local out, err = directory .. "/out", directory .. "/err"
	os.remove(out)
	os.remove(err)
	local process = proc.spawn({ binary, ... }, { cwd = directory, stdout = out, stderr = err,
		env = { TMPDIR = directory } })
	local code = process:wait(120)
	local errors = file.read(err)
	assert(not errors:find("Sanitizer") and not errors:find("runtime error:"), errors)
	return code, file.read(out), errors
end

-- A directory with agent.lua, in which `queue` is that of the link core, and a script.
local function scene(queue, script)
	local directory = file.directory()
	file.write(directory .. "/agent.lua", ([[return {
		name = "gw",
		links = {
			field = { url = "mqtt://127.0.0.1:1", subscribe = { "#" } },
			core = { url = "mqtt://127.0.0.1:2", default = true, queue = %s },
		},
		scripts = { "rules.lua" },
		store = { path = "/nowhere/queue.db" },
	}]]):format(queue))
	file.write(directory .. "/rules.lua", script or gateway.forward)
	return directory
end

-- One message of ten bytes (topic and payload) a second, from 0 on.
local function every_second(n)
	local lines = {}
	for i = 0, n - 1 do
		lines[#lines + 1] = ('{"at":%d,"topic":"t","payload":"%09d"}\n'):format(i, i)
	end
	return table.concat(lines)
end

-- What replay --json says: of everything, and by link.
local function replay(directory, recording, ...)
	file.write(directory .. "/recording", recording)
	local code, out, err = run_in(directory, "replay", "recording", "--json", ...)
	assert.equal("", err)
	assert.equal(0, code)
	local whole, links = nil, {}
	for line in out:gmatch("[^\n]+") do
		local object = cjson.decode(line)
		whole = whole or object
		links[object.link or ""] = object
	end
	return whole, links
end

describe("tidegate replay", function()
	it("delivers everything when nothing happens", function()
		local whole, links = replay(scene "{}", every_second(60), "--rtt", "250ms")
		assert.same({ 60, 59, 59.25, 0 }, { whole.received, whole.last_message, whole.over, whole.handler_errors })
		assert.same({ 60, 600, 0.25, 0.25, 59.25 }, { links.core.delivered, links.core.delivered_bytes,
			links.core.latency_median, links.core.latency_longest, links.core.last_delivered })
		assert.same({ {}, 0, 1 }, { links.core.lost, links.core.waiting, links.core.backlog_messages })
		assert.equal(60, links.field.received)
	end)

	it("tells what an outage loses at the limit of the queue, and when", function()
		-- 10 to 29 are published meanwhile, and five have room.
		local _, links = replay(scene "{ max_messages = 5 }", every_second(60), "--down", "core=10..29.5")
		assert.same({ { reason = "overflow", messages = 15, bytes = 150, first_published = 10, last_published = 24,
			first_lost = 15, last_lost = 29 } }, links.core.lost)
		assert.same({ 45, 6, 29.5, 1 }, { links.core.delivered, -- the agent's own report is one of the six
			links.core.backlog_messages, links.core.backlog_messages_at, links.core.outages })
		assert.same({ 4.6, 0.1 }, { links.core.latency_longest, links.core.drained_within }) -- 25 waited longest
	end)

	it("tells what outlives its time to live", function()
		-- Those of 10 to 19 are older than 10 s when the link is back at 30; 20 is just so.
		local _, links = replay(scene '{ ttl = "10s" }', every_second(60), "--down", "core=10..29.5")
		assert.equal(1, #links.core.lost)
		local lost = links.core.lost[1]
		assert.same({ "expired", 10, 10, 19 }, { lost.reason, lost.messages, lost.first_published, lost.last_published })
		assert.equal(50, links.core.delivered)
	end)

	it("loses nothing where queues hold; the brokers keep it", function()
		local holds = '{ max_messages = 5, overflow = "hold" }'
		local whole, links = replay(scene(holds), every_second(60), "--down", "core=10..30")
		assert.same({ 60, {}, 0, 0 }, { links.core.delivered, links.core.lost, links.core.waiting, whole.unread })
		whole, links = replay(scene(holds), every_second(60), "--down", "core=10..")
		assert.same({ 10, {}, 45 }, { links.core.delivered, links.core.lost, whole.unread })
		assert.equal(5, links.core.waiting)
	end)

	it("sends again what was in flight when the link went down", function()
		local _, links = replay(scene "{}", every_second(30), "--rtt", "5s", "--down", "core=10..20")
		assert.same({ 30, {}, 25 }, { links.core.delivered, links.core.lost, links.core.last_delivered - 9.0 })
		assert.equal(19, links.core.latency_longest) -- that of 6, the first whose acknowledgement was cut off
	end)

	it("waits for a link that comes back when its last messages are safe", function()
		local _, links = replay(scene "{}", [[
{"at":1,"topic":"a","payload":"one"}
{"at":1.01,"link":"core","event":"down"}
{"at":1.02,"link":"field","event":"down"}
{"at":1.03,"link":"field","event":"up"}
{"at":1.03,"link":"core","event":"up"}
{"at":1.04,"topic":"a","payload":"two"}
]])
		assert.same({ 2, 2 }, { links.field.received, links.core.delivered })
	end)

	it("drains no faster than the configured rate", function()
		local _, links = replay(scene "{ rate = 2 }", every_second(40), "--down", "core=..30")
		-- 30 and what comes meanwhile, at 2 a second.
		assert(links.core.drained_within > 13 and links.core.drained_within < 16.5, links.core.drained_within)
		assert.equal(40, links.core.delivered)
	end)

	it("takes outages from the recording, and more than one", function()
		local recording = '{"link":"core","event":"down"}\n' .. every_second(10)
			.. '{"at":20,"link":"core","event":"up"}\n{"at":30,"topic":"t","payload":"x"}\n'
		local _, links = replay(scene "{}", recording, "--down", "core=25..40", "--down", "field=29..60")
		assert.same({ 11, 1, 1 }, { links.core.delivered, links.core.outages, links.field.outages })
		assert(math.abs(links.core.last_delivered - 60.1) < 0.01, links.core.last_delivered)
	end)

	it("repeats a recording to fill the time, and runs timers meanwhile", function()
		local script = [[
			function on_message(topic, payload) mqtt.pub(topic, payload) end
			every("1h", function() mqtt.pub("hour", "") end)
		]]
		local whole, links = replay(scene("{}", script), every_second(10), "--for", "1d")
		assert.same({ 86400, 86399 }, { whole.received, whole.last_message })
		assert.equal(86400 + 23, links.core.delivered)
		whole, links = replay(scene("{}", script), every_second(10), "--until", "1d")
		assert.same({ 10, 86400.1 }, { whole.received, whole.over })
		assert.equal(10 + 24, links.core.delivered)
	end)

	-- The agent's own report of the losses waits with the rest, and goes first.
	it("says it in words, always the same ones", function()
		local directory = scene "{ max_messages = 1000 }"
		file.write(directory .. "/recording", every_second(10))
		local _, out = run_in(directory, "replay", "recording", "--for", "3h", "--down", "core=1h..7199.5")
		assert.equal([[
10,800 messages until 02:59:59; all was over at 02:59:59.100

link core
  delivered  8,200 messages, 80 KB
  latency    half within 00:00:00.101, 99 % within 00:15:33.887, all within 00:16:39.600
  last       delivered at 02:59:59.100
  drained    within 00:00:01.100 of the link's return
  backlog    at most 1,001 messages at 01:59:59.500, 10 KB at 01:59:59.500
  lost       2,600 messages, 25 KB: overflow
             published from 01:00:00 to 01:43:19, given up from 01:16:40 to 01:59:59

link field
  received   10,800 messages
]], out)
		local _, again = run_in(directory, "replay", "recording", "--for", "3h", "--down", "core=1h..7199.5")
		assert.equal(out, again)
	end)

	it("counts handlers that fail and tells of the first", function()
		local directory = scene("{}", "function on_message(_, payload) error('no ' .. payload) end")
		file.write(directory .. "/recording", every_second(20))
		local code, out, err = run_in(directory, "replay", "recording")
		assert.equal(0, code)
		assert(out:find("handlers failed 20 times\n", 1, true), out)
		assert(err:find("^tidegate: rules.lua: on_message %(topic t%): rules.lua:1: no 000000000\n"), err)
	end)

	it("exits with 64 for outages that make no sense", function()
		local directory = scene "{}"
		file.write(directory .. "/recording", "")
		for outage, expected in pairs {
			["core"] = "expected LINK=FROM..TO as in core=10h..7d, got core",
			["core=1h..1m"] = "expected it to end after it began, got core=1h..1m",
			["core=x..1m"] = 'expected seconds or a duration such as "10m", got x',
			["croe=1..2"] = "there is no link croe",
		} do
			local code, _, err = run_in(directory, "replay", "recording", "--down", outage)
			assert.equal("tidegate: --down: " .. expected .. "\n", err)
			assert.equal(64, code)
		end
	end)
end)

local function lines_of(path)
	local list = {}
	for line in file.read(path):gmatch("[^\n]+") do
		list[#list + 1] = cjson.decode(line)
	end
	return list
end

describe("tidegate run --record", function()
	it("writes what arrives and how links come and go, for test and replay", function()
		local g = gateway.start { field = { version = "5" }, core = { reconnect = { min = "50ms", max = "100ms" } },
			agent = { arguments = { "--record", "traffic" } }, sensor = { version = 5 } }
		local path = g.agent.directory .. "/traffic"
		g.agent:wait_log("core: connected")
		g.sensor:publish("sensors/a", "one")
		g.sensor:publish("sensors/b", "\xff\0", { qos = 0 })
		g.collector:wait_for(2)
		g.uplink.cut()
		g.agent:wait_log("link core: lost")
		g.uplink.restore()
		g.agent:wait_log("core: connected.*core: connected")
		assert.equal(0, g.agent:stop())
		g.agent:start()
		g.agent:wait_log(("core: connected.*"):rep(3))
		g.agent:wait_log(("field: connected.*"):rep(2))
		g.sensor:publish("sensors/c", "three")
		g.collector:wait_for(3)
		assert.equal(0, g.agent:stop())
		local found, last = {}, 0
		for _, line in ipairs(lines_of(path)) do
			assert(line.at >= last and line.at > 1.7e9)
			last = line.at
			found[#found + 1] = ("%s %s"):format(line.link or "-", line.event or line.topic .. " " ..
				(line.payload or line.payload_base64) .. (line.qos == 0 and "0" or ""))
		end
		-- The links connect in any order.
		for i = 1, #found - 1 do
			if found[i] == "field up" and found[i + 1] == "core up" then
				found[i], found[i + 1] = found[i + 1], found[i]
			end
		end
		assert.same({ "- start", "core down", "field down", "core up", "field up", "field sensors/a one",
			"field sensors/b /wA=0", "core down", "core up",
			"- start", "core down", "field down", "core up", "field up", "field sensors/c three" }, found)
		local code, out, err = run_in(g.agent.directory, "test", "rules.lua", "--input", "traffic", "--json")
		assert.equal("", err)
		assert.equal(0, code)
		local published = {}
		for line in out:gmatch("[^\n]+") do
			local event = cjson.decode(line)
			if event.event == "publish" then
				published[#published + 1] = event.topic .. " " .. (event.payload or event.payload_base64)
			end
		end
		assert.same({ "sensors/a one", "sensors/b /wA=", "sensors/c three" }, published)
		code, out, err = run_in(g.agent.directory, "replay", "-c", "agent.lua", "traffic", "--json")
		assert.equal("", err)
		assert.equal(0, code)
		assert.equal(3, cjson.decode(out:match('[^\n]*"link":"core"[^\n]*')).delivered)
	end)

	it("goes on after the last whole line", function()
		local g = gateway.start { idle = true, agent = { arguments = { "--record", "traffic" } } }
		file.write(g.agent.directory .. "/traffic", '{"at":1767225600,"topic":"old"}\n{"at":1767225601,"to')
		g:start()
		g.sensor:publish("sensors/a", "one")
		g.collector:wait_for(1)
		g.agent:stop()
		local lines = lines_of(g.agent.directory .. "/traffic")
		assert.same({ "old", "start", "sensors/a" }, { lines[1].topic, lines[2].event, lines[#lines].topic })
	end)

	it("ends on a full disk, and the agent goes on", function()
		need.root()
		need.success("unshare -m true", "cannot make a mount namespace")
		local g
		g = gateway.start { idle = true, agent = {
			arguments = { "--record", "small/traffic" },
			wrap = function(argv)
				local mount = ('mkdir -p %s/small && mount -t tmpfs -o size=64k tmpfs %s/small && "$@"; status=$?; ' ..
					"cp small/traffic whole; exit $status"):format(g.agent.directory, g.agent.directory)
				return table.move(argv, 1, #argv, 7, { "unshare", "-m", "sh", "-c", mount, "sh" })
			end,
		} }
		g:start(true)
		g:publish_readings(1, 3000)
		gateway.assert_in_order(g:wait_readings(3000, 60))
		g.agent:wait_log("the recording ends: small/traffic: No space left on device")
		assert.equal(0, g.agent:stop())
		local lines = lines_of(g.agent.directory .. "/whole")
		assert(#lines > 100, #lines)
		assert.truthy(lines[#lines].topic)
	end)

	it("does without where the file cannot be written", function()
		local g = gateway.start { agent = { arguments = { "--record", "/nowhere/traffic" } } }
		g.agent:wait_log("cannot record to /nowhere/traffic: No such file or directory; nothing is recorded")
		g.sensor:publish("sensors/a", "one")
		g.collector:wait_for(1)
		local h = gateway.start { agent = { arguments = { "--record", "/dev/null" } } }
		h.agent:wait_log("cannot record to /dev/null: it is no regular file; nothing is recorded")
		loop.consistently(function() return h.agent.process:running() end, "it runs", 0.1)
	end)
end)
