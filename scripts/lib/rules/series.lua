--- Data by series, in constant memory: a table from names to records that forgets
-- what was not used for longest.
--
-- Topics are without bound, memory is not. Time is divided into generations, and each
-- record has the number of the one in which it was used last. When `max` records were
-- used in a generation and one more comes, the next generation begins, and records from
-- before the last two are forgotten. So the `max` series that were used last are always
-- there, there are never more than twice as many, and a use that is not the first in its
-- generation writes nothing.
--
-- Data may be in the persistent `state`. There each record is an entry of its own,
-- state["NAME|SERIES"], as what has changed is written by entry; state.NAME has the
-- generation. As `state` is set back when a handler fails, nothing is remembered beside
-- it, and no part of it is held on to from one call to the next.
--
-- For the library's own use; scripts do not need it.
local M = {}
M.__index = M

--- A table of series for an object whose options were `options` (`state`,
-- `max_series`). `layout` is the module's name and, after a blank, what must not
-- change for data to be of use: data of another layout is dropped.
function M.new(options, layout)
	local home = options.state or {}
	return setmetatable({
		home = home, prefix = type(home) == "string" and home .. "|" or nil, max = options.max_series, layout = layout,
	}, M)
end

--- The series whose record is at `key`, or nil if there is none at it.
local function name_at(prefix, key)
	if not prefix then
		return key
	elseif type(key) == "string" and key:sub(1, #prefix) == prefix then
		key = key:sub(#prefix + 1)
		local number = key:match("^#(%-?%d+)$")
		return number and math.tointeger(number) or key:match("^#(#.*)") or key
	end
end

--- Forgets the records from before `generation`.
local function purge(prefix, records, generation)
	local keys = {}
	for key, record in pairs(records) do
		if name_at(prefix, key) ~= nil and (record.generation or 0) < generation then
			keys[#keys + 1] = key
		end
	end
	for _, key in ipairs(keys) do
		records[key] = nil
	end
end

--- Begins anew in `root`, unless that is somebody else's.
local function begin(self, root)
	local layout = root.layout
	local owner = type(layout) == "string" and layout:match("^%S+")
	if owner ~= self.layout:match("^%S+") and next(root) ~= nil then
		error(("state: that table holds %s: give each object a place of its own"):format(
			owner and "data of rules." .. owner or "something else"), 0)
	end
	if self.prefix then
		purge(self.prefix, state, math.huge)
	else
		root.series = {}
	end
	root.generation, root.count, root.layout = 1, 0, self.layout
end

--- What all records have in common; the table of records; and the key of that of `name`:
-- in `state` integers are written "#7", and what begins with "#" anyway, "##".
local function find(self, name)
	local root, prefix = self.home, self.prefix
	if prefix then
		local home = root
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
	if not prefix then
		return root, root.series, name
	elseif type(name) ~= "string" or name:byte() == 35 then
		name = "#" .. name
	end
	return root, state, prefix .. name
end

--- The record is used, in this generation or, if that is full, in the next.
local function use(self, root, records, record)
	local generation, count = root.generation, root.count
	local full = count >= self.max
	if full then
		generation, count = generation + 1, 0
		root.generation = generation
	end
	record.generation, root.count = generation, count + 1
	if full then
		purge(self.prefix, records, generation - 1)
	end
end

--- The record of a series, or nil; the series is used.
function M:get(name)
	local root, records, key = find(self, name)
	local record = records[key]
	if record ~= nil and record.generation ~= root.generation then
		use(self, root, records, record)
	end
	return record
end

--- The same without counting as a use, so that nothing else is forgotten.
function M:peek(name)
	local _, records, key = find(self, name)
	return records[key]
end

--- Keeps `record`, a plain table, for a series that has none; returns it as it is now.
function M:add(name, record)
	local root, records, key = find(self, name)
	use(self, root, records, record)
	records[key] = record
	return records[key]
end

--- Forgets a series; true if there was one.
function M:remove(name)
	local root, records, key = find(self, name)
	local record = records[key]
	if record == nil then
		return false
	end
	if record.generation == root.generation then
		root.count = root.count - 1
	end
	records[key] = nil
	return true
end

--- The names, sorted, of all series, or of those for which test(record, name) is true.
function M:names(test)
	local _, records = find(self, 0)
	local names = {}
	for key, record in pairs(records) do
		local name = name_at(self.prefix, key)
		if name ~= nil and (not test or test(record, name)) then
			names[#names + 1] = name
		end
	end
	table.sort(names, function(a, b)
		if type(a) == type(b) then
			return a < b
		end
		return type(a) == "number"
	end)
	return names
end

return M
