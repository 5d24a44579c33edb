--- every() and after() on the running agent: on time, without pile-up, and what they
-- publish is queued like everything else.
local gateway = require "lib.gateway"
local loop = require "lib.loop"

-- What arrived on `topic`, as numbers.
local function numbers(g, topic)
	local list = {}
	for i, payload in ipairs(g.collector:payloads("^" .. topic .. "$")) do
		list[i] = tonumber(payload)
	end
	return list
end

local function wait_numbers(g, topic, n)
	loop.eventually(function()
		return #numbers(g, topic) >= n
	end, ("%d messages on %s"):format(n, topic))
	return numbers(g, topic)
end

describe("every()", function()
	it("keeps to its grid", function()
		local g = gateway.start { script = [[
			local start
			function on_start() start = uptime() end
			every(0.1, function() mqtt.pub("tick", uptime() - start) end)
		]] }
		local late = {}
		for i, time in ipairs(wait_numbers(g, "tick", 20)) do
			late[i] = time + 0.002 - (time + 0.002) // 0.1 * 0.1
		end
		table.sort(late)
		assert(late[10] < 0.05, ("half of the calls came more than %.3f s after their time"):format(late[10]))
	end)

	it("does not catch up after a stall", function()
		local g = gateway.start { script = [[
			local start
			function on_start() start = uptime() end
			every(0.05, function() mqtt.pub("tick", uptime() - start) end)
		]] }
		wait_numbers(g, "tick", 3)
		g.agent:signal("sigstop")
		loop.consistently(function() return g.agent.process:running() end, "it is only stopped", 1)
		g.agent:signal("sigcont")
		local stalled = #numbers(g, "tick")
		local times = wait_numbers(g, "tick", stalled + 10)
		local gaps = 0
		for i = 2, #times do
			gaps = gaps + (times[i] - times[i - 1] > 0.8 and 1 or 0)
			assert(i == 2 or times[i] - times[i - 2] > 0.03, "they pile up")
		end
		assert(gaps >= 1, "no stall is seen")
	end)

	it("goes on after an error, which names it", function()
		local g = gateway.start { script = [[
			local n = 0
			every(0.05, function()
				n = n + 1
				mqtt.pub("tick", n)
				if n <= 2 then error("not yet") end
			end)
		]] }
		assert.equal(3, wait_numbers(g, "tick", 1)[1])
		assert.truthy(g.agent:log():find("error script rules.lua: every 0.05 s (", 1, true))
		assert.truthy(g.agent:log():find("rules.lua:2): ", 1, true))
	end)

	it("is delayed by another script's endless loop no longer than that is allowed to run", function()
		local g = gateway.start { agent = { scripts = {
			["a.lua"] = "every(0.3, function() while true do end end)",
			["b.lua"] = "local last every(0.02, function()" -- in seconds of CPU: others may use the machine, too
				.. " mqtt.pub('gap', last and os.clock() - last or 0) last = os.clock() end)",
		} }, config = { limits = { call = "100ms" } } }
		for _, gap in ipairs(wait_numbers(g, "gap", 40)) do
			assert(gap < 0.4, ("%.3f s of CPU between calls"):format(gap))
		end
		g.agent:wait_log("every 0.3 s %b(): .*used more than 100 ms of CPU time")
	end)
end)

describe("what a timer publishes", function()
	it("waits while the uplink is away, and survives SIGKILL but for the last linger", function()
		local g = gateway.start { down = true, config = { store = { linger = "100ms" } }, script = [[
			local n = 0
			every(0.02, function()
				n = n + 1
				mqtt.pub("tick", n)
				if n % 10 == 0 then log.info("tick %d", n) end
			end)
			function on_connect(link) if link == "core" then mqtt.pub("up", "x") end end
		]] }
		g.agent:wait_log("tick 40")
		local last = 0
		for n in g.agent:log():gmatch("tick (%d+)") do
			last = math.max(last, tonumber(n))
		end
		g.agent:kill()
		g.agent:script("rules.lua", 'function on_connect(link) if link == "core" then mqtt.pub("up", "x") end end')
		g.uplink.restore()
		g:start(true)
		g.collector:wait_topic("up")
		local ticks = numbers(g, "tick")
		for i, n in ipairs(ticks) do
			assert.equal(i, n)
		end
		assert(#ticks >= last - 15, ("%d of at least %d are there"):format(#ticks, last))
	end)
end)

describe("after()", function()
	it("is called once, and not while the agent stops", function()
		local g = gateway.start { script = [[
			after(0.1, function() mqtt.pub("once", "x") end)
			function on_stop() after(0, function() log.error("too late") end) end
			every(0.2, function() mqtt.pub("tick", "x") end)
		]] }
		loop.eventually(function() return #g.collector:payloads("^tick$") >= 3 end, "three ticks")
		assert.equal(1, #g.collector:payloads("^once$"))
		g.agent:stop()
		assert.falsy(g.agent:log():find("too late", 1, true))
	end)

	it("tells of silence when nobody speaks any more", function()
		local g = gateway.start { script = [[
			local silence
			function on_message(topic, payload)
				if silence then silence:cancel() end
				local came = uptime()
				mqtt.pub("heard", payload)
				silence = after("300ms", function() mqtt.pub("silent", ("%s %.3f"):format(payload, uptime() - came)) end)
			end
		]] }
		for i = 1, 5 do
			g.sensor:publish("sensors/a", tostring(i))
			loop.consistently(function() return g.agent.process:running() end, "it runs", 0.1)
		end
		loop.eventually(function()
			return g.collector.messages[#g.collector.messages].payload:find("^5 ")
		end, "silence after the last")
		loop.consistently(function() return g.agent.process:running() end, "it runs", 0.4)
		-- Another one may have been silence, too, if something stood still: but then nothing was heard meanwhile.
		local heard, silent = nil, nil
		for _, message in ipairs(g.collector.messages) do
			if message.topic == "heard" then
				heard, silent = message.payload, nil
			else
				local after, seconds = message.payload:match("^(%d) (.*)$")
				assert.equal(heard, after)
				assert(not silent and tonumber(seconds) >= 0.299, message.payload)
				silent = message.payload
			end
		end
	end)
end)
