--- rules.deadband
local fake_agent = require "lib.fake_agent"
local property = require "lib.property"

describe("a deadband", function()
	local agent, deadband

	before_each(function()
		agent = fake_agent.new()
		deadband = agent:require "rules.deadband"
	end)

	it("lets a reading through that differs enough from the last one that went through", function()
		local d = deadband.new { by = 0.5 }
		assert.is_true(d:changed("a", 20))
		assert.is_false(d:changed("a", 20.4))
		assert.is_false(d:changed("a", 19.6))
		assert.same({ true, 20 }, { d:changed("a", 20.5) })
		assert.is_false(d:changed("a", 20.9))
		assert.same({ true, 20.5 }, { d:changed("a", 20) })
	end)

	it("lets slow drifts through", function()
		local d, passed = deadband.new { by = 1 }, {}
		for i = 0, 10 do
			local value = 20 + i * 0.25
			passed[#passed + 1] = d:changed("a", value) and value or nil
		end
		assert.same({ 20, 21, 22 }, passed)
	end)

	it("is not fooled by decimal fractions", function()
		local d = deadband.new { by = 0.1 }
		for i = 0, 30 do
			assert.is_true(d:changed("a", (200 + i) / 10), i)
		end
		d = deadband.new { by = 0.2 }
		assert.is_true(d:changed("a", 20.1))
		assert.is_false(d:changed("a", 20.2))
	end)

	it("lets every change through without options, and nothing else", function()
		local d = deadband.new()
		assert.is_true(d:changed("a", 1))
		assert.is_false(d:changed("a", 1.0))
		assert.is_true(d:changed("a", 1.0000001))
		assert.is_true(d:changed("a", math.maxinteger))
		assert.is_true(d:changed("a", math.mininteger))
	end)

	it("takes per cent of the last reading", function()
		local d = deadband.new { percent = 10 }
		assert.is_true(d:changed("a", -200))
		assert.is_false(d:changed("a", -181))
		assert.is_true(d:changed("a", -180))
		assert.is_true(d:changed("a", -162))
		d = deadband.new { percent = 10, by = 1 }
		assert.is_true(d:changed("a", 2))
		assert.is_false(d:changed("a", 2.5))
		assert.is_true(d:changed("a", 3))
	end)

	it("lets a reading through after a while, changed or not", function()
		local d = deadband.new { by = 1, every = "10s" }
		assert.is_true(d:changed("a", 5, 100))
		assert.is_false(d:changed("a", 5, 109.9))
		assert.same({ true, 5 }, { d:changed("a", 5, 110) })
		assert.is_true(d:changed("a", 7, 115))
		assert.is_false(d:changed("a", 7, 124))
		assert.is_true(d:changed("a", 7, 125))
		-- late; and a clock that was set back
		assert.is_false(d:changed("a", 7, 120))
		assert.is_true(d:changed("a", 7, 20))
		assert.is_false(d:changed("a", 7, 29))
	end)

	it("asks the clock if it is not told the time", function()
		local d = deadband.new { every = 10 }
		assert.is_true(d:changed("a", 5))
		agent.time = agent.time + 10
		assert.is_true(d:changed("a", 5))
		assert.is_false(d:changed("a", 5))
	end)

	it("takes text for the number it holds", function()
		local d = deadband.new { by = 1 }
		assert.is_true(d:changed("a", "20"))
		assert.is_false(d:changed("a", "20.5"))
		assert.same({ true, 20 }, { d:changed("a", " 21.0\n") })
	end)

	it("leaves out what is no finite number", function()
		local d = deadband.new { by = 1 }
		assert.is_true(d:changed("a", 5))
		assert.same({ n = 2, nil, "not a finite number: nan" }, table.pack(d:changed("a", math.abs(0 / 0))))
		assert.same({ n = 2, nil, "not a finite number: inf" }, table.pack(d:changed("a", math.huge)))
		assert.same({ n = 2, nil, "not a finite number: inf" }, table.pack(d:changed("a", "1e999")))
		assert.same({ n = 2, nil, 'not a number: "warm"' }, table.pack(d:changed("a", "warm")))
		assert.same({ n = 2, nil, "no value" }, table.pack(d:changed("a", nil)))
		assert.same({ n = 2, nil, "no value" }, table.pack(d:changed("a", agent.env.json.null)))
		assert.is_false(d:changed("a", 5))
	end)

	it("keeps series apart, and forgets one when told to", function()
		local d = deadband.new { by = 1 }
		assert.is_true(d:changed("a", 5))
		assert.is_true(d:changed("b", 5))
		assert.is_true(d:changed(7, 5))
		assert.is_true(d:forget("a"))
		assert.is_false(d:forget("a"))
		assert.is_true(d:changed("a", 5))
		assert.is_false(d:changed("b", 5))
		assert.is_false(d:changed(7, 5))
	end)

	it("raises errors that name the argument, at the script's line", function()
		local function raises(text, fn, ...)
			local ok, message = pcall(fn, ...)
			assert.is_false(ok)
			assert.equal(text, (message:gsub("^.-_spec.lua:%d+: ", "here: ")))
		end
		raises("here: deadband.new: by: expected a number, 0 or more, got -1", function()
			deadband.new { by = -1 }
		end)
		raises("here: deadband.new: expected a table of options, got 5", function()
			deadband.new(5)
		end)
		raises('here: deadband.new: unknown option "bye"; there are: by, every, max_series, percent, state', function()
			deadband.new { bye = 1 }
		end)
		raises('here: deadband.new: every: expected seconds above 0 or a duration such as "5m", got "5 minutes"',
			function()
				deadband.new { every = "5 minutes" }
			end)
		raises("here: deadband.new: max_series: expected an integer from 1 to 1000000, got 0", function()
			deadband.new { max_series = 0 }
		end)
		raises("here: deadband.new: state: expected a name in the global table state, without |, or a table, got boolean",
			function()
				deadband.new { state = true }
			end)
		local d = deadband.new { every = 1 }
		raises("here: series: expected a string or an integer, got nil", function()
			d:changed(nil, 1)
		end)
		raises("here: value: expected a number, got table", function()
			d:changed("a", {})
		end)
		raises("here: time: expected seconds since 1970, got nan", function()
			d:changed("a", 1, math.abs(0 / 0))
		end)
		for module, method in pairs { deadband = "changed", dedupe = "first", window = "add" } do
			local object = agent:require("rules." .. module).new {}
			raises("here: object.method(...) was called: expected a colon, object:method(...)", function()
				object[method]("a", 1)
			end)
		end
	end)

	it("goes on after a restart with its data in state", function()
		assert.is_true(deadband.new({ by = 1, state = "levels" }):changed("a", 5))
		agent = agent:restart()
		deadband = agent:require "rules.deadband"
		assert.is_false(deadband.new({ by = 1, state = "levels" }):changed("a", 5.5))
		assert.is_true(deadband.new({ by = 1, state = "other" }):changed("a", 5.5))
	end)

	it("agrees with a naive one on random readings", function()
		property.holds(100, function()
			local by, every = property.number(0, 3), math.random(1, 60)
			local d = deadband.new { by = by, every = every, state = property.one_of(nil, "d" .. math.random(1e9)) }
			local last, time = {}, 0
			for _ = 1, 200 do
				local name, value = "s" .. math.random(3), property.number(-10, 10)
				time = time + math.random(0, 20)
				local before = last[name]
				-- in hundredths, where there is no rounding
				local step = before and math.floor(math.abs(value - before[1]) * 100 + 0.5)
				local expected = not before or step > 0 and step >= math.floor(by * 100 + 0.5) or time - before[2] >= every
				assert.equal(expected, d:changed(name, value, time))
				if expected then
					last[name] = { value, time }
				end
			end
		end)
	end)
end)
