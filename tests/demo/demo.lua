--- `make demo`: sensors publish, the uplink goes away, the agent is killed in the
-- middle of it, the uplink comes back; and then it is counted. Then the same, shorter,
-- with a kdb+ collector (demo/kdb.lua).
--
-- The figures do not come from the agent: what was produced is what the field
-- broker acknowledged to the sensors, what was delivered is what the collector
-- received. Settings: TIDEGATE (build/tidegate), LOAD (build/load), NO_COLOR.
package.path = "tests/?.lua;" .. package.path

local file = require "lib.file"
local loop = require "lib.loop"
local proc = require "lib.proc"
local lab = require "bench.lab"
local kdb = require "demo.kdb"
local screens = require "demo.screen"
local uplinks = require "demo.uplink"

local SENSORS = 12
local RATE = 400 -- readings a second, all sensors together
local LINE = 1000000 -- bits a second that the uplink carries
local FRAME = 0.1 -- seconds

local demo = { rates = { incoming = {}, outgoing = {} } }

local function start_agent()
	demo.agent = proc.spawn({ lab.program("TIDEGATE", "build/tidegate"), "run", "-c", "agent.lua.example" }, {
		stderr = demo.log,
		env = {
			TIDEGATE_NAME = "demo",
			TIDEGATE_USER = "root", -- who started it, in a directory of his
			TIDEGATE_FIELD = "mqtt://127.0.0.1:" .. demo.field.port,
			TIDEGATE_CORE = "mqtt://127.0.0.1:" .. demo.uplink.port,
			TIDEGATE_SCRIPTS = "scripts/examples/forward.lua",
			TIDEGATE_STORE = demo.directory .. "/queue.db",
			TIDEGATE_RECONNECT = "2s", -- a demo has less time than a gateway
		},
	})
end

-- ---- what is shown ----

-- Readings a second over the last second, by the clock of the program that
-- counted them.
local function rate(samples, progress, count)
	if not progress.now then
		return 0
	end
	if #samples == 0 or progress.now > samples[#samples].now then
		samples[#samples + 1] = { now = progress.now, count = count }
	end
	while #samples > 2 and samples[2].now <= progress.now - 1 do
		table.remove(samples, 1)
	end
	local elapsed = progress.now - samples[1].now
	return elapsed > 0 and math.floor((count - samples[1].count) / elapsed + 0.5) or 0
end

local function look()
	local published, collected = demo.publisher:progress(), demo.collector:progress()
	local produced, delivered = published.acknowledged or 0, collected.distinct or 0
	local running = demo.agent:running()
	local known, usage = pcall(lab.usage, demo.agent.pid)
	return {
		sensors = SENSORS,
		incoming = rate(demo.rates.incoming, published, produced),
		outgoing = rate(demo.rates.outgoing, collected, delivered),
		backlog = math.max(0, produced - delivered),
		agent = running,
		uplink = demo.uplink.up,
		memory = running and known and usage.memory or nil,
	}
end

local function expect_agent()
	if not demo.agent:running() and not demo.killed then
		lab.fail("the agent ended; it said:\n%s", file.read(demo.log))
	end
end

local function show()
	demo.scene = look()
	expect_agent()
	demo.screen:show(loop.now(), demo.scene)
end

-- Shows what happens until `fn` returns something true, for at most `seconds`.
local function watch(seconds, fn)
	local deadline = loop.now() + seconds
	repeat
		show()
		if fn and fn() then
			return true
		end
		lab.sleep(FRAME)
	until loop.now() >= deadline
	return not fn
end

local function tell(color, ...)
	show()
	demo.screen:tell(loop.now(), color, (...):format(select(2, ...)))
end

local function backlog()
	return screens.grouped(demo.scene.backlog)
end

-- ---- the story ----

local function set_the_scene()
	demo.directory = file.directory()
	demo.log = demo.directory .. "/agent.log"
	demo.field = lab.broker(demo.directory, "field")
	demo.core = lab.broker(demo.directory, "core")
	demo.uplink = uplinks.open(demo.core.port, LINE)
	demo.collector = lab.load("collect", demo.directory, { port = demo.core.port, topic = "#",
		client_id = "collector", session = true, progress = 100 }):ready()
	start_agent()
	demo.field:wait_subscribed("demo-field", expect_agent)
	demo.publisher = lab.load("publish", demo.directory, { port = demo.field.port, topic = "sensors/%/temperature",
		count = 0, rate = RATE, sensors = SENSORS, size = 64, progress = 100 })
	demo.screen = screens.open(loop.now())
	demo.screen:say(demo.screen:paint("bold", "Tidegate demo") ..
		(": %d readings a second, an uplink of 1 Mbit/s that goes away, a kill -9\n"):format(RATE))
end

local function outage()
	tell("green", "readings flow from the sensors to the collector")
	watch(5)
	demo.uplink:cut()
	tell("red", "the uplink is cut")
	watch(6)
	demo.killed = true
	demo.agent:kill("sigkill")
	demo.agent:wait()
	tell("red", "kill -9: the agent is gone, %s readings wait", backlog())
	watch(1.5)
	start_agent()
	demo.killed = false
	tell("yellow", "the agent is started again; the uplink is still down")
	watch(6)
	demo.uplink:restore()
	tell("green", "the uplink is back, %s readings wait", backlog())
end

local function drain()
	local since = loop.now()
	local drained = watch(20, function() return demo.scene.backlog <= RATE // 10 end)
	if drained then
		tell("green", "drained in %.1f seconds, reconnecting included", loop.now() - since)
	else
		tell("red", "not drained after 20 seconds, %s readings wait", backlog())
	end
	watch(3)
end

-- Stops the sensors, then gives what is on its way time to arrive.
local function count()
	local produced = demo.publisher:stop()
	loop.run_until(function() return demo.collector:progress().distinct >= produced.sent end, 10)
	lab.sleep(0.3) -- for late duplicates
	demo.agent:kill("sigterm")
	demo.agent:wait()
	local received = demo.collector:stop()
	demo.scene.backlog = produced.sent - received.distinct
	demo.screen:show(loop.now(), demo.scene)
	return produced, received
end

-- Returns the exit status.
local function verdict(produced, received)
	local lost = produced.sent - received.distinct
	local good = lost == 0 and produced.acknowledged == produced.sent and demo.agent.code == 0
	demo.screen:keep_panel()
	demo.screen:say("")
	if received.reordered > 0 then
		demo.screen:say(("%d readings out of order"):format(received.reordered))
	end
	if demo.agent.code ~= 0 then
		demo.screen:say(("the agent stopped with status %d; it said:\n%s"):format(demo.agent.code, file.read(demo.log)))
	end
	demo.screen:say(demo.screen:paint(good and "green" or "red", ("%d produced, %d delivered, %d lost, %d duplicated")
		:format(produced.sent, received.distinct, lost, received.duplicates)))
	return good and 0 or 1
end

lab.main(function()
	set_the_scene()
	outage()
	drain()
	local status = verdict(count())
	return kdb.play(demo.screen) and status or 1
end)
