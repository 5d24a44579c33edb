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

--- A router; see above.
function M.new(routes)
	local ok, self = pcall(require("rules.routes").build, routes, split)
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
