--- rules.throttle
local fake_agent = require "lib.fake_agent"
local property = require "lib.property"

describe("a throttle", function()
	local agent, throttle

	before_each(function()
		agent = fake_agent.new()
		throttle = agent:require "rules.throttle"
	end)

	it("lets one message through in so long", function()
		local t = throttle.new { every = "1m" }
		assert.is_true(t:allow("a", 100))
		assert.same({ false, 30 }, { t:allow("a", 130) })
		assert.same({ false, 0.5 }, { t:allow("a", 159.5) })
		assert.is_true(t:allow("a", 160))
		assert.is_true(t:allow("a", 1000))
		assert.is_false(t:allow("a", 1059))
		assert.is_true(t:allow("b", 1059))
	end)

	it("lets a burst through after a quiet time", function()
		local t = throttle.new { every = 20, burst = 3 }
		local passed = {}
		for time = 0, 200, 5 do
			for _ = 1, 2 do
				passed[#passed + 1] = t:allow("a", time) and time or nil
			end
			if time == 40 then
				assert.same({ 0, 0, 5, 20, 40 }, passed)
			end
		end
		assert.same({ 0, 0, 5, 20, 40, 60, 80, 100, 120, 140, 160, 180, 200 }, passed)
		assert.is_true(t:allow("a", 260))
		assert.is_true(t:allow("a", 260))
		assert.is_true(t:allow("a", 260))
		assert.same({ false, 20 }, { t:allow("a", 260) })
	end)

	it("asks the clock if it is not told the time", function()
		local t = throttle.new { every = 10 }
		assert.is_true(t:allow("a"))
		agent.time = agent.time + 9
		assert.is_false(t:allow("a"))
		agent.time = agent.time + 1
		assert.is_true(t:allow("a"))
	end)

	it("holds back what is late, and begins anew when the clock was set back", function()
		local t = throttle.new { every = 10, burst = 2 }
		assert.is_true(t:allow("a", 1000))
		assert.is_true(t:allow("a", 1000))
		assert.is_false(t:allow("a", 985))
		assert.is_true(t:allow("a", 500))
		assert.is_true(t:allow("a", 500))
		assert.is_false(t:allow("a", 500))
	end)

	it("raises errors that name the argument", function()
		assert.error_matches(function() throttle.new {} end,
			'throttle.new: every is missing: expected seconds above 0 or a duration such as "5m"', 1, true)
		assert.error_matches(function() throttle.new { every = 1, burst = 0.5 } end,
			"throttle.new: burst: expected an integer from 1 to 1000000, got 0.5", 1, true)
		assert.error_matches(function() throttle.new({ every = 1 }):allow("a", "soon") end,
			'time: expected seconds since 1970, got "soon"', 1, true)
	end)

	it("forgets a series, and remembers over a restart what is in state", function()
		local t = throttle.new { every = 10, state = "calm" }
		assert.is_true(t:allow("a"))
		agent = agent:restart(agent.time + 5)
		t = agent:require "rules.throttle".new { every = 10, state = "calm" }
		assert.is_false(t:allow("a"))
		assert.is_true(t:forget("a"))
		assert.is_true(t:allow("a"))
	end)

	-- A bucket of `burst` tokens, one more in every `every` seconds.
	local function bucket(every, burst)
		local tokens, filled = burst, nil
		return function(time)
			tokens = math.min(burst, tokens + (filled and (time - filled) / every or 0))
			filled = time
			if tokens >= 1 then
				tokens = tokens - 1
				return true
			end
			return false
		end
	end

	it("agrees with a token bucket on random messages", function()
		property.holds(100, function()
			-- powers of two, so that the reference has no rounding
			local every, burst = 2 ^ math.random(0, 5), math.random(1, 6)
			local t, reference, time = throttle.new { every = every, burst = burst }, bucket(every, burst), 0
			for _ = 1, 300 do
				time = time + math.random(0, math.floor(every)) * property.one_of(0, 1, 1, 1, 4) / 4
				assert.equal(reference(time), (t:allow("a", time)))
			end
		end)
	end)
end)
