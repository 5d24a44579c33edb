--- Looks at what the other modules of the library are given.
--
-- A wrong option, series or time is a mistake in the script: it raises an error that
-- names it, at the line of the script. A value that is no finite number is a state
-- of the world (a sensor that says "nan", a payload that is no number, a field that
-- is missing): the call changes nothing and returns nil and the reason.
--
-- For the library's own use; scripts do not need it.
local M = {}

--- Is it a finite number?
function M.is_finite(value)
	return type(value) == "number" and value - value == 0
end

--- How a value is called in an error.
function M.name_of(value)
	local kind = type(value)
	return kind == "string" and ("%q"):format(value:sub(1, 40)) or kind == "number" and tostring(value) or kind
end

--- Raises an error where the caller's caller was called.
local function refuse(what, expected, value)
	error(("%s: expected %s, got %s"):format(what, expected, M.name_of(value)), 4)
end

--- A series' name: a string, usually the topic, or an integer.
function M.series(series)
	if type(series) ~= "string" and math.type(series) ~= "integer" then
		refuse("series", "a string or an integer", series)
	end
	return series
end

--- Seconds since 1970: `time`, or now().
function M.time(time)
	if time == nil then
		return now()
	elseif not M.is_finite(time) then
		refuse("time", "seconds since 1970", time)
	end
	return time
end

--- There is no value. Called with a dot, a method gets its first argument as the object. For tail calls.
function M.no_value(object)
	if type(object) ~= "table" then
		error("object.method(...) was called: expected a colon, object:method(...)", 3)
	end
	return nil, "no value"
end

--- The number that `value`, given to a method of `object`, is or, being text, holds; or nil and the reason.
function M.value(value, object)
	local kind, number = type(value), value
	if kind == "string" then
		number = tonumber(value)
		if not number then
			return nil, "not a number: " .. M.name_of(value)
		end
	elseif kind == "nil" or kind == "userdata" then
		return M.no_value(object)
	elseif kind ~= "number" then
		refuse("value", "a number", value)
	end
	if not M.is_finite(number) then
		return nil, "not a finite number: " .. number
	end
	return number
end

return M
