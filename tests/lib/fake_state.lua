--- A double of the scripts' persistent `state`: nested tables in it are proxies; what
-- may not be kept raises an error; it can be set back to how it was.
local M = {}

local data_of = setmetatable({}, { __mode = "k" }) -- proxy → what it stands for
local proxy = {}

local function node(data)
	local self = setmetatable({}, proxy)
	data_of[self] = data
	return self
end

local function checked_key(key)
	local kind = math.type(key) or type(key)
	assert(kind == "string" or kind == "integer" or kind == "float" and key == key, "state: a key of type " .. kind)
	return key
end

local adopt

local function kept(value)
	local kind = type(value)
	if kind == "table" then
		return adopt(value)
	end
	assert(value == nil or kind == "string" or kind == "boolean" or kind == "number", "state: a value of type " .. kind)
	assert(kind ~= "number" or value - value == 0, "state: not a finite number")
	return value
end

--- A plain table becomes part of the state as it is; what is part of it is copied.
function adopt(value)
	local data, source = {}, data_of[value] or value
	assert(data_of[value] or getmetatable(value) == nil, "state: a table with a metatable")
	for key, item in next, source do
		data[checked_key(key)] = kept(item)
	end
	if data_of[value] then
		return node(data)
	end
	for key in next, data do
		value[key] = nil
	end
	data_of[value] = data
	return setmetatable(value, proxy)
end

function proxy.__index(self, key)
	return data_of[self][key]
end

function proxy.__newindex(self, key, value)
	data_of[self][checked_key(key)] = kept(value)
end

function proxy.__len(self)
	return #data_of[self]
end

function proxy.__pairs(self)
	return next, data_of[self], nil
end

--- What the scripts' global `next` is.
function M.next(table, key)
	return next(data_of[table] or table, key)
end

--- A plain copy of a state, or of a part of it.
function M.plain(state)
	local data = data_of[state]
	if not data then
		return state
	end
	local copy = {}
	for key, value in next, data do
		copy[key] = M.plain(value)
	end
	return copy
end

--- A state that holds what is in the plain table `tree`, whose tables it takes over.
function M.new(tree)
	local state = node {}
	for key, value in pairs(tree or {}) do
		state[key] = value
	end
	return state
end

--- Sets a state back to the plain copy `tree`; parts of it that a script holds on to
-- are no part of it any more.
function M.restore(state, tree)
	data_of[state] = {}
	for key, value in pairs(tree) do
		state[key] = value
	end
end

return M
