--- Rules that take too long hold nobody up for long.
local gateway = require "lib.gateway"
local loop = require "lib.loop"

describe("a rule that takes too long", function()
	it("is stopped between library calls too", function()
		local g = gateway.start { script = [[
			on("sensors/slow", function()
				local s = ("x"):rep(300)
				while true do
					s:find(".-.-y")
				end
			end)
			on("sensors/quick", function(topic)
				mqtt.pub(topic, "done")
			end)
		]] }
		local before = g.agent:cpu_seconds()
		g.sensor:publish("sensors/slow", "")
		g.sensor:publish("sensors/quick", "")
		g.collector:wait_topic("sensors/quick")
		assert(g.agent:log():find("rules.lua:%d: used more than 250 ms of CPU time"), "not stopped by the limit")
		assert(g.agent:cpu_seconds() - before < 2, "used far more than its limit")
	end)

	it("inside one library function does not keep the agent from stopping", function()
		local g = gateway.start { script = [[
			on("sensors/hang", function()
				log.info("hanging")
				local s = ("a"):rep(40)
				s:find(("a?"):rep(40) .. s .. "b")
			end)
		]] }
		g.sensor:post("sensors/hang", "", { qos = 1 })
		g.agent:wait_log("hanging")
		local started = loop.now()
		g.agent:signal("sigterm")
		local _, signal = g.agent:wait()
		assert.equal(15, signal)
		assert(loop.now() - started < 10, "stopping took long")
		assert(g.agent:log():find("error script rules.lua: a library function did not come back"), "not said")
	end)

	it("in on_stop is ended by a second signal", function()
		local g = gateway.start { script = [[
			function on_stop()
				local s = ("a"):rep(40)
				s:find(("a?"):rep(40) .. s .. "b")
			end
		]] }
		g.agent:signal("sigterm")
		g.agent:wait_log("SIGTERM: stopping")
		g.agent:signal("sigint")
		local _, signal = g.agent:wait()
		assert.equal(2, signal)
	end)
end)
