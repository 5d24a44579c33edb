--- rules.dedupe
local fake_agent = require "lib.fake_agent"
local property = require "lib.property"

describe("a dedupe", function()
	local agent, dedupe

	before_each(function()
		agent = fake_agent.new()
		dedupe = agent:require "rules.dedupe"
	end)

	it("holds back what is the same as the last", function()
		local d, passed = dedupe.new(), {}
		for _, value in ipairs { "open", "open", "closed", "closed", "open", "open" } do
			passed[#passed + 1] = d:first("door", value) and value or nil
		end
		assert.same({ "open", "closed", "open" }, passed)
		assert.is_true(d:first("window", "open"))
	end)

	it("holds back what is among the last so many that went through", function()
		local d = dedupe.new { remember = 3 }
		for id = 1, 3 do
			assert.is_true(d:first("a", id))
		end
		assert.is_false(d:first("a", 1)) -- 1 2 3
		assert.is_true(d:first("a", 4)) -- 2 3 4
		assert.is_true(d:first("a", 1)) -- 3 4 1
		assert.is_false(d:first("a", 4))
		assert.is_true(d:first("a", 2)) -- 4 1 2
		assert.is_true(d:first("a", 3))
	end)

	it("lets a repeat through after a while", function()
		local d = dedupe.new { within = "1h" }
		assert.is_true(d:first("a", "on", 1000))
		assert.is_false(d:first("a", "on", 4599))
		assert.is_true(d:first("a", "on", 4600))
		assert.is_false(d:first("a", "on", 8199))
		assert.is_false(d:first("a", "on", 2000))
		assert.is_true(d:first("a", "on", 1000)) -- the clock was set back
		assert.is_false(d:first("a", "on", 1001))
	end)

	it("counts a repeat that went through as new", function()
		local d = dedupe.new { remember = 2, within = 10 }
		assert.is_true(d:first("a", "x", 0))
		assert.is_true(d:first("a", "y", 5))
		assert.is_true(d:first("a", "x", 10)) -- y x
		assert.is_true(d:first("a", "z", 11)) -- x z
		assert.is_false(d:first("a", "x", 12))
		assert.is_true(d:first("a", "y", 12))
	end)

	it("knows strings, numbers and booleans", function()
		local d = dedupe.new { remember = 100 }
		for _, value in ipairs { "", "x", 21, 0.1, 1e300, true, false, "\0\xff", math.maxinteger } do
			assert.is_true(d:first("a", value))
			assert.is_false(d:first("a", value))
		end
		assert.is_false(d:first("a", 21.0))
	end)

	it("leaves out what is no value", function()
		local d = dedupe.new()
		assert.same({ n = 2, nil, "no value" }, table.pack(d:first("a", nil)))
		assert.same({ n = 2, nil, "no value" }, table.pack(d:first("a", agent.env.json.null)))
		assert.same({ n = 2, nil, "not a finite number: nan" }, table.pack(d:first("a", math.abs(0 / 0))))
		assert.same({ n = 2, nil, "not a finite number: inf" }, table.pack(d:first("a", math.huge)))
		assert.error_matches(function() d:first("a", {}) end,
			"value: expected a string, a number or a boolean, got table", 1, true)
		assert.error_matches(function() dedupe.new { remember = 0 } end,
			"dedupe.new: remember: expected an integer from 1 to 10000, got 0", 1, true)
	end)

	it("remembers over a restart what is in state", function()
		assert.is_true(dedupe.new({ remember = 2, within = 60, state = "ids" }):first("a", 7))
		agent = agent:restart()
		local d = agent:require "rules.dedupe".new { remember = 2, within = 60, state = "ids" }
		assert.is_false(d:first("a", 7))
		assert.is_true(d:forget("a"))
		assert.is_true(d:first("a", 7))
	end)

	-- The list of what went through, searched from the end.
	local function naive(remember, within)
		local passed = {}
		return function(value, time)
			for i = #passed, math.max(1, #passed - remember + 1), -1 do
				if passed[i].value == value then
					if not within or math.abs(time - passed[i].time) < within then
						return false
					end
					break
				end
			end
			passed[#passed + 1] = { value = value, time = time }
			return true
		end
	end

	it("agrees with a naive one on random values, in memory that does not grow", function()
		property.holds(40, function()
			local remember, within = math.random(1, 5), property.one_of(nil, math.random(1, 30))
			local root, time = {}, 0
			local d = dedupe.new { remember = remember, within = within, state = root }
			local reference = naive(remember, within)
			for _ = 1, 300 do
				local value = "v" .. math.random(7)
				time = time + math.random(-2, 6)
				assert.equal(reference(value, time), d:first("a", value, time))
				local n = 0
				for _ in pairs(root.series.a.seen) do
					n = n + 1
				end
				assert(n <= remember and #root.series.a.slots <= remember)
			end
		end)
	end)
end)
