--- What a script can reach is a list, and no more: the same that the editor's stubs and
-- the linter are told. Whatever is added without being listed, or listed without being
-- there, fails here.
local file = require "lib.file"
local gateway = require "lib.gateway"

-- Publishes the path of all that can be reached from the globals, the objects that calls
-- give, and what handlers are given. It does not stop at tables it has seen under other names: a
-- function may be known by two.
local WALK = [[
	local seen, lines = {}, {}
	local standing = {}
	local function line(...)
		table.insert(lines, table.concat({ ... }, " "))
	end
	local function walk(path, value)
		if value ~= value then
			return
		end
		if not seen[value] then
			seen[value] = true
			local mt = getmetatable(value)
			if mt ~= nil then
				line("metatable", path, type(value), type(mt))
			end
		end
		if type(value) ~= "table" or standing[value] then
			return
		end
		standing[value] = true
		for key, inner in next, value do
			local name = path == "" and key or path .. "." .. tostring(key)
			if inner ~= walk and path .. tostring(key) ~= "on_start" then
				line("name", name, type(inner))
				walk(name, inner)
			end
		end
		standing[value] = nil
	end
	function on_start()
		walk("", _G)
		local objects = {
			link = mqtt.link("core"),
			timer = after(1000, print),
			counter = metric.counter("c"),
			gauge = metric.gauge("g"),
			null = json.null,
			state = state,
			array = json.decode("[]"),
			value = kdb.int(5),
			dictionary = kdb.dictionary({}, {}),
			table = kdb.table({ "a" }, { {} }),
		}
		for name, object in pairs(objects) do
			line("object", name, type(object), type(getmetatable(object)))
		end
		for name, method in METHODS:gmatch("(%w+):([%w_]+)") do
			line("method", name .. ":" .. method, type(objects[name:lower()][method]))
		end
		mqtt.pub("walk", table.concat(lines, "\n"))
	end
]]

-- Names that the stubs declare: `json.encode`, `on_message`; and methods: `Timer:cancel`.
local function stub()
	local names, methods = {}, {}
	local text = file.read("scripts/meta/tidegate.lua")
	for name in text:gmatch("\nfunction ([%w_.]+)%(") do
		names[name] = true
	end
	for name in text:gmatch("\n([%l_.]+) = ") do
		names[name] = true
	end
	for method in text:gmatch("\nfunction (%u%l+:[%w_]+)%(") do
		methods[method] = true
	end
	return names, methods
end

local function add(names, list, path)
	for key, value in pairs(list or {}) do
		if type(key) == "number" then
			names[path .. value] = true
		else
			names[path .. key] = true
			add(names, value.fields, path .. key .. ".")
		end
	end
	return names
end

-- The same of the linter's list: what is given, and what a script may define.
local function linted()
	local std = dofile("scripts/tidegate.luacheckrc").stds.tidegate
	return add({}, std.read_globals, ""), add({}, std.globals, "")
end

-- Names that Lua itself has, as opposed to those that Tidegate adds.
local function is_of_lua(name)
	local value = _G
	for part in name:gmatch("[^.]+") do
		value = type(value) == "table" and rawget(value, part) or nil
	end
	return value ~= nil and name ~= "log" and name ~= "metric"
end

local function keys(set)
	local list = {}
	for key in pairs(set) do
		table.insert(list, key)
	end
	table.sort(list)
	return list
end

-- What the walk found, made once: `names` with their kinds, `metatables`, `objects` and
-- `methods` with the kind of what was found there.
local found
local function walked()
	if found then
		return found
	end
	local _, methods = stub()
	local g = gateway.start { script = ("local METHODS = %q\n"):format(table.concat(keys(methods), " ")) .. WALK }
	found = { names = {}, metatables = {}, objects = {}, methods = {} }
	for line in g.collector:wait_topic("walk").payload:gmatch("[^\n]+") do
		local what, path, kind, more = line:match("^(%S+) (%S+) (%S+) ?(%S*)$")
		found[what .. "s"][path] = more ~= "" and more or kind
	end
	return found
end

-- Shows what one has and the other has not.
local function assert_same_names(expected, got)
	local missing, more = {}, {}
	for name in pairs(expected) do
		missing[name] = not got[name] or nil
	end
	for name in pairs(got) do
		more[name] = not expected[name] or nil
	end
	assert.same({ missing = {}, more = {} }, { missing = keys(missing), more = keys(more) })
end

describe("what a script can reach", function()
	it("is what the linter is told", function()
		assert_same_names(linted(), walked().names)
	end)

	it("is what the editor is told, handlers included", function()
		local ours = {}
		local _, defined = linted()
		for name in pairs(walked().names) do
			if not is_of_lua(name) then
				ours[name] = true
			end
		end
		for name in pairs(defined) do
			ours[name] = true
		end
		assert(ours["mqtt.pub"] and ours["json.null"] and not ours["string.format"])
		assert_same_names(ours, (stub()))
	end)

	it("has the methods that the editor is told", function()
		assert.equal("function", walked().methods["Link:pub"])
		for method, kind in pairs(walked().methods) do
			assert.equal("function", kind, method)
		end
	end)

	it("is values, functions and tables of them", function()
		for name, kind in pairs(walked().names) do
			local plain = kind == "function" or kind == "table" or kind == "string" or kind == "number"
			local typed = name:find("^kdb%.%l+%.") and kind == "userdata"
			assert(plain or typed or name == "json.null", name .. ": " .. kind)
		end
	end)

	-- A script that could write to one might give it a __gc, which runs where no limit holds; or
	-- a method that other parts of the script rely on.
	it("has no metatable to write to but that of strings", function()
		for path, kind in pairs(walked().metatables) do
			assert(kind ~= "table" or walked().names[path] == "string", path .. " has a metatable that is a table")
		end
		assert.same({ "array", "counter", "dictionary", "gauge", "link", "null", "state", "table", "timer", "value" },
			keys(walked().objects))
		for name, kind in pairs(walked().objects) do
			assert.equal("string", kind, name)
		end
	end)
end)
