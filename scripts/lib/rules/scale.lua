--- Scale: makes one unit of another, along a straight line or several.
--
--	local scale = require "rules.scale"
--	local pressure = scale.new { from = { 4, 20 }, to = { 0, 250 }, decimals = 1 } -- mA to kPa
--
--	on("loops/+/current", function(topic, payload)
--		local kpa = pressure:convert(payload)
--		if kpa then
--			mqtt.pub(topic:gsub("current$", "pressure"), kpa)
--		end
--	end)
--
-- scale.new(options):
--	from, to  lists of the same length, two numbers or more: from[i] becomes to[i], and
--	          what is between lies on the straight line between. `from` rises or falls
--	          all the way. Required
--	outside   what becomes of a value outside `from`: "extend" (the default) goes on
--	          with the first or last line, "clamp" gives the first or last of `to`,
--	          "refuse" gives nil: below 3.6 mA a wire is broken
--	decimals  round to so many, 0 to 12; default: not. With 0, an integer comes back
--
-- s:convert(value) returns
--	a number
--	nil and the reason  it is no finite number, or outside
--
-- There are no series, and nothing is remembered. Method: linear interpolation,
-- exact at the points given.
local check = require "rules.check"

local M = {}
M.__index = M

local function read_list(value)
	if type(value) ~= "table" or #value < 2 then
		return nil
	end
	for _, number in ipairs(value) do
		if not check.is_finite(number) then
			return nil
		end
	end
	return value
end

local function read_outside(value)
	return (value == "extend" or value == "clamp" or value == "refuse") and value or nil
end

--- Copies of both lists, with `from` rising; or nil.
local function rising(from, to)
	local count, xs, ys = #from, {}, {}
	local falling = from[1] > from[count]
	for i = 1, count do
		local place = falling and count + 1 - i or i
		xs[place], ys[place] = from[i], to[i]
	end
	for i = 2, count do
		if xs[i] <= xs[i - 1] then
			return nil
		end
	end
	return xs, ys
end

--- A scale; see above.
function M.new(options)
	local kinds = require "rules.options"
	local list = { expected = "a list of two numbers or more", read = read_list }
	options = kinds.read("scale.new", options, {
		from = { list, required = true },
		to = { list, required = true },
		outside = { { expected = '"extend", "clamp" or "refuse"', read = read_outside }, default = "extend" },
		decimals = { kinds.integer(0, 12) },
	})
	if #options.from ~= #options.to then
		error(("scale.new: to: expected as many numbers as in from (%d), got %d"):format(#options.from, #options.to), 2)
	end
	local xs, ys = rising(options.from, options.to)
	if not xs then
		error("scale.new: from: expected numbers that rise or fall all the way", 2)
	end
	return setmetatable({
		xs = xs, ys = ys, outside = options.outside,
		unit = options.decimals and 10 ^ options.decimals, whole = options.decimals == 0,
	}, M)
end

--- Which line: from point i to point i + 1.
local function line_of(xs, x)
	local low, high = 1, #xs - 1
	while low < high do
		local middle = (low + high + 1) // 2
		if x >= xs[middle] then
			low = middle
		else
			high = middle - 1
		end
	end
	return low
end

local function interpolate(xs, ys, x)
	local i = line_of(xs, x)
	local part = (x - xs[i]) / (xs[i + 1] - xs[i])
	if part > 0.5 then -- from the nearer point, so that it is exact there
		return ys[i + 1] - (1 - part) * (ys[i + 1] - ys[i])
	end
	return ys[i] + part * (ys[i + 1] - ys[i])
end

local function round(self, y)
	if not self.unit then
		return y
	end
	local rounded = math.floor(y * self.unit + 0.5)
	return self.whole and rounded or rounded / self.unit
end

--- The value in the other unit.
function M:convert(value)
	local x, why = check.value(value, self)
	if not x then
		return nil, why
	end
	local xs, ys = self.xs, self.ys
	local first, last = xs[1], xs[#xs]
	if x >= first and x <= last or self.outside == "extend" then
		return round(self, interpolate(xs, ys, x))
	elseif self.outside == "refuse" then
		return nil, ("outside %s to %s: %s"):format(first, last, x)
	end
	return round(self, x < first and ys[1] or ys[#ys])
end

return M
