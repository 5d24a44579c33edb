--- Options: what constructors of the library are given. A wrong one is a mistake in the
-- script: it raises an error that names it, at the line of the script.
--
-- For the library's own use. Constructors require it when they are called and do not keep
-- it: once all objects are there, it takes no memory.
local check = require "rules.check"

local M = {}

local UNITS = { ms = 0.001, s = 1, m = 60, h = 3600, d = 86400 }

-- ---- kinds of options: what is expected, and a function that gives the value or nil ----

--- A finite number.
M.number = {
	expected = "a finite number",
	read = function(value)
		return check.is_finite(value) and value or nil
	end,
}

--- A finite number above 0.
M.positive = {
	expected = "a number above 0",
	read = function(value)
		return check.is_finite(value) and value > 0 and value or nil
	end,
}

--- A finite number, 0 or more.
M.not_negative = {
	expected = "a number, 0 or more",
	read = function(value)
		return check.is_finite(value) and value >= 0 and value or nil
	end,
}

local function seconds(value)
	if type(value) == "string" then
		local number, unit = value:match("^(%d+%.?%d*)(%a+)$")
		value = UNITS[unit] and tonumber(number) * UNITS[unit]
	end
	return check.is_finite(value) and value or nil
end

--- A time above 0, in seconds or as "250ms", "5s", "10m", "2h", "7d".
M.duration = {
	expected = 'seconds above 0 or a duration such as "5m"',
	read = function(value)
		value = seconds(value)
		return value and value > 0 and value or nil
	end,
}

--- The same, or 0.
M.delay = {
	expected = 'seconds, 0 or more, or a duration such as "5m"',
	read = function(value)
		value = seconds(value)
		return value and value >= 0 and value or nil
	end,
}

--- An integer from `low` to `high`.
function M.integer(low, high)
	return {
		expected = ("an integer from %d to %d"):format(low, high),
		read = function(value)
			value = type(value) == "number" and math.tointeger(value)
			return value and value >= low and value <= high and value or nil
		end,
	}
end

--- true or false.
M.flag = {
	expected = "true or false",
	read = function(value)
		if type(value) == "boolean" then
			return value
		end
	end,
}

--- true, or a list of percentiles.
M.percentiles = {
	expected = "true, or a list of numbers from 0 to 100",
	read = function(value)
		if type(value) == "table" then
			for _, p in ipairs(value) do
				if not check.is_finite(p) or p < 0 or p > 100 then
					return nil
				end
			end
		elseif type(value) ~= "boolean" then
			return nil
		end
		return value
	end,
}

local STATE = {
	expected = "a name in the global table state, without |, or a table",
	read = function(value)
		local is_name = type(value) == "string" and value ~= "" and not value:find("|", 1, true)
		return (is_name or type(value) == "table") and value or nil
	end,
}

-- ---- options ----

local function names_of(schema)
	local names = {}
	for name in pairs(schema) do
		names[#names + 1] = name
	end
	table.sort(names)
	return names
end

--- Adds to `schema` what every constructor of an object with series takes.
function M.with_series(schema)
	schema.max_series = { M.integer(1, 1000000), default = 1000 }
	schema.state = { STATE }
	return schema
end

--- The options `given` to the constructor `who`, by `schema`: for each name a kind,
-- and `default` or `required`. Unknown names are errors.
function M.read(who, given, schema)
	local known, options = names_of(schema), {}
	given = given == nil and {} or given
	if type(given) ~= "table" then
		error(("%s: expected a table of options, got %s"):format(who, check.name_of(given)), 3)
	end
	for name in pairs(given) do
		if not schema[name] then
			error(("%s: unknown option %s; there are: %s"):format(who, check.name_of(name), table.concat(known, ", ")), 3)
		end
	end
	for _, name in ipairs(known) do
		local rule, value = schema[name], given[name]
		if value ~= nil then
			options[name] = rule[1].read(value)
			if options[name] == nil then
				error(("%s: %s: expected %s, got %s"):format(who, name, rule[1].expected, check.name_of(value)), 3)
			end
		elseif rule.required then
			error(("%s: %s is missing: expected %s"):format(who, name, rule[1].expected), 3)
		else
			options[name] = rule.default
		end
	end
	return options
end

return M
