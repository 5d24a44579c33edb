--- Routes: makes the tree that rules.router looks into.
--
-- For the library's own use. It is required when a router is made and not kept.
local check = require "rules.check"

local M = {}

local function bad(number, text, ...)
	error(("router.new: route %d: " .. text):format(number, ...), 0)
end

--- Notes in `places` which level has which name, and returns "+" for an open level.
local function read_level(number, level, place, last, places)
	local name = level:match("^{([%a_][%w_]*)}$")
	if level == "#" then
		name = "rest"
		if not last then
			bad(number, "# must be the last level")
		end
	elseif not name and level ~= "+" and level:find("[+#{}]") then
		bad(number, "%q: expected a plain level, +, {name} or #", level)
	end
	if name == "rest" and level ~= "#" then
		bad(number, "{rest}: that is the name of what # stands for")
	elseif name and places[name] then
		bad(number, "the name %s comes twice", name)
	elseif name then
		places[name] = place
	end
	return name and level ~= "#" and "+" or level
end

local function grow(node, level)
	node.children = node.children or {}
	node.children[level] = node.children[level] or {}
	return node.children[level]
end

--- Enters route `number` in the tree; returns the places of its names. split(filter): its levels.
local function enter(tree, number, filter, split)
	if type(filter) ~= "string" or filter == "" then
		bad(number, "[1]: expected a filter, got %s", check.name_of(filter))
	end
	local levels, places, node = split(filter), {}, tree
	for i, level in ipairs(levels) do
		level = read_level(number, level, i, i == #levels, places)
		if level == "#" then
			node.rest = node.rest or number
			return places
		end
		node = grow(node, level)
	end
	node.here = node.here or number
	return places
end

local function check_target(number, route, places)
	local fn, to = route[2], route.to
	if fn ~= nil and type(fn) ~= "function" then
		bad(number, "[2]: expected a function, got %s", check.name_of(fn))
	elseif (fn == nil) == (to == nil) then
		bad(number, "expected a function or to, and not both")
	elseif to ~= nil and type(to) ~= "string" then
		bad(number, "to: expected a topic, got %s", check.name_of(to))
	end
	for name in (to or ""):gmatch("{(.-)}") do
		if not places[name] then
			bad(number, "to: there is no {%s} in the filter", name)
		end
	end
	for key in pairs(route) do
		if key ~= 1 and key ~= 2 and key ~= "to" and key ~= "options" then
			bad(number, "unknown key %s; there are: 1, 2, options, to", check.name_of(key))
		end
	end
end

--- The tree of `routes` and, by number, what to do; or raises what is wrong, without a place.
function M.build(routes, split)
	if type(routes) ~= "table" then
		error(("router.new: expected a list of routes, got %s"):format(check.name_of(routes)), 0)
	end
	local self = { tree = {}, routes = {} }
	for number, route in ipairs(routes) do
		if type(route) ~= "table" then
			bad(number, "expected a table, got %s", check.name_of(route))
		end
		local places = enter(self.tree, number, route[1], split)
		check_target(number, route, places)
		self.routes[number] = { fn = route[2], to = route.to, options = route.options, places = places }
	end
	return self
end

return M
