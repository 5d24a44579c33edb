--- rules.window
local fake_agent = require "lib.fake_agent"
local property = require "lib.property"

--- All results by their definitions; nil for those that are not defined.
local function naive(readings)
	local n, sum = #readings, 0
	if n == 0 then
		return { count = 0, sum = 0 }
	end
	for _, value in ipairs(readings) do
		sum = sum + value
	end
	local mean, squares, deviations = sum / n, 0, 0
	for _, value in ipairs(readings) do
		squares = squares + value * value
		deviations = deviations + (value - mean) ^ 2
	end
	return {
		count = n, sum = sum, mean = mean, min = math.min(table.unpack(readings)), max = math.max(table.unpack(readings)),
		rms = math.sqrt(squares / n), stddev = n > 1 and math.sqrt(deviations / (n - 1)) or nil,
	}
end

local function percentile(readings, p)
	local sorted = table.move(readings, 1, #readings, 1, {})
	table.sort(sorted)
	local place = p / 100 * (#sorted - 1)
	local below = math.floor(place)
	return sorted[below + 1] + (place - below) * ((sorted[below + 2] or 0) - sorted[below + 1])
end

local function assert_near(expected, got)
	for what, value in pairs(expected) do
		if not got[what] or math.abs(value - got[what]) > 1e-9 * math.max(1, math.abs(value)) then
			error(("%s: expected %s, got %s"):format(what, value, got[what]))
		end
	end
	for what in pairs(got) do
		assert(expected[what], what)
	end
end

describe("a window", function()
	local agent, window

	before_each(function()
		agent = fake_agent.new()
		window = agent:require "rules.window"
	end)

	local function fill(w, ...)
		for _, value in ipairs { ... } do
			assert.is_true(w:add("a", value))
		end
		return w
	end

	it("over all readings knows everything about them", function()
		local w = fill(window.new { percentiles = true }, 2, 4, 4, 4, 5, 5, 7, "9")
		assert.equal(8, w:count("a"))
		assert.equal(40, w:sum("a"))
		assert.equal(2, w:min("a"))
		assert.equal(9, w:max("a"))
		assert.equal(5, w:mean("a"))
		assert.near(2.138089935, w:stddev("a"), 1e-9) -- the root of 32 / 7
		assert.near(5.385164807, w:rms("a"), 1e-9) -- the root of 232 / 8
		assert.equal(4.5, w:percentile("a", 50))
		assert.equal(2, w:percentile("a", 0))
		assert.equal(9, w:percentile("a", 100))
		assert.near(7.6, w:percentile("a", 90), 1e-12) -- 7 + 0.3 * 2
	end)

	it("knows what is not defined", function()
		for _, options in ipairs { { percentiles = true }, { count = 5 }, { over = 60, percentiles = true } } do
			local w = window.new(options)
			assert.same({ count = 0, sum = 0 }, w:summary("a"))
			assert.equal(0, w:count("a"))
			assert.equal(0, w:sum("a"))
			assert.is_nil(w:min("a"))
			assert.is_nil(w:mean("a"))
			assert.equal("nil", tostring(w:percentile("a", 50)))
			assert.is_nil(w:take("a"))
			fill(w, 3)
			assert.same({ count = 1, sum = 3, min = 3, max = 3, mean = 3, rms = 3 }, w:summary("a"))
			assert.is_nil(w:stddev("a"))
			assert.equal(3, w:percentile("a", 99))
		end
	end)

	it("tumbles when its result is taken", function()
		local w = window.new { percentiles = { 50, 99.9 } }
		fill(w, 1, 2, 3)
		w:add("b", 7)
		local names = {}
		for name in w:each() do
			names[#names + 1] = name
		end
		assert.same({ "a", "b" }, names)
		local s = w:take("a")
		assert.near(2.998, s["p99.9"], 1e-12)
		s["p99.9"] = nil
		assert.near(math.sqrt(14 / 3), s.rms, 1e-12)
		s.rms = nil
		assert.same({ count = 3, sum = 6, min = 1, max = 3, mean = 2, stddev = 1, p50 = 2 }, s)
		assert.is_nil(w:take("a"))
		fill(w, 10, 20)
		assert.equal(15, w:mean("a"))
		assert.equal(7, w:mean("b"))
	end)

	it("forgets no series because of a question", function()
		local w = window.new { max_series = 2 }
		for name = 1, 4 do
			w:add(name, name)
		end
		for name in w:each() do
			assert.equal(name, w:mean(name))
		end
		for name in w:each() do
			assert.equal(name, w:take(name).mean)
		end
		assert.is_nil(w:each()())
	end)

	it("over the last readings forgets the oldest", function()
		local w = fill(window.new { count = 3 }, 10, 1, 2)
		assert.equal(10, w:max("a"))
		fill(w, 3)
		assert.equal(3, w:max("a"))
		assert.equal(2, w:mean("a"))
		assert.equal(1, w:stddev("a"))
		assert.equal(2, w:percentile("a", 50))
		fill(w, 30, 31, 32)
		assert.equal(31, w:mean("a"))
		assert.equal(3, w:count("a"))
		fill(w, 1, 1, 100)
		assert.equal(1, w:percentile("a", 50)) -- a median leaves a spike out
	end)

	it("over a time forgets what is older", function()
		local w = window.new { over = 60, buckets = 6 }
		for time = 0, 59 do
			w:add("a", time, time)
		end
		assert.same({ 60, 0, 59, 29.5 }, { w:count("a", 59), w:min("a", 59), w:max("a", 59), w:mean("a", 59) })
		assert.equal(10, w:min("a", 60))
		assert.equal(50, w:count("a", 69.9))
		assert.equal(50, w:min("a", 109.9))
		assert.equal(0, w:count("a", 110))
		assert.is_nil(w:max("a", 110))
		w:add("a", 7, 130)
		assert.equal(1, w:count("a", 130))
		-- the newest reading is in, also when asked with an older time
		assert.equal(1, w:count("a", 0))
	end)

	it("over a time asks the clock if it is not told the time", function()
		local w = window.new { over = "1m" }
		fill(w, 1, 2)
		agent:advance(30)
		fill(w, 3)
		assert.equal(3, w:count("a"))
		agent:advance(30)
		assert.equal(1, w:count("a"))
		agent:advance(60)
		assert.equal(0, w:count("a"))
	end)

	it("over a time takes what is late where it belongs", function()
		local w = window.new { over = 60, buckets = 6 }
		w:add("a", 1, 105)
		assert.is_true(w:add("a", 2, 50))
		assert.same({ n = 2, nil, "late" }, table.pack(w:add("a", 3, 49)))
		assert.equal(2, w:count("a", 105))
		assert.equal(1, w:count("a", 110))
	end)

	it("over a time begins anew when the clock was set back", function()
		local w = window.new { over = 60 }
		w:add("a", 1, 10000)
		for i = 1, 9 do
			assert.is_nil(w:add("a", 100 + i, i))
		end
		assert.is_true(w:add("a", 110, 10))
		assert.is_true(w:add("a", 111, 11))
		assert.same({ 2, 110 }, { w:count("a", 12), w:min("a", 12) })
	end)

	it("does not lose the spread of readings that lie close together", function()
		local w = window.new()
		for _, value in ipairs { 4, 7, 13, 16 } do
			w:add("a", 1e9 + value)
		end
		assert.equal(1e9 + 10, w:mean("a"))
		assert.near(math.sqrt(30), w:stddev("a"), 1e-9)
		w = window.new { over = 60, buckets = 2 }
		for i, value in ipairs { 4, 7, 13, 16 } do
			w:add("a", 1e9 + value, i < 3 and 0 or 30)
		end
		assert.near(math.sqrt(30), w:stddev("a", 30), 1e-9)
	end)

	it("does not lose small readings in a sum", function()
		local w = fill(window.new(), 1e16, 1, 1, -1e16)
		assert.equal(2, w:sum("a"))
		w = window.new()
		for _ = 1, 10 do
			w:add("a", 0.1)
		end
		assert.equal(1, w:sum("a"))
	end)

	it("leaves out what is no finite number", function()
		local w = fill(window.new(), 5)
		assert.same({ n = 2, nil, "not a finite number: nan" }, table.pack(w:add("a", math.abs(0 / 0))))
		assert.same({ n = 2, nil, "not a finite number: inf" }, table.pack(w:add("a", math.huge)))
		assert.same({ n = 2, nil, "no value" }, table.pack(w:add("a")))
		assert.same({ n = 2, nil, 'not a number: "x"' }, table.pack(w:add("a", "x")))
		assert.same({ n = 2, nil, "too large: 1e+151" }, table.pack(w:add("a", 1e151)))
		assert.same({ n = 2, nil, "too large: -1e+200" }, table.pack(w:add("b", -1e200)))
		assert.equal(1, w:count("a"))
		fill(w, math.mininteger, math.maxinteger)
		assert.equal(3, w:count("a"))
	end)

	it("raises errors that name the argument", function()
		local function raises(text, options)
			assert.error_matches(function() window.new(options) end, text, 1, true)
		end
		raises("window.new: over: expected count or over, got both", { count = 5, over = 5 })
		raises("window.new: buckets: expected only with over", { count = 5, buckets = 5 })
		raises("window.new: count: expected an integer from 1 to 1000, got 1001", { count = 1001 })
		raises("window.new: percentiles: expected true, or a list of numbers from 0 to 100, got table",
			{ percentiles = { 101 } })
		local w = window.new()
		assert.error_matches(function() w:percentile("a", 50) end,
			"percentile: give window.new the option percentiles = true", 1, true)
		assert.error_matches(function() w:percentile("a", "50") end,
			'p: expected a number from 0 to 100, got "50"', 1, true)
		assert.error_matches(function() w:take() end, "series: expected a string or an integer, got nil", 1, true)
		assert.error_matches(function() window.new({ over = 1 }):mean("a", "x") end,
			'time: expected seconds since 1970, got "x"', 1, true)
	end)

	it("goes on after a restart with its data in state", function()
		local kinds = { { percentiles = true, state = "all" }, { count = 4, state = "count" },
			{ over = 60, state = "time", percentiles = true } }
		for _, options in ipairs(kinds) do
			fill(window.new(options), 1, 2, 3)
		end
		agent = agent:restart(agent.time + 1)
		window = agent:require "rules.window"
		for _, options in ipairs(kinds) do
			local w = fill(window.new(options), 4)
			assert.equal(2.5, w:mean("a"))
			assert.equal(2.5, w:percentile("a", 50))
		end
		-- made differently, its data is of no use
		assert.equal(0, window.new({ count = 5, state = "count" }):count("a"))
	end)

	it("agrees with a naive one on random readings, over all, over the last, over a time", function()
		property.holds(40, function()
			local size, seconds, time = math.random(1, 20), 2 ^ math.random(2, 6), 1e6
			local offset = property.one_of(0, 0, 1000, -50)
			local state = property.one_of(nil, "w" .. math.random(1e9))
			local all = window.new { state = state and state .. "a" }
			local last = window.new { count = size, state = state and state .. "l" }
			local recent = window.new { over = seconds, buckets = 4, state = state and state .. "r" }
			local readings, times = {}, {}
			for i = 1, 100 do
				time = time + math.random(0, 12) / 4
				local value = offset + property.number(-20, 20)
				readings[i], times[i] = value, time
				all:add("a", value, time)
				last:add("a", value, time)
				recent:add("a", value, time)
				assert_near(naive(readings), all:summary("a"))
				local some = table.move(readings, math.max(1, i - size + 1), i, 1, {})
				assert_near(naive(some), last:summary("a"))
				local p = math.random(0, 100)
				assert.near(percentile(some, p), last:percentile("a", p), 1e-9)
				local newer, first = {}, (time // (seconds / 4) - 3) * (seconds / 4)
				for j, then_ in ipairs(times) do
					newer[#newer + 1] = then_ >= first and readings[j] or nil
				end
				assert_near(naive(newer), recent:summary("a", time))
			end
		end)
	end)
end)

describe("a window's percentiles", function()
	local window = fake_agent.new():require "rules.window"

	it("are exact up to 100 readings", function()
		property.holds(30, function()
			local w, readings = window.new { percentiles = true }, {}
			for i = 1, math.random(1, 100) do
				readings[i] = property.number(-20, 20)
				w:add("a", readings[i])
			end
			for p = 0, 100, 5 do
				assert.near(percentile(readings, p), w:percentile("a", p), 1e-9)
			end
		end)
	end)

	local shapes = {
		uniform = function() return math.random() end,
		far = function() return 1013 + math.random() end,
		skewed = function() return -math.log(1 - math.random()) ^ 3 end,
		rising = function(i) return i end,
		falling = function(i) return -i end,
		steps = function() return math.random(1, 6) end,
		two_humps = function() return math.random() + property.one_of(0, 0, 100) end,
		mostly_zero = function() return math.random() < 0.1 and math.random() or 0 end,
	}

	--- How far p is from the ranks that `value` has among the readings.
	local function rank_error(readings, value, p)
		local below, equal = 0, 0
		for _, reading in ipairs(readings) do
			below = below + (reading < value and 1 or 0)
			equal = equal + (reading == value and 1 or 0)
		end
		local low, high = below / #readings * 100, (below + equal) / #readings * 100
		return math.max(0, low - p, p - high)
	end

	local function check_shape(shape, options, time_of)
		local w, readings = window.new(options), {}
		for i = 1, math.random(200, 4000) do
			readings[i] = shape(i)
			w:add("a", readings[i], time_of(i))
		end
		for _, p in ipairs { 0, 1, 5, 25, 50, 75, 90, 95, 99, 99.9, 100 } do
			local q = p / 100
			local allowed = 100 * (math.pi / 50 * math.sqrt(q * (1 - q)) + 4 / #readings) -- a cluster
			local off = rank_error(readings, w:percentile("a", p, time_of(#readings)), p)
			assert(off <= allowed, ("percentile %g is off by %.2f of %.2f"):format(p, off, allowed))
		end
		return w
	end

	for name, shape in pairs(shapes) do
		it("are near in rank beyond that: " .. name, function()
			property.holds(4, function()
				check_shape(shape, { percentiles = true }, function() return 0 end)
				check_shape(shape, { over = 5000, percentiles = true }, function(i) return i end)
			end)
		end)
	end

	it("take memory that does not grow", function()
		local root = {}
		local w = window.new { percentiles = true, state = root }
		for i = 1, 20000 do
			w:add("a", math.random() * i)
		end
		local digest = root.series.a.digest
		assert.equal(20000, w:count("a"))
		assert.is_true(#digest.means <= 100 and #digest.weights == #digest.means and #digest.fresh <= 50)
	end)
end)
