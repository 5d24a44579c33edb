--- A gateway sleeps when there is nothing to do: waiting never means turning.
local gateway = require "lib.gateway"
local loop = require "lib.loop"
local net = require "lib.net"

-- CPU seconds that the agent uses in one second.
local function cpu_in_a_second(agent)
	local before = agent:cpu_seconds()
	loop.consistently(function()
		return agent.process:running()
	end, "the agent runs", 1)
	return agent:cpu_seconds() - before
end

-- Once it has done what there is to do.
local function assert_sleeps(agent)
	local used = -1
	loop.eventually(function()
		local before = used
		used = agent:cpu_seconds()
		loop.run_until(function() return false end, 0.3)
		return used == before
	end, "it comes to rest")
	local seconds = cpu_in_a_second(agent)
	assert(seconds <= 0.05, ("%.2f s of CPU in a second"):format(seconds))
end

describe("no CPU is used", function()
	it("while all is connected and nothing comes", function()
		local g = gateway.start()
		g:publish_readings(1, 10)
		g:wait_readings(10)
		assert_sleeps(g.agent)
	end)

	it("while the uplink is away and readings wait", function()
		local g = gateway.start { down = true, core = { reconnect = { min = "10s", max = "10s" } } }
		g:publish_readings(1, 500)
		g:await_taken()
		assert_sleeps(g.agent)
	end)

	it("while the uplink is stuck with its buffers full", function()
		local g = gateway.start()
		g.uplink.stall()
		local block = ("x"):rep(100000)
		g.sensor:publish_many(150, function()
			return "sensors/b", block
		end)
		g:await_taken()
		assert_sleeps(g.agent)
	end)

	it("while a broker accepts and says nothing", function()
		local silent = net.listen(function() end)
		local g = gateway.start { idle = true }
		g.config.links.core = { url = "mqtt://127.0.0.1:" .. silent.port, default = true }
		g.agent:configure(g.config)
		g:start()
		assert_sleeps(g.agent)
	end)
end)
