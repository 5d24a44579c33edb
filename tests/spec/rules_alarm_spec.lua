--- rules.alarm
local fake_agent = require "lib.fake_agent"
local property = require "lib.property"

describe("an alarm", function()
	local agent, alarm

	before_each(function()
		agent = fake_agent.new()
		alarm = agent:require "rules.alarm"
	end)

	--- The events that readings { time, value }... bring about: { time, event, side }...
	local function events(a, readings)
		local found = {}
		for _, reading in ipairs(readings) do
			local event, side = a:update("x", reading[2], reading[1])
			if event then
				found[#found + 1] = { reading[1], event, side }
			end
		end
		return found
	end

	it("is raised beyond a limit and cleared within it", function()
		local a = alarm.new { above = 8 }
		assert.same({ { 2, "raised", "above" }, { 4, "cleared", "above" } },
			events(a, { { 0, 7 }, { 1, 8 }, { 2, 8.1 }, { 3, 9 }, { 4, 8 }, { 5, 7 } }))
		a = alarm.new { below = 2 }
		assert.same({ { 1, "raised", "below" }, { 2, "cleared", "below" } },
			events(a, { { 0, 2 }, { 1, 1.9 }, { 2, 2 } }))
	end)

	it("stays until readings are good by the hysteresis", function()
		local a = alarm.new { above = 8, below = 2, hysteresis = 0.5 }
		assert.same({ { 1, "raised", "above" }, { 4, "cleared", "above" }, { 6, "raised", "below" },
				{ 8, "cleared", "below" } },
			events(a, { { 0, 7.8 }, { 1, 8.1 }, { 2, 7.9 }, { 3, 7.6 }, { 4, 7.5 }, { 5, 7.9 }, { 6, 1.9 }, { 7, 2.4 },
				{ 8, 2.5 } }))
	end)

	it("goes from one side to the other", function()
		local a = alarm.new { above = 8, below = 2, delay = 60 }
		assert.same({ { 60, "raised", "above" }, { 61, "raised", "below" }, { 62, "cleared", "below" } },
			events(a, { { 0, 9 }, { 60, 9 }, { 61, 1 }, { 62, 5 } }))
	end)

	it("waits for delay before it is raised, and for clear_delay before it is cleared", function()
		local a = alarm.new { above = 8, delay = "10m", clear_delay = 120 }
		assert.same({ { 1300, "raised", "above" }, { 1800, "cleared", "above" } },
			events(a, {
				{ 0, 9 }, { 599, 9 }, { 600, 7 }, -- one good reading
				{ 700, 9 }, { 1000, 12 }, { 1299, 9 }, { 1300, 9 }, { 1301, 9 },
				{ 1400, 7 }, { 1519, 7 }, { 1520, 9 }, -- bad again
				{ 1680, 7 }, { 1799, 7 }, { 1800, 7 },
			}))
	end)

	it("stays until it is acknowledged, if it latches", function()
		local a = alarm.new { above = 8, latch = true }
		assert.is_false(a:acknowledge("x"))
		assert.same({ { 0, "raised", "above" } }, events(a, { { 0, 9 }, { 1, 7 }, { 2, 9 }, { 3, 7 } }))
		assert.equal("above", a:active("x"))
		assert.equal("cleared", a:acknowledge("x"))
		assert.is_false(a:active("x"))
		assert.same({ { 4, "raised", "above" } }, events(a, { { 4, 9 }, { 5, 7 }, { 6, 9 } }))
		assert.equal("acknowledged", a:acknowledge("x"))
		assert.equal("above", a:active("x"))
		assert.same({ { 8, "cleared", "above" } }, events(a, { { 7, 9 }, { 8, 8 } }))
		assert.is_false(a:acknowledge("x"))
	end)

	it("wants to be acknowledged again when it changes sides", function()
		local a = alarm.new { above = 8, below = 2, latch = true }
		assert.same({ { 0, "raised", "above" } }, events(a, { { 0, 9 } }))
		assert.equal("acknowledged", a:acknowledge("x"))
		assert.same({ { 1, "raised", "below" } }, events(a, { { 1, 1 }, { 2, 5 } }))
		assert.equal("cleared", a:acknowledge("x"))
	end)

	it("begins a delay anew when time runs backwards", function()
		local a = alarm.new { above = 8, delay = 60 }
		assert.same({ { 560, "raised", "above" } },
			events(a, { { 1000, 9 }, { 1050, 9 }, { 500, 9 }, { 559, 9 }, { 560, 9 } }))
	end)

	it("leaves out what is no finite number", function()
		local a = alarm.new { above = 8, delay = 10 }
		assert.is_false(a:update("x", 9, 0))
		assert.same({ n = 2, nil, "not a finite number: nan" }, table.pack(a:update("x", math.abs(0 / 0), 5)))
		assert.same({ n = 2, nil, "not a finite number: inf" }, table.pack(a:update("x", math.huge, 5)))
		assert.same({ n = 2, nil, 'not a number: "error"' }, table.pack(a:update("x", "error", 5)))
		assert.same({ n = 2, nil, "no value" }, table.pack(a:update("x", nil, 5)))
		assert.equal("raised", (a:update("x", "9", 10)))
	end)

	it("remembers nothing of a series that is well", function()
		local root = {}
		local a = alarm.new { above = 8, delay = 10, state = root, max_series = 1 }
		for i = 1, 100 do
			assert.is_false(a:update(i, 5, i))
		end
		assert.is_nil(next(root.series))
		assert.is_false(a:update("x", 9, 0))
		assert.is_false(a:update("x", 7, 5))
		assert.is_nil(next(root.series))
	end)

	it("is not forgotten over a restart, nor is a delay", function()
		local options = { above = 8, delay = 60, latch = true, state = "fridges" }
		local a = alarm.new(options)
		a:update("x", 9)
		a:update("y", 9)
		agent:advance(60)
		assert.equal("raised", (a:update("y", 9)))
		agent = agent:restart()
		a = agent:require "rules.alarm".new(options)
		assert.equal("above", a:active("y"))
		assert.equal("raised", (a:update("x", 9)))
		assert.is_false(a:update("y", 9))
		assert.is_true(a:forget("y"))
		assert.is_false(a:active("y"))
	end)

	it("raises errors that name the argument", function()
		local function raises(text, options)
			assert.error_matches(function() alarm.new(options) end, text, 1, true)
		end
		raises("alarm.new: above or below is missing: expected a finite number", { delay = 5 })
		raises("alarm.new: above: expected more than below + hysteresis (4), got 3", { above = 3, below = 2, hysteresis = 2 })
		raises('alarm.new: above: expected a finite number, got "8"', { above = "8" })
		raises("alarm.new: latch: expected true or false, got 1", { above = 8, latch = 1 })
		raises('alarm.new: delay: expected seconds, 0 or more, or a duration such as "5m", got -1', { above = 8, delay = -1 })
	end)

	--- What should become of the last of `readings`, found by looking back through all of
	-- them.
	local function by_history(o, readings, active)
		local now = readings[#readings].time
		local function lasts(condition, delay)
			local since
			for i = #readings, 1, -1 do
				if not condition(readings[i].value) then
					break
				end
				since = readings[i].time
			end
			return since ~= nil and now - since >= delay
		end
		if not active then
			return lasts(function(value) return value > o.above end, o.delay) and "raised" or false
		end
		return lasts(function(value) return value <= o.above - o.hysteresis end, o.clear_delay) and "cleared" or false
	end

	it("agrees with a naive one on random readings", function()
		property.holds(60, function()
			local o = { above = 10, hysteresis = math.random(0, 4), delay = math.random(0, 20), clear_delay = math.random(0, 20),
				state = property.one_of(nil, "a" .. math.random(1e9)) }
			local a, readings, active, time = alarm.new(o), {}, false, 0
			for _ = 1, 200 do
				time = time + math.random(1, 6)
				local value = math.random() < 0.3 and math.random(5, 12) or active and math.random(4, 9) or math.random(9, 13)
				readings[#readings + 1] = { time = time, value = value }
				local expected = by_history(o, readings, active)
				active = expected == "raised" or active and expected ~= "cleared"
				assert.equal(expected, (a:update("x", value, time)))
				assert.equal(active and "above" or false, a:active("x"))
			end
		end)
	end)
end)
