--- `tidegate.spec`: how owners write specs for their rules.
local file = require "lib.file"
local spec = require "tidegate.spec"

spec.program = os.getenv("TIDEGATE") or "build/tidegate"

-- A script in a fresh directory.
local function script(text)
	return file.write(file.directory() .. "/rules.lua", text)
end

describe("tidegate.spec", function()
	it("shows what rules publish, log, keep and count, by then", function()
		local rules = spec.load(script [[
			on("sensors/+/door", function(topic, payload, msg)
				if state[topic] ~= payload then
					state[topic] = payload
					mqtt.pub("doors/" .. payload, msg.time - 1767225600, { retain = true, ctx = { 1 } })
				end
				metric.counter("doors", { room = topic:match("/(.-)/") }):inc()
				log.info("%s is %s", topic, payload)
			end)
			every("1m", function() mqtt.pub("alive", "", { qos = 0 }) end)
			function on_start() mqtt.sub("commands/#") end
			function on_stop() mqtt.pub("bye", "") end
		]])
		assert.same({}, rules.published)
		assert.equal("commands/#", rules.subscribed[1].filter)
		rules:message("sensors/hall/door", "open"):advance(30):message("sensors/hall/door", "open")
		assert.same({ "0.0" }, rules:payloads("doors/open"))
		assert.same({ 1, true, { 1 }, "core", 0, "rules.lua" }, { #rules.published, rules.published[1].retain,
			rules.published[1].ctx, rules.published[1].link, rules.published[1].at, rules.published[1].script })
		assert.same({ "info", "sensors/hall/door is open" }, { rules.logs[2].level, rules.logs[2].text })
		assert.same({ ["sensors/hall/door"] = "open" }, rules.state)
		assert.same({ ['doors{room="hall"}'] = 2 }, rules.metrics)
		rules:advance("90s")
		assert.same({ 60, 120 }, { rules.published[2].at, rules.published[3].at })
		assert.same({ "", "" }, rules:payloads("alive"))
		rules:forget():message("sensors/hall/door", "closed")
		assert.same({ "120.0" }, rules:payloads("doors/closed"))
		assert.same({ 1, 1, 120 }, { #rules.published, #rules.logs, rules.time })
		assert.same({ ["sensors/hall/door"] = "closed" }, rules.state)
		assert.same({}, rules:payloads("bye"))
		rules:stop()
		assert.same({ "" }, rules:payloads("bye"))
	end)

	it("brings messages of any kind", function()
		local rules = spec.load(script [[
			function on_message(topic, payload, msg)
				mqtt.pub(topic, payload, { properties = msg.properties })
				print(msg.link, msg.qos, msg.retain, msg.dup)
			end
		]])
		local all = {}
		for i = 0, 255 do
			all[#all + 1] = string.char(i)
		end
		rules:message("bytes", table.concat(all))
		rules:message("bytes", "\xff"):message("bytes", "\xff\xfe")
		rules:message("json", { celsius = 21.5 }, { link = "zigbee", qos = 0, retain = true,
			properties = { content_type = "json", user = { { "a", "b" } } } })
		assert.same({ table.concat(all), "\xff", "\xff\xfe" }, rules:payloads("bytes"))
		assert.same({ '{"celsius":21.5}' }, rules:payloads("json"))
		assert.equal("zigbee\t0\ttrue\tfalse", rules.logs[4].text)
		assert.same({ content_type = "json", user = { { "a", "b" } } }, rules.published[4].properties)
	end)

	it("takes links down and up", function()
		local rules = spec.load(script [[
			function on_message(_, payload) mqtt.pub("out", payload, { ttl = "1m" }) end
		]])
		rules:message("a", "one"):down():message("a", "two"):advance("2m"):message("a", "three"):up()
		assert.same({ 3, 2, 1 }, { #rules.published, #rules.sent, #rules.dropped })
		assert.same({ "expired", 60 }, { rules.dropped[1].reason, rules.dropped[1].at })
	end)

	it("begins when it is told to, with links from a configuration", function()
		local path = script [[print(agent.name, os.date("%H:%M"), mqtt.link("uplink"), mqtt.link("other"))]]
		local config = file.write(path:gsub("rules.lua$", "agent.lua"),
			[[return { name = "gw-9", links = { uplink = { url = "mqtt://broker.example.com" } } }]])
		local rules = spec.load(path, { start = "2027-05-01T05:59", config = config })
		assert(rules.logs[1].text:find("^gw%-9\t05:59\tlink.-\tnil\tunknown link"), rules.logs[1].text)
	end)

	it("fails where a handler raises, unless that is what it is about", function()
		local path = script "function on_message(_, payload) error('not ' .. payload) end"
		local rules = spec.load(path)
		rules:message("a", "this")
		local ok, problem = pcall(function() return rules.published end)
		assert.falsy(ok)
		local expected = "rules.lua: on_message (topic a): " .. path .. ":1: not this\nstack traceback:"
		assert(problem:find(expected, 1, true), problem)
		rules = spec.load(path, { may_fail = true })
		rules:message("a", "this"):message("a", "that")
		assert.same({ 0, 2 }, { #rules.published, #rules.errors })
		assert(rules.errors[2].text:find("not that", 1, true))
	end)

	it("fails where the rules do not load", function()
		local rules = spec.load(script "function on_message(")
		local ok, problem = pcall(function() return rules.published end)
		assert.falsy(ok)
		assert(problem:find("^tidegate: .*rules.lua:1: "), problem)
	end)
end)
