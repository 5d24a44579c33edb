--- Router: takes topics apart, and gives each message to the first route that fits.
--
--	local router = require "rules.router"
--	local routes = router.new {
--		{ "zigbee2mqtt/{device}/availability", function(_, payload, _, names)
--			log.info("%s is %s", names.device, payload)
--		end },
--		{ "sensors/{room}/temp", to = "site/{room}/temperature" },
--		{ "sensors/#", to = "site/other/{rest}", options = { qos = 0 } },
--	}
--
--	function on_message(topic, payload, msg)
--		if not routes:route(topic, payload, msg) then
--			log.warn("nobody wants %s", topic)
--		end
--	end
--
-- router.new(routes): a list of tables, the first that fits counts. In each:
--	[1]      which topics: an MQTT filter in which `{name}` stands for one level, as `+`
--	         does, and gives it a name; what `#` stands for is called `rest`
--	[2]      a function fn(topic, payload, msg, names): as a handler, and the parts of
--	         the topic by name
--	to       instead of a function: publish the payload on this topic, in which
--	         `{name}` is replaced
--	options  with `to`: those of mqtt.pub; default `{ retain = msg.retain }`
--
-- r:route(topic, payload [, msg]) returns
--	true and what the function or mqtt.pub returned
--	false  no route fits
-- r:match(topic) returns the number of the route that fits and the names; or nil. It
--	does nothing else.
--
-- A `to` that cannot be published, as the queue is full, raises an error. As with
-- MQTT, `+`, `{name}` and `#` at the beginning do not fit topics that begin with `$`,
-- and `a/#` fits `a`, too (`rest` is empty then).
--
-- Finding the route costs a look-up for each level of the topic, however many routes
-- there are, and more only where routes differ in which levels are open. Nothing is
-- remembered. Structure: a tree by levels, as brokers have.
local check = require "rules.check"

local M = {}
M.__index = M

local function split(topic)
	local levels = {}
	for level in (topic .. "/"):gmatch("([^/]*)/") do
		levels[#levels + 1] = level
	end
	return levels
end

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

--- Enters route `number` in the tree; returns the places of its names.
local function enter(tree, number, filter)
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

local function build(routes)
	if type(routes) ~= "table" then
		error(("router.new: expected a list of routes, got %s"):format(check.name_of(routes)), 0)
	end
	local self = { tree = {}, routes = {} }
	for number, route in ipairs(routes) do
		if type(route) ~= "table" then
			bad(number, "expected a table, got %s", check.name_of(route))
		end
		local places = enter(self.tree, number, route[1])
		check_target(number, route, places)
		self.routes[number] = { fn = route[2], to = route.to, options = route.options, places = places }
	end
	return self
end

--- A router; see above.
function M.new(routes)
	local ok, self = pcall(build, routes)
	if not ok then
		error(self, 2)
	end
	return setmetatable(self, M)
end

local function lower(a, b)
	return (not a or b and b < a) and b or a
end

--- The lowest number of a route below `node` that fits the levels from the i-th on.
local function find(node, levels, i)
	local wild = i > 1 or levels[1]:byte() ~= 36 -- $
	local found = wild and node.rest or nil
	if i > #levels then
		return lower(found, node.here)
	end
	local children = node.children
	if children then
		local child, open = children[levels[i]], wild and children["+"]
		found = lower(found, child and find(child, levels, i + 1))
		found = lower(found, open and find(open, levels, i + 1))
	end
	return found
end

local function names_of(places, levels)
	local names = {}
	for name, place in pairs(places) do
		names[name] = name == "rest" and table.concat(levels, "/", place) or levels[place]
	end
	return names
end

--- The number of the route that fits, and the topic's parts by name.
function M:match(topic)
	if type(topic) ~= "string" then
		error(("topic: expected a string, got %s"):format(check.name_of(topic)), 2)
	end
	local levels = split(topic)
	local number = find(self.tree, levels, 1)
	if not number then
		return nil
	end
	return number, names_of(self.routes[number].places, levels)
end

--- Gives a message to the first route that fits.
function M:route(topic, payload, msg)
	local number, names = self:match(topic)
	if not number then
		return false
	end
	local route = self.routes[number]
	if route.fn then
		return true, route.fn(topic, payload, msg, names)
	end
	local options = route.options or msg and { retain = msg.retain }
	return true, assert(mqtt.pub(route.to:gsub("{(.-)}", names), payload, options))
end

return M
