--- A message that takes the whole process down, twice, is set aside, and the agent
-- keeps running without it. The innocent, killed by chance, are not.
local gateway = require "lib.gateway"
local loop = require "lib.loop"
local uv = require "luv"

-- Works for as long as the payload says, before it forwards; if it says "once", not when it comes again.
local slow = [[
function on_message(topic, payload, msg)
	local seconds, once = payload:match("^work (%d+)(.*)")
	if seconds then
		log.info("working")
		local ends = os.clock() + (once == " once" and msg.dup and 0 or seconds)
		while os.clock() < ends do end
		log.info("done")
	end
	mqtt.pub("slow/" .. topic, payload)
end
]]

local quick = 'function on_message(topic, payload) mqtt.pub("quick/" .. topic, payload) end'

local function scene(script)
	return gateway.start {
		agent = { scripts = { ["slow.lua"] = script or slow, ["quick.lua"] = quick } },
		config = { scripts = { "quick.lua", "slow.lua" }, limits = { call = "60s" } },
	}
end

local function times(g, text)
	return select(2, g.agent:log():gsub(text, ""))
end

-- kill -9 when the handler is at work, which it must not have been before.
local function kill_at_work(g)
	local before = times(g, "working")
	g.agent:start()
	loop.eventually(function() return times(g, "working") > before end, "the handler works")
	g.agent:kill()
end

-- True if the agent's note is there.
local function has_note(g)
	return uv.fs_stat(g.agent:note_paths()[1]) ~= nil
end

describe("a message that ends the process", function()
	it("twice is set aside: other scripts handle it, and what follows flows", function()
		local g = scene()
		g.sensor:publish("sensors/poison", "work 50")
		g.agent:wait_log("working")
		g.agent:kill()
		assert.is_true(has_note(g))
		kill_at_work(g)
		g.agent:wait_log("warn agent: the last process ended in on_message of script slow.lua, "
			.. "with a message of link field, topic sensors/poison; if that happens again")
		g:publish_readings(1, 20)
		g.agent:start()
		g.agent:wait_log("error agent: the last process ended in on_message of script slow.lua, "
			.. "with a message of link field, topic sensors/poison: 2 times now")
		g.collector:wait_topic("slow/sensors/a")
		loop.eventually(function() return #g.collector:payloads("slow/sensors/a") == 20 end, "what follows")
		assert.equal("work 50", g.collector:wait_topic("quick/sensors/poison").payload)
		assert.equal(0, #g.collector:payloads("slow/sensors/poison"))
		g.sensor:publish("sensors/poison", "work 50") -- once more
		g.sensor:publish("sensors/poison", "work 0")
		assert.equal("work 0", g.collector:wait_topic("slow/sensors/poison").payload)
		assert.equal(2, times(g, "working") - times(g, "done"))
		g.agent:stop()
		local letters = g.agent:sql("SELECT script, topic, payload, reason FROM dead")
		assert.equal(2, #letters)
		assert.same({ "slow.lua", "sensors/poison", "work 50", "it ended the process twice" }, letters[1])
		assert.is_false(has_note(g))
	end)

	it("is suspected no more after a stop in good order", function()
		local g = scene()
		g.sensor:publish("sensors/poison", "work 50")
		g.agent:wait_log("working")
		g.agent:kill()
		kill_at_work(g)
		g:start(true)
		g.agent:wait_log("dead letter")
		g:await_taken()
		g.agent:restart()
		g.sensor:publish("sensors/poison", "work 50")
		loop.eventually(function() return times(g, "working") == 3 end, "it is handled again")
		g.agent:kill()
	end)

	it("by chance, with successes in between, is not set aside", function()
		local g = scene()
		for round = 1, 2 do
			g.sensor:publish("sensors/innocent", "work 50 once")
			loop.eventually(function() return times(g, "working") == 2 * round - 1 end, "at work")
			g.agent:kill()
			g.agent:start()
			loop.eventually(function() return times(g, "done") == round end, "handled")
			g:await_taken() -- else it comes again in the next round
		end
		loop.eventually(function() return #g.collector:payloads("slow/sensors/innocent") >= 2 end, "forwarded twice")
		g.agent:stop()
		assert.same({ { "0" } }, g.agent:sql("SELECT count(*) FROM dead"))
	end)
end)

describe("a process that ends without a message in hand", function()
	it("says which script was starting", function()
		local g = gateway.start { idle = true, agent = { scripts = { ["rules.lua"] = [[
			function on_start()
				log.info("working")
				while true do end
			end
		]] } }, config = { limits = { call = "60s" } } }
		kill_at_work(g)
		kill_at_work(g)
		g.agent:wait_log("warn agent: the last process ended in on_start of script rules.lua\n")
		g.agent:script("rules.lua", "")
		g:start(true)
	end)
end)
