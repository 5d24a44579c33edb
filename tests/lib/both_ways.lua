--- Objects of the rules library, twice: data in memory and data in `state`; whatever
-- happens to both must come out the same. A script of its own, without busted, so that
-- it can run in a real agent, too.
--
--	local step = both_ways(max_series)
--	step()   -- one random reading for all; raises an error if two differ
local function both_ways(max_series)
	local window, rate = require "rules.window", require "rules.rate"
	local kinds = {
		{ require "rules.deadband".new, { by = 3, every = 50 }, "changed" },
		{ require "rules.throttle".new, { every = 20, burst = 3 }, "allow" },
		{ require "rules.dedupe".new, { remember = 5, within = 30 }, "first" },
		{ window.new, { percentiles = { 50, 90 } }, "add" },
		{ window.new, { over = 60, percentiles = { 50 } }, "add" },
		{ window.new, { count = 7 }, "add" },
		{ require "rules.alarm".new, { above = 8, hysteresis = 2, delay = 10, clear_delay = 10 }, "update" },
		{ rate.new, {}, "update" },
		{ rate.counter, { wrap = 20 }, "update" },
		{ require "rules.heartbeat".new, { after = 20 }, "seen" },
	}
	local twins, time = {}, 0
	for i, kind in ipairs(kinds) do
		local make, options = kind[1], kind[2]
		options.max_series = max_series
		local in_memory = make(options)
		options.state = "twin " .. i
		twins[i] = { in_memory, make(options), method = kind[3], number = i }
	end

	local function same(a, b)
		if type(a) ~= "table" or type(b) ~= "table" then
			return a == b
		end
		for key, value in pairs(a) do
			if not same(value, b[key]) then
				return false
			end
		end
		for key in pairs(b) do
			if a[key] == nil then
				return false
			end
		end
		return true
	end

	local function expect_same(twin, what, ask)
		if not same(ask(twin[1]), ask(twin[2])) then
			error(("twin %d differs in %s at %s"):format(twin.number, what, time))
		end
	end

	return function()
		time = time + math.random(-3, 9)
		local name, value = "s" .. math.random(2 * max_series), math.random(0, 19)
		for _, twin in ipairs(twins) do
			local method = twin.method
			expect_same(twin, method, function(object)
				if method == "allow" or method == "seen" then
					return { object[method](object, name, time) }
				end
				return { object[method](object, name, value, time) }
			end)
			if twin[1].summary then
				expect_same(twin, "summary", function(object)
					return object:summary(name, time)
				end)
			elseif twin[1].silent then
				expect_same(twin, "silent", function(object)
					local found = {}
					for series, seconds in object:silent(time) do
						found[#found + 1] = series .. " " .. seconds
					end
					return found
				end)
			end
		end
	end
end

return both_ways
