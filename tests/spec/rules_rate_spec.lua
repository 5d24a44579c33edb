--- rules.rate
local fake_agent = require "lib.fake_agent"
local property = require "lib.property"

local function none(why, ...)
	assert.same({ n = 2, nil, why }, table.pack(...))
end

describe("a rate", function()
	local agent, rate

	before_each(function()
		agent = fake_agent.new()
		rate = agent:require "rules.rate"
	end)

	it("is the change by the time that passed", function()
		local r = rate.new()
		none("first reading", r:update("a", 20, 100))
		assert.equal(0.5, r:update("a", 25, 110))
		assert.equal(-2, r:update("a", "21", 112))
		assert.equal(0, r:update("a", 21, 113))
		r = rate.new { per = "1h" }
		none("first reading", r:update("a", 300, 0))
		assert.equal(-60, r:update("a", 290, 600))
		none("first reading", r:update("b", 300, 0))
	end)

	it("is not told over a gap", function()
		local r = rate.new { max_gap = 60 }
		r:update("a", 0, 0)
		assert.equal(1, r:update("a", 60, 60))
		none("gap", r:update("a", 0, 121))
		assert.equal(2, r:update("a", 2, 122))
	end)

	it("leaves out what is late or at the same time", function()
		local r = rate.new()
		r:update("a", 0, 100)
		none("same time", r:update("a", 5, 100))
		none("late", r:update("a", 5, 99))
		assert.equal(1, r:update("a", 10, 110))
	end)

	it("begins anew when the clock was set back", function()
		local r = rate.new()
		r:update("a", 0, 1000)
		for i = 1, 9 do
			none("late", r:update("a", i, 100 + i))
		end
		none("first reading", r:update("a", 10, 110))
		assert.equal(1, r:update("a", 11, 111))
		-- nine, but not in a row
		for i = 1, 9 do
			none("late", r:update("a", i, i))
		end
		assert.equal(1, r:update("a", 12, 112))
		none("late", r:update("a", 1, 1))
	end)

	it("leaves out what is no finite number", function()
		local r = rate.new()
		r:update("a", 0, 0)
		none("not a finite number: nan", r:update("a", math.abs(0 / 0), 5))
		none("not a finite number: -inf", r:update("a", -math.huge, 5))
		none("no value", r:update("a", nil, 5))
		assert.equal(1, r:update("a", 10, 10))
		r:update("a", math.maxinteger, 11)
		assert.equal(-2.0 ^ 64, r:update("a", math.mininteger, 12))
	end)

	it("goes on after a restart with its data in state", function()
		rate.new({ state = "r" }):update("a", 5)
		agent = agent:restart(agent.time + 10)
		local r = agent:require "rules.rate".new { state = "r" }
		assert.equal(2, r:update("a", 25))
		assert.is_true(r:forget("a"))
		none("first reading", r:update("a", 25))
	end)

	it("agrees with a naive one on random readings", function()
		property.holds(60, function()
			local per, gap = math.random(1, 100), math.random(5, 30)
			local r = rate.new { per = per, max_gap = gap, state = property.one_of(nil, "r" .. math.random(1e9)) }
			local last, time = {}, 0
			for _ = 1, 200 do
				time = time + math.random(0, 9)
				local name, value = math.random(3), property.number(-100, 100)
				local before = last[name]
				local expected
				if before and time > before[2] and time - before[2] <= gap then
					expected = per * (value - before[1]) / (time - before[2])
				end
				local got = r:update(name, value, time)
				assert.equal(expected == nil, got == nil)
				if expected then
					assert.near(expected, got, 1e-9 * math.max(1, math.abs(expected)))
				end
				if not before or time > before[2] then
					last[name] = { value, time }
				end
			end
		end)
	end)
end)

describe("a counter", function()
	local agent, rate

	before_each(function()
		agent = fake_agent.new()
		rate = agent:require "rules.rate"
	end)

	it("tells the increase, its rate and the sum", function()
		local c = rate.counter { per = 3600 }
		assert.equal(0, c:total("a"))
		none("first reading", c:update("a", 1000, 0))
		assert.same({ 10, 600 }, { c:update("a", 1010, 60) })
		assert.same({ 0, 0 }, { c:update("a", "1010", 120) })
		assert.same({ 5, 150 }, { c:update("a", 1015, 240) })
		assert.equal(15, c:total("a"))
		assert.equal("15", tostring(c:total("a")))
	end)

	it("counts over a wrap, and from 0 after a reset", function()
		local c = rate.counter { wrap = 2 ^ 16 }
		c:update("a", 65530, 0)
		assert.same({ 10, 1 }, { c:update("a", 4, 10) })
		assert.same({ 30000, 3000 }, { c:update("a", 30004, 20) })
		assert.same({ 100, 10 }, { c:update("a", 100, 30) }) -- a wrap would be 35,632: too much
		assert.equal(30110, c:total("a"))
		none("not from 0 to below wrap", c:update("a", 65536, 40))
		none("not from 0 to below wrap", c:update("a", -1, 40))
		c = rate.counter { wrap = 100000, max_step = 50 }
		c:update("a", 99980, 0)
		assert.equal(50, (c:update("a", 30, 1)))
		c:update("a", 99990, 2)
		assert.equal(41, (c:update("a", 41, 3))) -- 51 would be too much
		c = rate.counter()
		c:update("a", 500, 0)
		assert.same({ 3, 3 }, { c:update("a", 3, 1) })
	end)

	it("counts what came in a gap", function()
		local c = rate.counter()
		c:update("a", 0, 0)
		assert.same({ 86400, 1 }, { c:update("a", 86400, 86400) })
	end)

	it("is exact with large integers and takes fractions", function()
		local c = rate.counter()
		c:update("a", (1 << 62) + 1, 0)
		assert.equal(1, (c:update("a", (1 << 62) + 2, 1)))
		c:update("b", 1.5, 0)
		assert.equal(0.25, (c:update("b", 1.75, 1)))
		assert.equal(0.25, c:total("b"))
	end)

	it("does not take a late reading for a reset", function()
		local c = rate.counter()
		c:update("a", 100, 100)
		assert.same({ 20, 2 }, { c:update("a", 120, 110) })
		none("late", c:update("a", 110, 105))
		none("late", c:update("a", 110, 110))
		assert.same({ n = 2, 5, nil }, table.pack(c:update("a", 125, 110)))
		assert.same({ 5, 1 }, { c:update("a", 130, 115) })
		assert.equal(30, c:total("a"))
	end)

	it("goes on when the clock was set back, and counts nothing twice", function()
		local c = rate.counter()
		c:update("a", 100, 1000)
		for i = 1, 9 do
			none("late", c:update("a", 100 + i, i))
		end
		assert.same({ n = 2, 10, nil }, table.pack(c:update("a", 110, 10)))
		assert.same({ 1, 1 }, { c:update("a", 111, 11) })
		-- old readings come once more
		for i = 1, 9 do
			none("late", c:update("a", 50 + i, i))
		end
		none("first reading", c:update("a", 60, 10))
		assert.equal(11, c:total("a"))
	end)

	it("leaves out what is no finite number, and raises errors that name the argument", function()
		local c = rate.counter()
		none("not a finite number: nan", c:update("a", math.abs(0 / 0), 5))
		none("no value", c:update("a", nil, 5))
		assert.error_matches(function() rate.counter { max_step = 5 } end,
			"rate.counter: max_step: expected only with wrap", 1, true)
		assert.error_matches(function() rate.counter { wrap = 0 } end,
			"rate.counter: wrap: expected a number above 0, got 0", 1, true)
		assert.error_matches(function() rate.new { per = 0 } end,
			'rate.new: per: expected seconds above 0 or a duration such as "5m", got 0', 1, true)
	end)

	it("has its sum after a restart with its data in state", function()
		local c = rate.counter { state = "meters" }
		c:update("a", 5)
		agent:advance(1)
		c:update("a", 8)
		agent = agent:restart(agent.time + 1)
		c = agent:require "rules.rate".counter { state = "meters" }
		assert.equal(3, c:total("a"))
		assert.same({ 2, 2 }, { c:update("a", 10) })
		assert.equal(5, c:total("a"))
		assert.is_true(c:forget("a"))
		assert.equal(0, c:total("a"))
	end)

	it("finds what a random meter really counted", function()
		property.holds(60, function()
			local wrap = property.one_of(256, 1000, 65536)
			local c = rate.counter { wrap = wrap, state = property.one_of(nil, "c" .. math.random(1e9)) }
			local shown, total, time = math.random(0, wrap - 1), 0, 0
			c:update("a", shown, time)
			for _ = 1, 200 do
				time = time + math.random(1, 5)
				local step = math.random(0, wrap // 2)
				-- a reset that cannot be told from a wrap is nobody's fault
				if math.random() < 0.1 and shown < wrap // 2 and step < shown then
					shown = 0
				end
				shown, total = (shown + step) % wrap, total + step
				assert.equal(step, (c:update("a", shown, time)))
			end
			assert.equal(total, c:total("a"))
		end)
	end)
end)
