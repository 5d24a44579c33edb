--- rules.scale
local fake_agent = require "lib.fake_agent"
local property = require "lib.property"

describe("a scale", function()
	local agent, scale

	before_each(function()
		agent = fake_agent.new()
		scale = agent:require "rules.scale"
	end)

	it("goes along a line, and on beyond its ends", function()
		local s = scale.new { from = { 4, 20 }, to = { 0, 250 } }
		assert.equal(0, s:convert(4))
		assert.equal(125, s:convert(12))
		assert.equal(250, s:convert("20"))
		assert.equal(-62.5, s:convert(0))
		assert.equal(312.5, s:convert(24))
		local celsius = scale.new { from = { 32, 212 }, to = { 0, 100 } }
		assert.equal(-40, celsius:convert(-40))
		assert.equal(37, celsius:convert(98.6))
	end)

	it("goes along several lines, rising or falling", function()
		local ntc = scale.new { from = { 32650, 10000, 3603 }, to = { 0, 25, 50 } }
		assert.equal(0, ntc:convert(32650))
		assert.equal(25, ntc:convert(10000))
		assert.equal(50, ntc:convert(3603))
		assert.equal(12.5, ntc:convert(21325))
		assert.equal(37.5, ntc:convert(6801.5))
		assert.equal(-25, ntc:convert(55300))
	end)

	it("stays at the ends or refuses what is outside, if told to", function()
		local s = scale.new { from = { 4, 20 }, to = { 100, 0 }, outside = "clamp" }
		assert.equal(100, s:convert(3.9))
		assert.equal(0, s:convert(20.1))
		s = scale.new { from = { 3.6, 4, 20 }, to = { 0, 0, 100 }, outside = "refuse" }
		assert.equal(0, s:convert(3.7))
		assert.same({ n = 2, nil, "outside 3.6 to 20: 0.02" }, table.pack(s:convert(0.02)))
	end)

	it("rounds", function()
		local s = scale.new { from = { 0, 3 }, to = { 0, 1 }, decimals = 2 }
		assert.equal(0.33, s:convert(1))
		assert.equal(0.67, s:convert(2))
		assert.equal(-0.67, s:convert(-2))
		s = scale.new { from = { 0, 3 }, to = { 0, 1 }, decimals = 0 }
		assert.equal("1", tostring(s:convert(2)))
		assert.equal("-1", tostring(s:convert(-2)))
	end)

	it("leaves out what is no finite number", function()
		local s = scale.new { from = { 0, 1 }, to = { 0, 1 } }
		assert.same({ n = 2, nil, "not a finite number: nan" }, table.pack(s:convert(math.abs(0 / 0))))
		assert.same({ n = 2, nil, "not a finite number: -inf" }, table.pack(s:convert(-math.huge)))
		assert.same({ n = 2, nil, "no value" }, table.pack(s:convert()))
		assert.same({ n = 2, nil, 'not a number: "off"' }, table.pack(s:convert("off")))
	end)

	it("raises errors that name the argument", function()
		local function raises(text, options)
			assert.error_matches(function() scale.new(options) end, text, 1, true)
		end
		raises("scale.new: from is missing: expected a list of two numbers or more", { to = { 1, 2 } })
		raises("scale.new: from: expected a list of two numbers or more, got table", { from = { 1 }, to = { 1, 2 } })
		raises("scale.new: to: expected as many numbers as in from (2), got 3", { from = { 1, 2 }, to = { 1, 2, 3 } })
		raises("scale.new: from: expected numbers that rise or fall all the way", { from = { 1, 1 }, to = { 1, 2 } })
		raises("scale.new: from: expected numbers that rise or fall all the way",
			{ from = { 1, 3, 2 }, to = { 1, 2, 3 } })
		raises('scale.new: outside: expected "extend", "clamp" or "refuse", got "drop"',
			{ from = { 1, 2 }, to = { 1, 2 }, outside = "drop" })
	end)

	it("agrees with a naive one on random points", function()
		property.holds(60, function()
			local count, from, to = math.random(2, 8), {}, {}
			for i = 1, count do
				from[i] = (from[i - 1] or property.number(-50, 50)) + property.number(0.01, 20)
				to[i] = property.number(-100, 100)
			end
			local s = scale.new { from = from, to = to }
			for i = 1, count do
				assert.equal(to[i], s:convert(from[i]))
			end
			for _ = 1, 50 do
				local x = property.number(from[1] - 10, from[count] + 10, 3)
				local i = 1
				while i < count - 1 and x >= from[i + 1] do
					i = i + 1
				end
				local expected = to[i] + (x - from[i]) * (to[i + 1] - to[i]) / (from[i + 1] - from[i])
				assert.near(expected, s:convert(x), 1e-9 * math.max(1, math.abs(expected)))
			end
		end)
	end)
end)
