--- The demo's second part: the same sensors, and a kdb+ collector. `tidegate kdb listen`
-- stands for it and needs no q: it takes each batch of rows once and tells of it as JSON.
local cjson = require "cjson"
local file = require "lib.file"
local loop = require "lib.loop"
local net = require "lib.net"
local proc = require "lib.proc"
local lab = require "bench.lab"
local uplinks = require "demo.uplink"

local M = {}

local SENSORS = 12
-- Readings a second: enough that before the kill -9 the agent knows how the sensors' broker numbers messages, and takes
-- those that it delivers again for what they are.
local RATE = 1000
local LINE = 1000000 -- bits a second

local CONFIG = [[
return {
	user = "root",
	name = "demo",
	links = {
		field = { url = env("FIELD"), subscribe = { "sensors/#" } },
		hist = {
			url = "kdb://demo:secret@127.0.0.1:" .. env("COLLECTOR"),
			tables = { sensor = { "sym:symbol", "ts:timestamp", "n:long", "val:float" } },
			exactly_once = true,
			reconnect = { min = "500ms", max = "1s" },
		},
	},
	scripts = { "rules.lua" },
	store = { path = "queue.db" },
}
]]

local RULES = [[
function on_message(topic, payload, msg)
	local reading = json.decode(payload)
	kdb.upd("sensor", { sym = topic:match("sensors/([^/]+)"), ts = msg.time, n = reading.n, val = reading.v })
end
]]

-- Takes in what the listener has told since the last time; returns how many readings it has.
local function count(self)
	local lines
	lines, self.at = file.lines(self.received, self.at)
	for _, line in ipairs(lines) do
		local event = cjson.decode(line)
		for _, row in ipairs(event.answer == "::" and event.rows or {}) do
			self.rows = self.rows + 1
			self.distinct = self.distinct + (self.have[row[3]] and 0 or 1)
			self.have[row[3]] = true
			self.newest = row
		end
	end
	return self.distinct
end

local function start_agent(self)
	self.agent = proc.spawn({ lab.program("TIDEGATE", "build/tidegate"), "run", "-c", self.directory .. "/agent.lua" }, {
		stderr = self.log,
		env = { FIELD = "mqtt://127.0.0.1:" .. self.field.port, COLLECTOR = tostring(self.uplink.port) },
	})
end

local function set_the_scene(self)
	self.directory = file.directory()
	self.log, self.received = self.directory .. "/agent.log", self.directory .. "/received"
	file.write(self.directory .. "/agent.lua", CONFIG)
	file.write(self.directory .. "/rules.lua", RULES)
	self.field = lab.broker(self.directory, "kdb-field")
	local port = net.free_port()
	proc.spawn({ lab.program("TIDEGATE", "build/tidegate"), "kdb", "listen", "--json", tostring(port) },
		{ stdout = self.received })
	loop.eventually(function() return file.size(self.received) > 0 end, "kdb listen")
	self.uplink = uplinks.open(port, LINE)
	start_agent(self)
	self.field:wait_subscribed("demo-field", function()
		if not self.agent:running() then
			lab.fail("the agent ended; it said:\n%s", file.read(self.log))
		end
	end)
	self.publisher = lab.load("publish", self.directory, { port = self.field.port, topic = "sensors/%/temperature",
		count = 0, rate = RATE, sensors = SENSORS, size = 64, progress = 100 })
end

local function tell(self, color, ...)
	local seconds = math.floor(loop.now() - self.origin)
	self.screen:say(("  %s  %s"):format(self.screen:paint("dim", ("00:%02d"):format(seconds)),
		self.screen:paint(color, (...):format(select(2, ...)))))
end

local function tell_row(self)
	local row = self.newest
	tell(self, "cyan", "%d rows so far; the newest: `%s  %s  %d  %g", self.rows, row[1], row[2], row[3], row[4])
end

local function story(self)
	tell(self, "green", "readings become rows of the table sensor")
	loop.run_until(function() return count(self) > 3 * RATE end, 10)
	if not self.newest then
		lab.fail("no row arrived; the agent said:\n%s", file.read(self.log))
	end
	tell_row(self)
	self.uplink:cut()
	tell(self, "red", "the line is cut")
	lab.sleep(2)
	self.agent:kill("sigkill")
	self.agent:wait()
	start_agent(self)
	tell(self, "red", "kill -9, and started again")
	lab.sleep(1)
	self.uplink:restore()
	tell(self, "green", "the line is back")
end

--- Plays it; true if all is well. Says what it does on the screen.
function M.play(screen)
	local self = { screen = screen, origin = loop.now(), at = 0, rows = 0, distinct = 0, have = {} }
	screen:say(("\n%s: readings into a table, each once; `tidegate kdb listen` is the collector"):format(
		screen:paint("bold", "kdb+")))
	set_the_scene(self)
	story(self)
	lab.sleep(1.5)
	local produced = self.publisher:stop()
	loop.run_until(function() return count(self) >= produced.sent end, 15)
	tell_row(self)
	self.agent:kill("sigterm")
	self.agent:wait()
	count(self)
	local lost, twice = produced.sent - self.distinct, self.rows - self.distinct
	local good = lost == 0 and self.agent.code == 0
	if not good then
		screen:say(("the agent said:\n%s"):format(file.read(self.log)))
	end
	screen:say("\n" .. screen:paint(good and "green" or "red", ("%d produced, %d rows, %d lost, %d duplicated"):format(
		produced.sent, self.rows, lost, twice)))
	return good
end

return M
