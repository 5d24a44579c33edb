--- What a script keeps in `state`: across restarts, kills and full disks, and always what
-- fits what it published.
local cjson = require "cjson"
local client = require "lib.client"
local figures = require "torture.figures"
local gateway = require "lib.gateway"
local loop = require "lib.loop"
local need = require "lib.need"
local scenes = require "torture.scene"

-- Counts, publishes the count, and keeps a sum in a nested table; raises when told to,
-- after it changed all of that.
local counter = [[
	local function change(topic, payload)
		local sensor = state[topic] or {}
		state[topic] = sensor
		state.count = (state.count or 0) + 1
		sensor.last = payload
		sensor.sum = (sensor.sum or 0) + (tonumber(payload:match("%d+")) or 0)
	end

	function on_message(topic, payload)
		change(topic, payload)
		mqtt.pub("counts", tostring(state.count))
		if payload == "raise" then
			error("as told")
		end
	end

	function on_stop()
		log.info("stops with %s", json.encode(state))
	end
]]

-- What the agent said of its state when it was stopped last.
local function stopped_with(agent)
	agent:stop()
	local text
	for found in agent:log():gmatch("stops with ([^\n]+)") do
		text = found
	end
	assert(text, "the agent tells its state when it stops")
	return cjson.decode(text)
end

local function counts(g)
	local list = {}
	for _, message in ipairs(g.collector.messages) do
		if message.topic == "counts" then
			list[#list + 1] = math.tointeger(message.payload)
		end
	end
	return list
end

local function wait_count(g, n, seconds)
	loop.eventually(function()
		local list = counts(g)
		return list[#list] == n
	end, "count " .. n .. " arrives", seconds)
end

-- The first line of that kind of `tidegate status --json`, and all of them as text.
local function status(agent, kind)
	local code, out, err = agent:command("status", "--json")
	assert(code == 0, err)
	for text in out:gmatch("[^\n]+") do
		local line = cjson.decode(text)
		if line.kind == kind then
			return line, out
		end
	end
end

describe("state", function()
	it("survives a restart", function()
		local g = gateway.start { script = counter }
		g:publish_readings(1, 30)
		wait_count(g, 30)
		assert.same({ count = 30, ["sensors/a"] = { last = "r30", sum = 465 } }, stopped_with(g.agent))
		g:start(true)
		g:publish_readings(31, 40)
		wait_count(g, 40)
		assert.same({ count = 40, ["sensors/a"] = { last = "r40", sum = 820 } }, stopped_with(g.agent))
	end)

	it("is on disk before the message is acknowledged", function()
		local g = gateway.start { script = counter, config = { store = { linger = "100ms" } } }
		g:publish_readings(1, 5)
		g:await_taken()
		g.agent:kill()
		g:start(true)
		g.sensor:publish("sensors/b", "x", { qos = 1 })
		wait_count(g, 6)
	end)

	it("is as it was after a handler that raises", function()
		local g = gateway.start { script = counter }
		g:publish_readings(1, 3)
		g.sensor:publish("sensors/a", "raise", { qos = 1 })
		g.sensor:publish("sensors/new", "raise", { qos = 1 })
		g:publish_readings(4, 4)
		wait_count(g, 4)
		assert.same({ 1, 2, 3, 4 }, counts(g))
		assert.same({ count = 4, ["sensors/a"] = { last = "r4", sum = 10 } }, stopped_with(g.agent))
		g:start(true)
		assert.same({ count = 4, ["sensors/a"] = { last = "r4", sum = 10 } }, stopped_with(g.agent))
	end)

	it("is changed by handlers without a message, too", function()
		local g = gateway.start { config = { store = { linger = "50ms" } }, script = [[
			state.loads = (state.loads or 0) + 1
			function on_start() state.starts = (state.starts or 0) + 1 end
			function on_connect(link) state[link] = (state[link] or 0) + 1 end
			function on_message(topic, payload)
				if payload == "r1" then mqtt.pub("t", payload, { ctx = { n = payload } }) else state.last = payload end
			end
			function on_sent(token, link, ctx) state.sent = ctx.n log.info("sent") end
			after(0.1, function() state.timer = "fired" log.info("timer") end)
			function on_stop() log.info("stops with %s", json.encode(state)) end
		]] }
		g:publish_readings(1, 1)
		g.agent:wait_log("timer")
		g.agent:wait_log("rules.lua: sent")
		g:publish_readings(2, 2)
		g:await_taken() -- on disk, with all before
		g.agent:kill()
		g:start(true)
		g.agent:wait_log("link core: connected.-link core: connected")
		g.agent:wait_log("link field: connected.-link field: connected")
		local state = stopped_with(g.agent)
		assert.same({ loads = 2, starts = 2, core = 2, field = 2, sent = "r1", timer = "fired", last = "r2" }, state)
	end)

	it("is limited, and its size is in the status", function()
		local g = gateway.start { config = { limits = { state = "1KB" } }, agent = { config = nil }, script = [[
			function on_message(topic, payload)
				state.text = (state.text or "") .. ("x"):rep(400)
				mqtt.pub("t", tostring(#state.text))
			end
		]] }
		g.config.control = g.agent.directory .. "/control.sock"
		g.agent:stop()
		g.agent:configure(g.config)
		g:start(true)
		g:publish_readings(1, 3)
		g.agent:wait_log("rules.lua:2: state.text: state would take more than 1024 bytes %(limits.state%)")
		loop.eventually(function() return #g.collector.messages == 2 end, "two fit")
		assert.equal(9 + 5 + 800, status(g.agent, "script").state_bytes)
		local _, text = g.agent:command("status")
		assert.truthy(text:match("script[^\n]+ state") and text:find("814 B", 1, true))
	end)

	it("of a script that is gone is kept, and named", function()
		local g = gateway.start { script = counter }
		g:publish_readings(1, 2)
		wait_count(g, 2)
		g.agent:stop()
		g.agent:script("other.lua", counter)
		g.config.scripts = { "other.lua" }
		g.agent:configure(g.config)
		g:start(true)
		g.agent:wait_log("2 entries of state are kept for script rules.lua, which is not configured")
		g:publish_readings(3, 3)
		wait_count(g, 1)
	end)

	it("goes on while the disk is full, and is written when it is not", function()
		need.root()
		need.success("unshare -m true", "cannot make a mount namespace")
		local g
		g = gateway.start { idle = true, script = counter, agent = { wrap = function(argv)
			local small = g.agent.directory .. "/small"
			local mount = ("mkdir -p %s && mount -t tmpfs -o size=12m tmpfs %s && exec \"$@\""):format(small, small)
			return table.move(argv, 1, #argv, 7, { "unshare", "-m", "sh", "-c", mount, "sh" })
		end } }
		g.config.store = { path = g.agent.directory .. "/small/queue.db" }
		g.agent:configure(g.config)
		g:start(true)
		g:publish_readings(1, 10)
		wait_count(g, 10)
		g:await_taken()
		local ballast = ("/proc/%d/root%s/small/ballast"):format(g.agent:pid(), g.agent.directory)
		os.execute("cat /dev/zero > " .. ballast .. " 2>/dev/null")
		g:publish_readings(11, 30)
		g.agent:wait_log("cannot commit: the disk is nearly full")
		loop.consistently(function() return true end, "what was acknowledged before arrives", 0.5)
		local taken = g.field:occurrences("Received PUBACK from gw-field")
		assert(taken < 30, "what is not on disk is not acknowledged")
		loop.consistently(function()
			return g.field:occurrences("Received PUBACK from gw-field") == taken
		end, "nothing more is acknowledged", 0.5)
		assert(os.remove(ballast))
		g.agent:wait_log("the store can be written again")
		g:publish_readings(31, 40)
		wait_count(g, 40, 30)
		assert.equal(40, stopped_with(g.agent).count)
	end)
end)

-- ---- kills ----

local CYCLES = figures.sized(5, 150)
local RATE = 1500

-- Each reading becomes: itself for the oracle of the scene, and its number with the count
-- it was given. Whatever is said of `state` at the end must follow from the counts.
local history = [[
	function on_message(topic, payload, msg)
		local n = math.tointeger(payload:match('"n":(%d+)'))
		local sensor = state[topic] or { n = 0 }
		state[topic] = sensor
		state.count = (state.count or 0) + 1
		state.sum = ((state.sum or 0) * 31 + n) % 1000003
		sensor.n = sensor.n + 1
		mqtt.pub(topic, payload)
		mqtt.pub("counts", ("%d %d %d"):format(state.count, n, msg.dup and 1 or 0))
	end

	function on_stop()
		log.info("stops with %s", json.encode(state))
	end
]]

local function start(linger)
	local scene = scenes.start { idle = true, script = history, agent = { release = true },
		core = { reconnect = { min = "50ms", max = "50ms" } } }
	scene.config.store = { path = scene.agent.queue_path, linger = linger }
	scene.config.control = scene.agent.directory .. "/control.sock"
	scene.agent:configure(scene.config)
	scene.counts = client.connect(scene.core.port, { client_id = "counts", clean = false })
	scene.counts:subscribe("counts", 1)
	scene.counts:subscribe("last", 1)
	scene.agent:start()
	scene:wait_subscribed()
	return scene
end

-- Waits until all has arrived, duplicates too.
local function await_all(scene)
	scene:settle()
	if scene.gave_up then
		error("not all readings arrive; " .. select(2, status(scene.agent, "agent")))
	end
	loop.eventually(function()
		return status(scene.agent, "queue").messages == 0
	end, "the queue is empty", 120)
	scene.counts:publish("last", "") -- the broker has all others before it
	scene.counts:wait_topic("last", 60)
	table.remove(scene.counts.messages)
end

-- What the collector was told: for each count the reading that had it last, as a crash
-- takes back what was not committed; and how many had another reading before.
local function told(scene)
	local readings, dup, changed, highest = {}, {}, 0, 0
	for _, message in ipairs(scene.counts.messages) do
		local count, n, again = message.payload:match("^(%d+) (%d+) (%d)$")
		count, n = math.tointeger(count), math.tointeger(n)
		changed = changed + (readings[count] and readings[count] ~= n and 1 or 0)
		readings[count], dup[count], highest = n, again == "1", math.max(highest, count)
	end
	return readings, dup, changed, highest
end

-- What was said of a reading that is missing, for who has to find out why.
local function about(scene, reading)
	local text = {}
	for at, message in ipairs(scene.counts.messages) do
		local count = message.payload:match("^(%d+) " .. reading .. " ")
		for other, later in ipairs(count and scene.counts.messages or {}) do
			if later.payload:match("^" .. count .. " ") then
				text[#text + 1] = ("%d (%d): %s"):format(other, at, later.payload)
			end
		end
	end
	return "; at place: count, reading, came again: " .. table.concat(text, ", ")
end

-- Raises unless the counts have no gap, each reading was counted, more than once only if
-- it came again, and the state is what follows from the counts. Returns how many were
-- counted more than once.
local function check_history(scene, state)
	local readings, dup, changed, highest = told(scene)
	local seen, sum, again = {}, 0, 0
	for count = 1, highest do
		local n = assert(readings[count], "no message says count " .. count)
		assert(not seen[n] or dup[count], ("reading %d was counted twice, and did not come again"):format(n))
		again = again + (seen[n] and 1 or 0)
		seen[n] = true
		sum = (sum * 31 + n) % 1000003
	end
	for line in io.lines(scene.directory .. "/acknowledged") do
		if not seen[math.tointeger(line)] then
			error(("reading %s was not counted%s"):format(line, about(scene, line)))
		end
	end
	assert.equal(highest, state.count)
	assert.equal(sum, state.sum)
	local sensors = 0
	for topic, sensor in pairs(state) do
		sensors = sensors + (topic:find("^sensors/") and sensor.n or 0)
	end
	assert.equal(highest, sensors)
	return again, changed
end

describe("SIGKILL at random moments:", function()
	for _, case in ipairs { { "250ms", "up" }, { "250ms", "flapping" }, { "0s", "up" } } do
		local linger, uplink = table.unpack(case)
		it(("counts in state have no gap, uplink %s, linger %s"):format(uplink, linger), function()
			local scene = start(linger)
			scene:publish { rate = RATE, window = 300 }
			scene:wait_progress(200)
			scene:kill()
			for i = 1, CYCLES do
				if uplink == "flapping" then
					scene.core_line[i % 2 == 1 and "cut" or "restore"](scene.core_line)
				end
				scene.agent:start()
				scenes.go_on(0.1 + math.random() * 0.6)
				scene:kill()
			end
			scene.core_line:restore()
			scene.agent:start()
			await_all(scene)
			local state = stopped_with(scene.agent)
			local again, changed = check_history(scene, state)
			if linger == "0s" then
				assert.equal(0, changed) -- nothing leaves that is not on disk
			end
			scene:judge(("state and kill -9, uplink %s, linger %s"):format(uplink, linger), { cases = CYCLES,
				more = ("%d counts, %d readings counted again, %d counts taken back"):format(state.count, again, changed) })
		end)
	end
end)
