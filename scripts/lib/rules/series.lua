--- Data by series, in constant memory: a table from names to records that forgets
-- what was not used for longest.
--
-- Topics are without bound, memory is not. Records are in two generations. A record
-- that is used is, or comes, in the young one. When that holds `max` records and one
-- more comes, it becomes the old one, and what was still in the old one is
-- forgotten. So the `max` series that were used last are always there, there are
-- never more than twice as many, and a use costs one or two look-ups; nothing has to
-- be written to remember the order of use.
--
-- All of it is in one plain table, which may be in the persistent `state`: as
-- `state` is set back when a handler fails, nothing is remembered beside it, and no
-- part of it is held on to from one call to the next.
--
-- For the library's own use; scripts do not need it.
local M = {}
M.__index = M

--- A table of series for an object whose options were `options` (`state`,
-- `max_series`). `layout` is the module's name and, after a blank, what must not
-- change for data to be of use: data of another layout is dropped.
function M.new(options, layout)
	return setmetatable({ home = options.state or {}, max = options.max_series, layout = layout }, M)
end

--- Begins anew in `root`, unless that is somebody else's.
local function begin(self, root)
	local module, layout = self.layout:match("^%S+"), root.layout
	local owner = type(layout) == "string" and layout:match("^%S+")
	if owner ~= module and next(root) ~= nil then
		error(("state: that table holds %s: give each object a table of its own"):format(
			owner and "data of rules." .. owner or "something else"), 0)
	end
	root.young, root.count = "a", 0
	root.a, root.b = {}, {}
	root.layout = self.layout
end

local function root_of(self)
	local home = self.home
	local root = home
	if type(home) == "string" then
		root = state[home]
		if root == nil then
			state[home] = {}
			root = state[home]
		elseif type(root) ~= "table" then
			error(("state.%s: expected a table, found %s"):format(home, type(root)), 0)
		end
	end
	if root.layout ~= self.layout then
		begin(self, root)
	end
	return root
end

local function other(name)
	return name == "a" and "b" or "a"
end

local function copy(value)
	if type(value) ~= "table" then
		return value
	end
	local result = {}
	for key, item in pairs(value) do
		result[key] = copy(item)
	end
	return result
end

local function add(self, root, name, record)
	local count = root.count
	if count >= self.max then
		root.young = other(root.young)
		root[root.young] = {}
		count = 0
	end
	local young = root[root.young]
	young[name] = record
	root.count = count + 1
	return young[name]
end

--- The record of a series, or nil.
function M:get(name)
	local root = root_of(self)
	local record = root[root.young][name]
	if record ~= nil then
		return record
	end
	local old = root[other(root.young)]
	record = old[name]
	if record == nil then
		return nil
	end
	record = copy(record)
	old[name] = nil
	return add(self, root, name, record)
end

--- Keeps `record`, a plain table, for a series that has none; returns it as it is now.
function M:add(name, record)
	return add(self, root_of(self), name, record)
end

--- Forgets a series; true if there was one.
function M:remove(name)
	local root = root_of(self)
	local young, old = root[root.young], root[other(root.young)]
	if young[name] ~= nil then
		young[name] = nil
		root.count = root.count - 1
		return true
	end
	local found = old[name] ~= nil
	old[name] = nil
	return found
end

local function by_name(a, b)
	if type(a) == type(b) then
		return a < b
	end
	return type(a) == "number"
end

--- The names, sorted, of all series, or of those for which test(record) is true.
function M:names(test)
	local root, names = root_of(self), {}
	for _, generation in ipairs { "a", "b" } do
		for name, record in pairs(root[generation]) do
			if not test or test(record) then
				names[#names + 1] = name
			end
		end
	end
	table.sort(names, by_name)
	return names
end

return M
