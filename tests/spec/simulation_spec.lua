-- The simulated fleet of docs/fleet.md: that it does what it says it does, and that it is not far from
-- what was measured.
local figures = require "fleet.figures"
local prediction = require "fleet.prediction"
local simulation = require "fleet.simulation"

local function fleet(more)
	local base = { gateways = 200, outage = 22, rate = 2, reconnect_min = 1, reconnect_max = 15, urls = 3, jitter = true,
		connects = 1000, messages = 4000 }
	return setmetatable(more, { __index = base })
end

describe("a simulated fleet", function()
	it("is the same for the same seed, and another for another", function()
		assert.same(simulation.run(fleet {}, 7), simulation.run(fleet {}, 7))
		assert.not_same(simulation.run(fleet {}, 7), simulation.run(fleet {}, 8))
	end)

	it("waits as agent/retry.c does", function()
		local dice = simulation.dice(1)
		for rounds, whole in ipairs { 1, 2, 4, 8, 15, 15 } do
			local least, most = math.huge, 0
			for _ = 1, 1000 do
				local wait = simulation.backoff(fleet {}, rounds - 1, dice)
				least, most = math.min(least, wait), math.max(most, wait)
			end
			assert.is_true(least >= whole / 2 and least < whole * 0.51)
			assert.is_true(most < whole and most > whole * 0.99)
			assert.equal(whole, simulation.backoff(fleet { jitter = false }, rounds - 1, dice))
		end
	end)

	it("comes back in step without jitter, and one by one with it", function()
		-- 1 + 2 + 4 + 8 + 15 = 30 seconds after the connection was lost.
		local in_step = simulation.run(fleet { jitter = false }, 1)
		assert.equal(200, in_step.peak)
		assert.is_near(8, in_step.half_up, 0.2)
		assert.is_near(8.2, in_step.all_up, 0.01)
		assert.is_near(0.2, in_step.wait, 0.01)
		local spread = simulation.run(fleet {}, 1)
		assert.is_true(spread.peak < 60)
		assert.is_true(spread.wait < 0.05)
		assert.is_true(spread.all_up <= 15)
	end)

	it("delivers no more than the cluster takes", function()
		local slow = simulation.run(fleet { messages = 1000 }, 1)
		-- 200 * 2 * (22 + t) readings by then, at 1000 a second.
		assert.is_true(slow.drained >= 22 * 400 / 1000)
		assert.is_nil(simulation.run(fleet { messages = 399, horizon = 600 }, 1).all_current)
	end)

	it("is fresh at once live-first, and after the backlog in order", function()
		local limit = { drain_rate = 5 }
		local in_order = simulation.run(fleet { drain_rate = limit.drain_rate }, 1)
		local live = simulation.run(fleet { drain_rate = limit.drain_rate, live_first = true }, 1)
		assert.is_true(live.half_current - live.half_up < 0.5)
		-- 2 * 22 readings that leave at 5 a second take nine seconds, while 2 a second come.
		assert.is_true(in_order.half_current - in_order.half_up > 8.8)
		assert.is_true(live.drained - live.all_up > 8.8)
	end)

	it("has gateways give up where there are too many for the cluster", function()
		local storm = simulation.run(fleet { gateways = 10000, connects = 300, rate = 0.1, jitter = false }, 1)
		assert.equal(15, storm.wait)
		assert.is_true(storm.gave_up > 1000)
		assert.is_true(storm.all_up > 10000 / 300)
	end)

	it("never recovers where a cluster is busy with those who have given up", function()
		local storm = simulation.run(fleet { gateways = 10000, connects = 100, rate = 0.1, jitter = false }, 1)
		assert.is_nil(storm.all_up)
		assert.is_nil(storm.drained)
	end)

	it("is near what was measured in the run that docs/fleet.md quotes", function()
		local lines = {}
		local measured = figures.load("tests/fleet/measured.jsonl")
		assert.equal(0, measured.verdict.lost)
		assert.is_true(prediction.check(measured, function(...)
			lines[#lines + 1] = string.format(...)
		end), table.concat(lines, "\n"))
	end)
end)
