--- What the owner's rules are called with, what they can do, and that nothing
-- of a handler that fails has happened.
local broker = require "lib.broker"
local gateway = require "lib.gateway"
local loop = require "lib.loop"

-- A scene whose rules.lua is `script`, and a function that publishes one message
-- and waits for the answer the script publishes on out/...
local function scene(script, options)
	options = options or {}
	options.script = script
	local g = gateway.start(options)
	return g
end

-- Sends `payload` and returns the first message on `topic` at the core.
local function ask(g, payload, topic)
	g.sensor:publish("sensors/a", payload)
	return g.collector:wait_topic(topic).payload
end

describe("on_message", function()
	it("gets topic, payload and what is known about the message", function()
		local g = scene([[
			function on_message(topic, payload, msg)
				local age = now() - msg.time
				mqtt.pub("out", ("%s %s %s %d %s %s %s %s"):format(topic, payload, msg.link, msg.qos, msg.retain, msg.dup,
					math.type(msg.time), age >= -1 and age < 5))
			end
		]])
		assert.equal("sensors/a 21.5 field 1 false false float true", ask(g, "21.5", "out"))
	end)

	it("knows the link when there are several", function()
		local third = broker.start()
		local g = scene([[
			function on_message(topic, payload, msg)
				mqtt.pub("out/" .. msg.link, payload)
			end
		]], { idle = true })
		g.config.links.third = { url = "mqtt://127.0.0.1:" .. third.port, subscribe = { "#" } }
		g.agent:configure(g.config)
		g:start(true)
		third:wait_subscribed("gw-third", "#")
		third:client():publish("x", "from third")
		assert.equal("from third", g.collector:wait_topic("out/third").payload)
		assert.equal("from field", ask(g, "from field", "out/field"))
	end)

	it("is told when a message is redelivered", function()
		local g = scene([[
			function on_message(topic, payload, msg)
				mqtt.pub("out/" .. payload, tostring(msg.dup))
			end
		]], { agent = { abandon = true } })
		g.agent:signal("sigstop")
		g.sensor:publish("sensors/a", "one")
		loop.eventually(function()
			return g.field:occurrences("Sending PUBLISH to gw-field") > 0
		end, "the broker has sent it")
		g.agent:kill()
		g:start(true)
		assert.equal("true", g.collector:wait_topic("out/one").payload)
		g.sensor:publish("sensors/a", "two")
		assert.equal("false", g.collector:wait_topic("out/two").payload)
	end)

	it("of every script is called, each in a world of its own", function()
		local g = gateway.start {
			agent = { scripts = {
				["a.lua"] = [[
					count = 0
					function on_message() count = count + 1 mqtt.pub("out/a", tostring(count)) end
				]],
				["b.lua"] = [[
					function on_message() mqtt.pub("out/b", tostring(count)) end
				]],
			} },
		}
		assert.equal("1", ask(g, "x", "out/a"))
		assert.equal("nil", g.collector:wait_topic("out/b").payload)
	end)
end)

describe("on(filter, fn)", function()
	it("gets the messages that match, wildcards included", function()
		local g = scene([[
			on("sensors/+/temp", function(topic, payload, msg)
				mqtt.pub("temp", topic .. " " .. payload .. " " .. msg.link)
			end)
			on("sensors/#", function(topic)
				mqtt.pub("all", topic)
			end)
		]])
		for _, topic in ipairs { "sensors/a/temp", "sensors/a/wind", "sensors", "sensors/b/temp" } do
			g.sensor:publish(topic, "1")
		end
		loop.eventually(function()
			return #g.collector.messages >= 6
		end, "six answers")
		assert.same({ "sensors/a/temp 1 field", "sensors/b/temp 1 field" }, g.collector:payloads("^temp$"))
		assert.same({ "sensors/a/temp", "sensors/a/wind", "sensors", "sensors/b/temp" }, g.collector:payloads("^all$"))
	end)

	it("refuses a bad filter when the script is loaded", function()
		local g = scene('\non("a/#/b", function() end)\n', { idle = true })
		g.agent:start()
		assert.equal(78, (g.agent:wait()))
		assert.truthy(g.agent:log():find("rules.lua:2:", 1, true), g.agent:log())
	end)
end)

describe("on_sent", function()
	it("comes after the collector's acknowledgement, with token, link and ctx", function()
		local g = scene([[
			local expected
			function on_message(topic, payload)
				if not expected then
					expected = mqtt.pub("out", payload, { ctx = { list = { 1, 2.5, "x\0y" }, yes = true, n = 1 << 60 } })
				end
			end
			function on_sent(token, link, ctx)
				if token == expected then
					mqtt.pub("sent", ("%s %s %d %s %q %s %d"):format(math.type(token), link, ctx.list[1], ctx.list[2],
						ctx.list[3], ctx.yes, ctx.n))
				end
			end
		]])
		assert.equal('integer core 1 2.5 "x\\0y" true 1152921504606846976', ask(g, "1", "sent"))
	end)

	it("comes after a restart, too, with the ctx that was given before it", function()
		local g = scene([[
			function on_message(topic, payload)
				mqtt.pub("out", payload, { ctx = "kept " .. payload })
			end
			function on_sent(token, link, ctx)
				if ctx then mqtt.pub("sent", ctx) end
			end
		]], { down = true })
		g.sensor:publish("sensors/a", "it")
		g:await_taken()
		g.agent:kill()
		g:start()
		g.uplink.restore()
		assert.equal("kept it", g.collector:wait_topic("sent").payload)
	end)
end)

describe("on_drop", function()
	it("comes after kill -9, too, with the ctx that was given before it", function()
		local g = scene([[
			function on_message(topic, payload)
				mqtt.pub("out", payload, { ttl = 1, ctx = { note = "kept " .. payload, list = { 1, 2.5 } } })
			end
			function on_drop(token, link, reason, ctx)
				mqtt.pub("dropped", ("%s %s %s %s %s"):format(math.type(token), link, reason, ctx.note, ctx.list[2]))
			end
		]], { down = true })
		g.sensor:publish("sensors/a", "it")
		g:await_taken()
		g.agent:kill()
		g:start()
		loop.consistently(function() return g.agent.process:running() end, "the agent runs until the reading expires", 1)
		g.uplink.restore()
		assert.equal("integer core expired kept it 2.5", g.collector:wait_topic("dropped").payload)
	end)
end)

describe("on_start, on_stop, on_connect and on_disconnect", function()
	it("tell what happens to the agent and its links", function()
		local g = scene([[
			function on_start() log.info("seen start") end
			function on_stop() log.info("seen stop") mqtt.pub("last", "words") end
			function on_connect(link) log.info("seen connect %s", link) end
			function on_disconnect(link, reason) log.info("seen disconnect %s: %s", link, type(reason)) end
		]])
		g.agent:wait_log("seen start")
		g.agent:wait_log("seen connect field")
		g.agent:wait_log("seen connect core")
		g.uplink.cut()
		g.agent:wait_log("seen disconnect core: string")
		g.uplink.restore()
		g.agent:wait_log("seen disconnect core.*seen connect core")
		g.agent:stop()
		g.agent:wait_log("seen stop")
		g:start(true)
		assert.equal("words", g.collector:wait_topic("last").payload)
	end)
end)

describe("an error in a handler", function()
	it("undoes what it published, is logged with its traceback, and the agent goes on", function()
		local g = scene([[
local function inner(payload)
	error("no good: " .. payload)
end
function on_message(topic, payload)
	mqtt.pub("out", "of " .. payload)
	mqtt.sub("undone/#")
	if payload == "bad" then
		inner(payload)
	end
	mqtt.unsub("undone/#")
end
]])
		g.sensor:publish("sensors/a", "bad")
		g.sensor:publish("sensors/a", "good")
		g.collector:wait_topic("out")
		assert.same({ "of good" }, g.collector:payloads())
		local log = g.agent:log()
		assert.truthy(log:find("rules.lua:2: no good: bad", 1, true), log)
		assert.truthy(log:find("stack traceback", 1, true), log)
		assert.truthy(log:find("rules.lua:8:", 1, true), log)
		assert.equal(0, g.core:occurrences("gw-core 1 undone/#"))
		g:await_taken()
	end)

	it("that is no string does not hurt either", function()
		local g = scene([[
			function on_message(topic, payload)
				if payload == "table" then error({}) end
				if payload == "nil" then error(nil) end
				if payload == "deep" then local function f() return f() + 1 end f() end
				if payload == "memory" then local s = "x" while true do s = s .. s end end
				if payload == "loop" then while true do end end
				if payload == "pattern" then mqtt.pub("out", payload, { qos = 7 }) end
				mqtt.pub("out", payload)
			end
		]])
		for _, payload in ipairs { "table", "nil", "deep", "memory", "loop", "pattern", "fine" } do
			g.sensor:publish("sensors/a", payload)
		end
		g.collector:wait_topic("out")
		assert.same({ "fine" }, g.collector:payloads())
	end)

	it("in one script leaves the others alone", function()
		local g = gateway.start {
			agent = { scripts = {
				["a.lua"] = 'function on_message() mqtt.pub("out", "a") error("a fails") end',
				["b.lua"] = 'function on_message() mqtt.pub("out", "b") end',
			} },
		}
		assert.equal("b", ask(g, "x", "out"))
		assert.same({ "b" }, g.collector:payloads())
	end)
end)

describe("the table mqtt", function()
	it("publishes: pub and pubx, with growing integer tokens", function()
		local g = scene([[
			function on_message(topic, payload)
				local a = mqtt.pub("out/pub", "plain")
				local b = mqtt.pub("out/opts", 42, { qos = 2, retain = true, ctx = 1 })
				local c = mqtt.pubx("out/pubx", "x", 0, true)
				local d = mqtt.pubx("out/pubx2", "x", 2, false)
				mqtt.pub("tokens", tostring(math.type(a) == "integer" and a < b and b < c and c < d))
			end
		]], { collector = { client_id = "watcher" } })
		g.collector:subscribe("#", 2)
		assert.equal("true", ask(g, "go", "tokens"))
		assert.equal(1, g.collector:wait_topic("out/pub").qos)
		assert.equal("42", g.collector:wait_topic("out/opts").payload)
		assert.equal(2, g.collector:wait_topic("out/opts").qos)
		assert.equal(0, g.collector:wait_topic("out/pubx").qos)
		assert.equal(2, g.collector:wait_topic("out/pubx2").qos)
		local late = g.core:client()
		late:subscribe("out/#", 1)
		late:wait_topic("out/pubx")
		late:wait_topic("out/opts")
		assert.equal(2, #late.messages)
	end)

	it("subscribes and unsubscribes: sub, subx, unsub", function()
		local g = scene([[
			function on_start()
				mqtt.sub("commands/#")
				mqtt.subx("zero/#", 0)
			end
			function on_message(topic, payload, msg)
				if topic == "commands/stop" then mqtt.unsub("zero/#") end
				if msg.link == "core" and topic ~= "out" then mqtt.link("field"):pub("seen/" .. topic, tostring(msg.qos)) end
			end
		]])
		g.sensor:subscribe("seen/#", 1)
		g.core:wait_subscribed("gw-core", "zero/#")
		local boss = g.core:client()
		boss:publish("commands/x", "1")
		assert.equal("1", g.sensor:wait_topic("seen/commands/x").payload)
		boss:publish("zero/x", "1")
		assert.equal("0", g.sensor:wait_topic("seen/zero/x").payload)
		boss:publish("commands/stop", "1")
		loop.eventually(function()
			return g.core:occurrences("gw-core zero/#") > 0
		end, "unsubscribed")
		boss:publish("zero/y", "1")
		boss:publish("commands/y", "1")
		g.sensor:wait_topic("seen/commands/y")
		assert.equal(0, #g.sensor:payloads("seen/zero/y"))
	end)

	it("subscribes again after a reconnect", function()
		local g = scene([[
			function on_start() mqtt.sub("commands/#") end
			function on_message(topic, payload, msg)
				if msg.link == "core" then mqtt.link("field"):pub("seen", payload) end
			end
		]], { core = { clean_session = true } })
		g.sensor:subscribe("seen", 1)
		g.core:wait_subscribed("gw-core", "commands/#")
		local before = g.core:occurrences("gw-core 1 commands/#")
		g.uplink.cut()
		g.uplink.restore()
		loop.eventually(function()
			return g.core:occurrences("gw-core 1 commands/#") > before
		end, "subscribed again")
		g.core:client():publish("commands/x", "again")
		assert.equal("again", g.sensor:wait_topic("seen").payload)
	end)

	it("connects and disconnects: conn, disconnect, is_connected", function()
		local third = broker.start()
		local g = scene(([[
			local third
			function on_message(topic, payload)
				if payload == "open" then
					third = mqtt.conn("tcp://127.0.0.1:%d", "third", { client_id = "by-script",
						reconnect = { min = "50ms", max = "200ms" } })
					third:pub("hello", "from script")
					third:sub("#")
				elseif payload == "ask" then
					mqtt.pub("state", tostring(mqtt.is_connected()) .. " " .. tostring(third:connected()))
				elseif payload == "close" then
					third:disconnect()
				end
			end
			function on_connect(link) log.info("up %%s", link) end
			function on_disconnect(link, reason) log.info("down %%s", link) end
		]]):format(third.port))
		local watcher = third:client()
		watcher:subscribe("hello", 1)
		g.sensor:publish("sensors/a", "open")
		assert.equal("from script", watcher:wait_topic("hello").payload)
		third:wait_connected("by-script")
		g.agent:wait_log("up third")
		assert.equal("true true", ask(g, "ask", "state"))
		g.sensor:publish("sensors/a", "close")
		g.agent:wait_log("down third")
		loop.eventually(function()
			return third:occurrences("Client by-script disconnected") > 0
		end, "a proper goodbye")
	end)

	it("gives link objects: the same methods, depth and connected", function()
		local g = scene([[
			local core, field = mqtt.link("core"), mqtt.link("field")
			function on_message(topic, payload)
				if payload == "fill" then
					core:pub("out/1", "a")
					core:pubx("out/2", "b", 1, false)
				elseif payload == "ask" then
					field:pub("answer", ("%d %s %s"):format(core:depth(), core:connected(), field:connected()))
				end
			end
		]], { down = true })
		g.sensor:subscribe("answer", 1)
		g.sensor:publish("sensors/a", "fill")
		g.sensor:publish("sensors/a", "ask")
		assert.equal("2 false true", g.sensor:wait_topic("answer").payload)
		g.uplink.restore()
		assert.equal("b", g.collector:wait_topic("out/2").payload)
	end)

	it("raises for a bad argument, and names it", function()
		local g = scene([[
			local function told(...)
				local ok, err = pcall(...)
				return not ok and tostring(err) or "no error"
			end
			function on_message()
				mqtt.pub("out", table.concat({
					told(mqtt.pub, "a/#", "x"), told(mqtt.pub, "a", {}), told(mqtt.pub, "a", "x", { qos = 3 }),
					told(mqtt.pub, "a", "x", { quos = 1 }), told(mqtt.sub, "a/#/b"), told(mqtt.pub, "", "x"),
					told(mqtt.pub, "a", "x", { ctx = print }), told(mqtt.pub, "bad\0topic", "x"),
					told(mqtt.pub, "bad\xfftopic", "x"), told(mqtt.conn, "gopher://x", "y"),
				}, "\n"))
			end
		]])
		local lines = {}
		for line in ask(g, "go", "out"):gmatch("[^\n]+") do
			lines[#lines + 1] = line
		end
		for i, pattern in ipairs { "topic.*wildcard", "payload.*table", "qos", "quos.*qos", "filter", "topic.*empty",
			"ctx.*function", "topic.*NUL", "topic.*UTF%-8", "gopher" } do
			assert.truthy(lines[i]:find(pattern), tostring(lines[i]) .. " lacks " .. pattern)
		end
	end)

	it("returns nil and a message for a state of the world", function()
		local g = scene([[
			function on_message()
				local link, why = mqtt.link("nowhere")
				local token, reason = mqtt.pub("a", "x", { link = "nowhere" })
				mqtt.pub("out", ("%s %s, %s %s"):format(link, why, token, reason))
			end
		]])
		assert.equal("nil unknown link, nil unknown link", ask(g, "go", "out"))
	end)
end)

describe("scripts", function()
	it("log with levels and formats", function()
		local g = scene([[
			function on_message(topic, payload)
				log.debug("never %s", "seen")
				log.info("number %d of %s", 7, payload)
				log.warn("100% sure")
				log.error("line one\nline two")
			end
		]])
		g.sensor:publish("sensors/a", "seven")
		g.agent:wait_log("error script rules.lua: line one")
		local log = g.agent:log()
		assert.truthy(log:find("info script rules.lua: number 7 of seven", 1, true))
		assert.truthy(log:find("warn script rules.lua: 100% sure", 1, true))
		assert.is_nil(log:find("never seen", 1, true))
	end)

	it("know the agent's name and version", function()
		local g = scene([[
			function on_message() mqtt.pub("out", agent.name .. " " .. agent.version) end
		]])
		assert.truthy(ask(g, "x", "out"):find("^gw %d+%.%d+"))
	end)

	it("have no way to files, processes and bytecode", function()
		local g = scene([[
			function on_message()
				mqtt.pub("out", ("%s %s %s %s %s"):format(io, debug, os.execute, os.getenv,
					pcall(load, string.dump and string.dump(function() end) or "\27Lua") and load("\27Lua")))
			end
		]])
		assert.equal("nil nil nil nil nil", ask(g, "x", "out"))
	end)

	it("may publish while they are loaded", function()
		local g = scene('mqtt.pub("hello", agent.name)')
		assert.equal("gw", g.collector:wait_topic("hello").payload)
	end)

	it("require modules below scripts/", function()
		local g = gateway.start { idle = true }
		os.execute(("mkdir -p %s/scripts"):format(g.agent.directory))
		g.agent:script("scripts/helper.lua", "return { twice = function(x) return x * 2 end }")
		g.agent:script("scripts/main.lua", [[
			local helper = require "helper"
			function on_message(topic, payload) mqtt.pub("out", tostring(helper.twice(math.tointeger(payload)))) end
		]])
		g.config.scripts = { "scripts/main.lua" }
		g.agent:configure(g.config)
		g:start(true)
		assert.equal("42", ask(g, "21", "out"))
	end)
end)
