--- Looks at what the other modules of the library are given.
--
-- A wrong option, series or time is a mistake in the script: it raises an error that
-- names it, at the line of the script. A value that is no finite number is a state
-- of the world (a sensor that says "nan", a payload that is no number, a field that
-- is missing): the call changes nothing and returns nil and the reason.
--
-- For the library's own use; scripts do not need it.
local M = {}

local INFINITY = math.huge
local UNITS = { ms = 0.001, s = 1, m = 60, h = 3600, d = 86400 }
local MAX_SERIES = 1000

local function is_finite(value)
	return type(value) == "number" and value == value and value ~= INFINITY and value ~= -INFINITY
end

--- How a value is called in an error.
local function name_of(value)
	if type(value) == "number" then
		return tostring(value)
	end
	return type(value) == "string" and ("%q"):format(value:sub(1, 40)) or type(value)
end

M.name_of = name_of

-- ---- kinds of options: what is expected, and a function that gives the value or nil ----

--- A finite number.
M.number = {
	expected = "a finite number",
	read = function(value)
		return is_finite(value) and value or nil
	end,
}

--- A finite number above 0.
M.positive = {
	expected = "a number above 0",
	read = function(value)
		return is_finite(value) and value > 0 and value or nil
	end,
}

--- A finite number, 0 or more.
M.not_negative = {
	expected = "a number, 0 or more",
	read = function(value)
		return is_finite(value) and value >= 0 and value or nil
	end,
}

local function seconds(value)
	if type(value) == "string" then
		local number, unit = value:match("^(%d+%.?%d*)(%a+)$")
		value = UNITS[unit] and tonumber(number) * UNITS[unit]
	end
	return is_finite(value) and value or nil
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
	schema.max_series = { M.integer(1, 1000000), default = MAX_SERIES }
	schema.state = { STATE }
	return schema
end

--- The options `given` to the constructor `who`, by `schema`: for each name a kind,
-- and `default` or `required`. Unknown names are errors.
function M.options(who, given, schema)
	local known, options = names_of(schema), {}
	given = given == nil and {} or given
	if type(given) ~= "table" then
		error(("%s: expected a table of options, got %s"):format(who, name_of(given)), 3)
	end
	for name in pairs(given) do
		if not schema[name] then
			error(("%s: unknown option %s; there are: %s"):format(who, name_of(name), table.concat(known, ", ")), 3)
		end
	end
	for _, name in ipairs(known) do
		local rule, value = schema[name], given[name]
		if value ~= nil then
			options[name] = rule[1].read(value)
			if options[name] == nil then
				error(("%s: %s: expected %s, got %s"):format(who, name, rule[1].expected, name_of(value)), 3)
			end
		elseif rule.required then
			error(("%s: %s is missing: expected %s"):format(who, name, rule[1].expected), 3)
		else
			options[name] = rule.default
		end
	end
	return options
end

-- ---- arguments of methods ----

--- A series' name: a string, usually the topic, or an integer.
function M.series(series)
	if type(series) == "string" or math.type(series) == "integer" then
		return series
	end
	error(("series: expected a string or an integer, got %s"):format(name_of(series)), 3)
end

--- Seconds since 1970: `time`, or now().
function M.time(time)
	if time == nil then
		return now()
	elseif not is_finite(time) then
		error(("time: expected seconds since 1970, got %s"):format(name_of(time)), 3)
	end
	return time
end

--- The number that `value` is or, being text, holds; or nil and the reason.
function M.value(value)
	local kind = type(value)
	if kind == "string" then
		local number = tonumber(value)
		if not number then
			return nil, ("not a number: %s"):format(name_of(value))
		end
		value = number
	elseif kind == "nil" or kind == "userdata" then
		return nil, "no value"
	elseif kind ~= "number" then
		error(("value: expected a number, got %s"):format(kind), 3)
	end
	if not is_finite(value) then
		return nil, ("not a finite number: %s"):format(value)
	end
	return value
end

--- What identifies a value among others: a string; or nil and the reason.
function M.identity(value)
	local kind = math.type(value) or type(value)
	if kind == "string" then
		return value
	elseif kind == "integer" or kind == "boolean" then
		return tostring(value)
	elseif kind == "nil" or kind == "userdata" then
		return nil, "no value"
	elseif kind ~= "float" then
		error(("value: expected a string, a number or a boolean, got %s"):format(kind), 3)
	elseif not is_finite(value) then
		return nil, ("not a finite number: %s"):format(value)
	end
	return ("%.17g"):format(value)
end

return M
