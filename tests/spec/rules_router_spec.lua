--- rules.router
local fake_agent = require "lib.fake_agent"
local property = require "lib.property"

describe("a router", function()
	local agent, router

	before_each(function()
		agent = fake_agent.new()
		router = agent:require "rules.router"
	end)

	local function nothing()
	end

	it("gives a message to the first route that fits, with the topic's parts", function()
		local calls = {}
		local function note(...)
			calls[#calls + 1] = { ... }
			return "noted"
		end
		local r = router.new {
			{ "sensors/{room}/temp", note },
			{ "sensors/+/{kind}", note },
			{ "{first}/#", note },
		}
		local msg = { retain = false }
		assert.same({ true, "noted" }, { r:route("sensors/hall/temp", "21", msg) })
		r:route("sensors/hall/humidity", "40", msg)
		r:route("a/b/c/d", "x", msg)
		assert.same({
			{ "sensors/hall/temp", "21", msg, { room = "hall" } },
			{ "sensors/hall/humidity", "40", msg, { kind = "humidity" } },
			{ "a/b/c/d", "x", msg, { first = "a", rest = "b/c/d" } },
		}, calls)
		assert.is_false(r:route("$SYS/broker", "x", msg))
	end)

	it("publishes on another topic", function()
		local r = router.new {
			{ "sensors/{room}/temp", to = "site/{room}/temperature" },
			{ "sensors/{room}/#", to = "other/{rest}/in/{room}", options = { qos = 0 } },
		}
		assert.is_true((r:route("sensors/hall%1/temp", "21", { retain = true })))
		r:route("sensors/hall/a/b", "22", { retain = true })
		assert.same({
			{ topic = "site/hall%1/temperature", payload = "21", options = { retain = true }, time = 1000 },
			{ topic = "other/a/b/in/hall", payload = "22", options = { qos = 0 }, time = 1000 },
		}, agent.published)
		agent.env.mqtt.pub = function()
			return nil, "queue full"
		end
		assert.error_matches(function() r:route("sensors/hall/temp", "21") end, "queue full", 1, true)
	end)

	it("says which route fits, in the order of the list", function()
		local r = router.new {
			{ "a/+/c", nothing }, { "a/b/+", nothing }, { "a/#", nothing }, { "a/b/c", nothing }, { "b", nothing },
		}
		assert.equal(1, (r:match("a/b/c")))
		assert.equal(2, (r:match("a/b/d")))
		assert.same({ 3, { rest = "" } }, { r:match("a") })
		assert.same({ 3, { rest = "" } }, { r:match("a/") })
		assert.same({ 3, { rest = "x//y" } }, { r:match("a/x//y") })
		assert.same({ 5, {} }, { r:match("b") })
		assert.is_nil(r:match("b/c"))
		assert.is_nil(r:match("c"))
	end)

	it("raises errors that name the route", function()
		local function raises(text, routes)
			assert.error_matches(function() router.new(routes) end, "^router.new: " .. text .. "$")
		end
		raises("expected a list of routes, got nil", nil)
		raises("route 1: expected a table, got function", { nothing })
		raises("route 1: %[1%]: expected a filter, got nil", { {} })
		raises("route 2: expected a function or to, and not both", { { "a", nothing }, { "b" } })
		raises("route 1: expected a function or to, and not both", { { "a", nothing, to = "b" } })
		raises("route 1: %[2%]: expected a function, got 5", { { "a", 5 } })
		raises("route 1: to: expected a topic, got 5", { { "a", to = 5 } })
		raises("route 1: # must be the last level", { { "a/#/b", nothing } })
		raises('route 1: "b#": expected a plain level, %+, {name} or #', { { "a/b#", nothing } })
		raises('route 1: "x{b}": expected a plain level, %+, {name} or #', { { "x{b}", nothing } })
		raises("route 1: the name a comes twice", { { "{a}/{a}", nothing } })
		raises("route 1: {rest}: that is the name of what # stands for", { { "{rest}/a", nothing } })
		raises("route 1: to: there is no {c} in the filter", { { "{a}/{b}", to = "{a}/{c}" } })
		raises('route 1: unknown key "too"; there are: 1, 2, options, to', { { "a", nothing, too = 1 } })
	end)

	it("agrees with a naive one on random routes", function()
		local function fits(filter, levels)
			for i, level in ipairs(filter) do
				if level == "#" then
					return true
				elseif not levels[i] or level ~= "+" and level ~= levels[i] then
					return false
				end
			end
			return #filter == #levels
		end
		local function random_levels(...)
			local levels = {}
			for i = 1, math.random(1, 4) do
				levels[i] = property.one_of(...)
			end
			return levels
		end
		property.holds(200, function()
			local filters, routes = {}, {}
			for i = 1, math.random(1, 12) do
				filters[i] = random_levels("a", "b", "c", "+", "+")
				if math.random() < 0.3 then
					table.insert(filters[i], "#")
				end
				routes[i] = { table.concat(filters[i], "/"), nothing }
			end
			local r = router.new(routes)
			for _ = 1, 50 do
				local levels, expected = random_levels("a", "b", "c", "d", ""), nil
				for i = #filters, 1, -1 do
					expected = fits(filters[i], levels) and i or expected
				end
				assert.equal(expected, (r:match(table.concat(levels, "/"))))
			end
		end)
	end)
end)
