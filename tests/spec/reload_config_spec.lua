--- Reloading agent.lua: subscriptions, links and settings are those of the file now, and what has not changed is left
-- as it is.
local broker = require "lib.broker"
local gateway = require "lib.gateway"
local loop = require "lib.loop"
local reloading = require "lib.reloading"

local start, reload, must_reload = reloading.start, reloading.reload, reloading.must_reload
local status, log_has = reloading.status, reloading.log_has
local ask, version, assert_version = reloading.ask, reloading.version, reloading.assert_version

describe("a reload of subscriptions", function()
	local function subscribes(g, filter)
		return g.field:occurrences(("gw-field 1 %s"):format(filter))
	end

	it("asks for what is new and gives back what is gone, on the same connection", function()
		local g = start { field = { subscribe = { "sensors/#", "old/#" } }, script = gateway.forward }
		g.field:wait_subscribed("gw-field", "old/#")
		g.config.links.field.subscribe = { "sensors/#", "new/#" }
		g.agent:configure(g.config)
		assert.equal("link field: changed\n", must_reload(g))
		g.field:wait_subscribed("gw-field", "new/#")
		loop.eventually(function() return g.field:occurrences("UNSUBACK to gw-field") == 1 end, "old/# is given back")
		g.sensor:publish("old/a", "old")
		g.sensor:publish("new/a", "new")
		assert.equal("new", g.collector:wait_topic("new/a").payload)
		assert.same({}, g.collector:payloads("^old"))
		assert.equal(1, g.field:connections("gw-field"))
		assert.equal(1, subscribes(g, "sensors/#"))
		-- and what was changed last counts after a restart, too
		g.agent:restart()
		g.field:wait_connected("gw-field", 2)
		g.sensor:publish("new/b", "after")
		g.collector:wait_topic("new/b")
		assert.equal(1, subscribes(g, "new/#"))
	end)

	it("compares what scripts subscribe to in the same way", function()
		local function script(...)
			local lines = { gateway.forward }
			for _, filter in ipairs { ... } do
				lines[#lines + 1] = ("mqtt.sub(%q, { link = 'field' })"):format(filter)
			end
			return table.concat(lines, "\n")
		end
		local g = start { script = script("a/#", "b/#") }
		g.field:wait_subscribed("gw-field", "b/#")
		g.agent:script("rules.lua", script("b/#", "c/#", "sensors/#"))
		must_reload(g)
		g.field:wait_subscribed("gw-field", "c/#")
		loop.eventually(function() return g.field:occurrences("UNSUBACK to gw-field") == 1 end, "a/# is given back")
		g.agent:script("rules.lua", script("b/#"))
		must_reload(g)
		loop.eventually(function() return g.field:occurrences("UNSUBACK to gw-field") == 2 end, "c/# is given back")
		g:publish_readings(1, 3) -- sensors/# is agent.lua's as well
		g:wait_readings(3)
		assert.equal(1, subscribes(g, "b/#"))
		assert.equal(1, subscribes(g, "sensors/#"))
		assert.equal(1, g.field:connections("gw-field"))
	end)
end)

describe("a reload of links", function()
	it("connects those anew whose settings have changed, and no others", function()
		local g = start()
		g.config.links.core.client_id = "other"
		g.agent:configure(g.config)
		assert.equal("link core: connected anew\n", must_reload(g))
		g.core:wait_connected("other")
		g:publish_readings(1, 20)
		assert.equal(0, gateway.assert_in_order(g:wait_readings(20)))
		assert.equal(1, g.field:connections("gw-field"))
	end)

	it("opens new ones, which new scripts find, and closes those that are gone", function()
		local third = broker.start()
		local seen = third:client()
		seen:subscribe("#", 1)
		local g = start { down = true }
		g:publish_readings(1, 5)
		g:await_taken()
		local core = g.config.links.core
		g.config.links.core = nil
		g.config.links.third = { url = "mqtt://127.0.0.1:" .. third.port, default = true }
		g.agent:configure(g.config)
		g.agent:script("rules.lua", 'local third = assert(mqtt.link("third")) assert(not mqtt.link("core"))\n' ..
			'function on_message(topic, payload) third:pub(topic, payload) end')
		assert.equal("link core: removed\nlink third: added\nscript rules.lua: reloaded\n", must_reload(g))
		assert.truthy(log_has(g, "link core is removed; 5 messages stay in its queue"))
		g.sensor:publish("sensors/a", "r6")
		assert.equal("r6", seen:wait_topic("sensors/a").payload)
		assert.falsy(status(g).link.core)
		assert.equal(5, status(g).queue.core.messages)
		-- it comes back, and with it what waited
		g.config.links.core, g.config.links.third = core, nil
		g.agent:configure(g.config)
		g.agent:script("rules.lua", gateway.forward)
		g.uplink.restore()
		must_reload(g)
		assert.same({ 1, 2, 3, 4, 5 }, g:wait_readings(5))
		loop.eventually(function() return third:occurrences("Received DISCONNECT from gw-third") == 1 end, "a goodbye")
	end)

	it("goes on reading when a link is gone whose full queue held the others", function()
		local g = start { down = true, core = { queue = { overflow = "hold", max_messages = 5 } } }
		g:publish_readings(1, 20)
		loop.eventually(function() return status(g).link.field.held end, "the sensors' link is held")
		g.config.links.core = nil
		g.config.links.other = { url = "mqtt://127.0.0.1:" .. g.core.port, default = true }
		g.agent:configure(g.config)
		must_reload(g)
		g:publish_readings(21, 22)
		-- Before them what the full queue did not take, if anything.
		loop.eventually(function() return g:readings()[#g:readings()] == 22 end, "readings go to the new link")
	end)

	it("changes queue and timing without a reconnect", function()
		local g = start { down = true, core = { queue = { max_messages = 10, overflow = "drop-oldest" } } }
		g:publish_readings(1, 20)
		g:await_taken()
		g.config.links.core.queue.max_messages = 100
		g.agent:configure(g.config)
		assert.equal("link core: changed\n", must_reload(g))
		g:publish_readings(21, 80)
		g:await_taken()
		loop.eventually(function() return status(g).queue.core.messages >= 70 end, "they have room")
	end)

	it("keeps a link that a script opens again as it is, and closes one that it does not", function()
		local third = broker.start()
		local script = ('mqtt.conn("mqtt://127.0.0.1:%d", "third", { reconnect = { min = "50ms" } })\n'):format(third.port)
		local g = start { script = script .. gateway.forward }
		third:wait_connected("gw-third")
		g.agent:script("rules.lua", "-- again\n" .. script .. gateway.forward)
		must_reload(g)
		g:publish_readings(1, 3)
		g:wait_readings(3)
		assert.equal(1, third:connections("gw-third"))
		g.agent:script("rules.lua", gateway.forward)
		must_reload(g)
		loop.eventually(function() return third:occurrences("Received DISCONNECT from gw-third") == 1 end, "a goodbye")
		g:publish_readings(4, 6)
		g:wait_readings(6)
		assert.falsy(status(g).link.third)
	end)

	it("starts a link again that the old script had stopped", function()
		local g = start { script = 'function on_message() mqtt.link("core"):disconnect() end' }
		g.sensor:publish("sensors/a", "x")
		loop.eventually(function() return g.core:occurrences("Received DISCONNECT from gw-core") == 1 end, "a goodbye")
		g.agent:script("rules.lua", gateway.forward)
		must_reload(g)
		g.core:wait_connected("gw-core", 2)
	end)
end)

describe("a reload of agent.lua", function()
	it("that is wrong changes nothing, and names every problem", function()
		local g = start { script = version(1) }
		g.agent:script("rules.lua", version(2))
		g.agent:configure(
			'return {\n\tlinks = { core = { url = "gopher://x", windw = 5 } },\n\tscripts = { "rules.lua" },\n' ..
			'\tcontrol = "control.sock", store = { path = "queue.db" },\n}')
		local code, said = reload(g)
		assert.equal(1, code)
		assert.truthy(said:find("gopher", 1, true) and said:find("windw", 1, true), said)
		assert.truthy(said:find("nothing is changed", 1, true), said)
		assert_version(g, 1)
		g.agent:signal("sighup")
		g.agent:wait_log("SIGHUP.*error config: .*windw.*nothing is changed")
		assert_version(g, 1)
	end)

	it("applies what can change, and names what cannot", function()
		local g = start { script = "function on_message(_, p) log.debug('debug %s', p) mqtt.pub('out', p) end" }
		ask(g)
		g.config.name = "other"
		g.config.log = { level = "debug" }
		g.config.limits = { call = "1s" }
		g.config.store = { linger = 0, durability = "off" }
		g.agent:configure(g.config)
		local said = must_reload(g)
		for _, line in ipairs { "setting name: takes effect after a restart", "setting log: changed",
			"setting limits: changed",
			"setting store.durability: takes effect after a restart", "setting store.linger: takes effect after a restart" } do
			assert.truthy(said:find(line, 1, true), said)
		end
		ask(g)
		assert.truthy(log_has(g, "debug ask"))
		assert.equal(1, g.core:connections("gw-core"))
		assert.truthy(log_has(g, "warn reload: setting name"))
	end)

	it("limits scripts that run already", function()
		local g = start { script = [[
			function on_message(_, p) for i = 1, 5e7 do p = p end mqtt.pub("out", p) end
		]], config = { limits = { call = "60s" } } }
		ask(g)
		g.config.limits.call = "50ms"
		g.agent:configure(g.config)
		must_reload(g)
		g.sensor:publish("sensors/a", "x")
		g.agent:wait_log("used more than 50 ms of CPU time")
	end)

	it("is refused without an agent", function()
		local g = start()
		g.agent:stop()
		local code, said = reload(g)
		assert.equal(1, code)
		assert.truthy(said:find("tidegate reload: ", 1, true), said)
	end)
end)
