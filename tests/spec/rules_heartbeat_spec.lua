--- rules.heartbeat
local fake_agent = require "lib.fake_agent"
local property = require "lib.property"

local function all(iterator)
	local found = {}
	for series, seconds in iterator do
		found[#found + 1] = { series, seconds }
	end
	return found
end

describe("a heartbeat", function()
	local agent, heartbeat

	before_each(function()
		agent = fake_agent.new()
		heartbeat = agent:require "rules.heartbeat"
	end)

	it("tells once who has fallen silent, and who is back", function()
		local h = heartbeat.new { after = "1m" }
		assert.same({}, all(h:silent(100)))
		assert.is_false(h:seen("b", 100))
		assert.is_false(h:seen("a", 110))
		assert.is_false(h:seen("c", 150))
		assert.same({}, all(h:silent(159.9)))
		assert.same({ { "b", 60 } }, all(h:silent(160)))
		assert.same({ { "a", 70 } }, all(h:silent(180)))
		assert.same({}, all(h:silent(190)))
		assert.is_true(h:is_silent("a"))
		assert.is_false(h:is_silent("c"))
		assert.is_false(h:is_silent("d"))
		assert.same({ true, 90 }, { h:seen("a", 200) })
		assert.is_false(h:is_silent("a"))
		assert.is_false(h:seen("a", 201))
		assert.same({ { "c", 60 } }, all(h:silent(210)))
	end)

	it("tells several at once in order of name", function()
		local h = heartbeat.new { after = 10 }
		h:silent(0)
		for _, name in ipairs { "d", "b", 12, "a", 2, "c" } do
			h:seen(name, 0)
		end
		local names = {}
		for name in h:silent(10) do
			names[#names + 1] = name
		end
		assert.same({ 2, 12, "a", "b", "c", "d" }, names)
	end)

	it("watches who was never heard, if told to expect them", function()
		local h = heartbeat.new { after = 10 }
		h:silent(0)
		assert.is_true(h:expect("a", 5))
		assert.is_false(h:expect("a", 14))
		assert.same({ { "a", 10 } }, all(h:silent(15)))
		assert.is_true(h:seen("a", 20))
		assert.is_true(h:forget("a"))
		assert.same({}, all(h:silent(1000)))
	end)

	it("is not fooled by late signs of life or by the clock", function()
		local h = heartbeat.new { after = 60 }
		h:silent(1000)
		h:seen("a", 1000)
		h:seen("a", 950)
		assert.same({}, all(h:silent(1059)))
		-- set back by an hour: the next sign of life counts from there
		h:seen("a", -2600)
		assert.same({}, all(h:silent(-2600)))
		assert.same({ { "a", 60 } }, all(h:silent(-2540)))
		-- set back, and no sign of life comes any more
		h:seen("b", 1000)
		assert.same({}, all(h:silent(500)))
		assert.same({ { "b", 60 } }, all(h:silent(560)))
		-- from 1970 to today
		h:seen("a", 600)
		assert.same({}, all(h:silent(1.7e9)))
		h:seen("a", 1.7e9 + 10)
		assert.same({}, all(h:silent(1.7e9 + 69)))
		assert.same({ { "a", 60 } }, all(h:silent(1.7e9 + 70)))
	end)

	it("gives everybody time after a restart, and tells nobody twice", function()
		local h = heartbeat.new { after = 60, state = "alive" }
		h:silent()
		h:seen("a")
		agent:advance(30)
		h:seen("b")
		agent:advance(30)
		assert.same({ { "a", 60 } }, all(h:silent()))
		agent = agent:restart(agent.time + 3600)
		h = agent:require "rules.heartbeat".new { after = 60, state = "alive" }
		assert.same({}, all(h:silent()))
		agent:advance(59)
		assert.same({}, all(h:silent()))
		assert.same({ true, 3719 }, { h:seen("a") })
		agent:advance(1)
		assert.same({ { "b", 3690 } }, all(h:silent()))
	end)

	it("writes in state twice in its time, not with each sign of life", function()
		local h = heartbeat.new { after = 60, state = "alive" }
		h:silent(0)
		for time = 0, 100 do
			h:seen("a", time)
		end
		assert.equal(90, agent.state["alive|a"].time)
		assert.same({}, all(h:silent(159)))
		assert.same({ { "a", 60 } }, all(h:silent(160)))
		agent = agent:restart()
		h = agent:require "rules.heartbeat".new { after = 60, state = "alive" }
		assert.same({ true, 110 }, { h:seen("a", 200) })
	end)

	it("forgets nobody by telling of them", function()
		local h = heartbeat.new { after = 10, max_series = 2 }
		h:silent(0)
		for name = 1, 4 do
			h:seen(name, 0)
		end
		assert.same({ { 1, 10 }, { 2, 10 }, { 3, 10 }, { 4, 10 } }, all(h:silent(10)))
		for name = 1, 4 do
			assert.is_true(h:is_silent(name))
		end
	end)

	it("raises errors that name the argument", function()
		assert.error_matches(function() heartbeat.new() end,
			"heartbeat.new: after is missing: expected seconds above 0", 1, true)
		assert.error_matches(function() heartbeat.new({ after = 1 }):seen() end,
			"series: expected a string or an integer, got nil", 1, true)
		assert.error_matches(function() heartbeat.new({ after = 1 }):silent("a") end,
			'time: expected seconds since 1970, got "a"', 1, true)
	end)

	it("agrees with a naive one on random signs of life", function()
		property.holds(30, function()
			local after, time = math.random(5, 50), 0
			local h = heartbeat.new { after = after, state = property.one_of(nil, "h" .. math.random(1e9)) }
			local last, told = {}, {}
			h:silent(0)
			for _ = 1, 300 do
				time = time + math.random(0, 8)
				if math.random() < 0.7 then
					local name = math.random(6)
					assert.equal(told[name] ~= nil, (h:seen(name, time)))
					last[name], told[name] = time, nil
				else
					local expected = {}
					for name = 1, 6 do
						if last[name] and not told[name] and time - last[name] >= after then
							told[name] = true
							expected[#expected + 1] = { name, time - last[name] }
						end
					end
					assert.same(expected, all(h:silent(time)))
				end
			end
		end)
	end)
end)
