--- Reloading scripts: they are read anew, and no message, connection or acknowledgement is lost over it.
local gateway = require "lib.gateway"
local loop = require "lib.loop"
local reloading = require "lib.reloading"

local start, reload, must_reload = reloading.start, reloading.reload, reloading.must_reload
local status, log_has = reloading.status, reloading.log_has
local ask, version, assert_version = reloading.ask, reloading.version, reloading.assert_version

describe("a reload of scripts", function()
	it("runs what is in the file now, by the command and by SIGHUP", function()
		local g = start { script = version(1) }
		assert_version(g, 1)
		g.agent:script("rules.lua", version(2))
		assert.equal("script rules.lua: reloaded\n", must_reload(g))
		assert_version(g, 2)
		g.agent:script("rules.lua", version(3))
		g.agent:signal("sighup")
		g.agent:wait_log("SIGHUP.*script rules.lua: reloaded")
		assert_version(g, 3)
		assert.equal("nothing has changed\n", must_reload(g))
	end)

	it("under load loses, repeats and reorders nothing", function()
		local g = start { script = gateway.forward }
		local reloads = 0
		for i = 1, 3000 do
			g.sensor:post("sensors/a", "r" .. i)
			if i % 300 == 0 then
				-- Two signals at once would be one reload.
				loop.eventually(function()
					return select(2, g.agent:log():gsub("script rules.lua: reloaded", "")) == reloads
				end, "the last reload")
				reloads = reloads + 1
				g.agent:script("next", "-- " .. reloads .. "\n" .. gateway.forward)
				assert(os.rename(g.agent.directory .. "/next", g.agent.directory .. "/rules.lua")) -- never half of it
				g.agent:signal("sighup")
			end
		end
		local readings = g:wait_readings(3000)
		assert.equal(3000, #readings)
		assert.equal(0, gateway.assert_in_order(readings))
		g.agent:wait_log(("script rules.lua: reloaded.*"):rep(10))
		assert.equal(1, g.field:connections("gw-field"))
		assert.equal(1, g.core:connections("gw-core"))
	end)

	it("in the middle of an outage keeps the queue and its order", function()
		local g = start { down = true }
		g:publish_readings(1, 100)
		g:await_taken()
		g.agent:script("rules.lua", "-- new\n" .. gateway.forward)
		must_reload(g)
		g:publish_readings(101, 200)
		g:await_taken()
		g.uplink.restore()
		assert.equal(0, gateway.assert_in_order(g:wait_readings(200)))
	end)

	it("leaves a script alone whose files are the same, and not one whose module has changed", function()
		local g = start { agent = { scripts = {
			["a.lua"] = 'local n = 0 on("sensors/a", function(_, p) n = n + 1 mqtt.pub("out/a", n .. " " .. p) end)',
			["b.lua"] = 'local n, word = 0, require "word"\n' ..
				'on("sensors/b", function(_, p) n = n + 1 mqtt.pub("out/b", n .. word .. p) end)',
		} } , idle = true }
		g.agent:script("word.lua", 'return " old "')
		g:start(true)
		assert.truthy(ask(g, "sensors/a"):find("^1 "))
		assert.truthy(ask(g, "sensors/b"):find("^1 old "))
		g.agent:script("word.lua", 'return " new "')
		assert.equal("script b.lua: reloaded\n", must_reload(g))
		assert.truthy(ask(g, "sensors/a"):find("^2 "))
		assert.truthy(ask(g, "sensors/b"):find("^1 new "))
	end)

	it("keeps the old one if the new one does not load, and says why", function()
		local g = start { script = version(1) }
		for text, why in pairs {
			["\nx = = 1"] = "rules.lua:2: unexpected symbol near '='",
			["\n\nerror('not today')"] = "rules.lua:3: not today",
			["on_message = 5"] = "on_message: expected a function, got a number",
			["require 'nowhere'"] = "module 'nowhere' not found",
		} do
			g.agent:script("rules.lua", text)
			local code, said = reload(g)
			assert.equal(1, code)
			assert.truthy(said:find("script rules.lua: the old one goes on: ", 1, true), said)
			assert.truthy(said:find(why, 1, true), said)
			assert.falsy(said:find("\\x09", 1, true), said)
			assert.truthy(log_has(g, why))
			assert.truthy(status(g).problem[1]:find("does not load: ", 1, true))
			assert_version(g, 1)
		end
		g.agent:script("rules.lua", version(2))
		must_reload(g)
		assert_version(g, 2)
		assert.same({}, status(g).problem)
	end)

	it("is a stop of the old one and a start of the new one, with nothing between", function()
		local function script(n)
			return ([[
				log.info("load %d")
				function on_start() log.info("start %d") end
				function on_stop() log.info("stop %d") end
				function on_connect(link) log.info("connect %d %%s", link) end
				every(0.05, function() mqtt.pub("tick", "%d") end)
			]]):format(n, n, n, n, n)
		end
		local g = start { script = script(1) }
		g.collector:wait_topic("tick")
		g.agent:script("rules.lua", script(2))
		must_reload(g)
		local reloaded = g.agent:log():match('"reload".*'):gsub("\n[^\n]*reload: .*", "")
		local order = {}
		for event in reloaded:gmatch("script rules.lua: ([^\n]+)") do
			order[#order + 1] = event
		end
		assert.same({ "load 2", "stop 1", "start 2", "connect 2 core", "connect 2 field" }, order)
		loop.eventually(function()
			local ticks = g.collector:payloads("^tick$")
			return ticks[#ticks] == "2"
		end, "the new timer ticks")
		local before = #g.collector:payloads("^tick$")
		loop.consistently(function() return g.agent.process:running() end, "it runs", 0.5)
		local ticks = g.collector:payloads("^tick$")
		for i = before + 1, #ticks do
			assert.equal("2", ticks[i])
		end
	end)

	it("hands over `state`, with what the old one did at its stop", function()
		local g = start { script = [[
			state.list = { 1, 2 }
			function on_message() state.n = (state.n or 0) + 1 end
			function on_stop() state.at_stop = "n is " .. state.n end
		]] }
		g:publish_readings(1, 7)
		g:await_taken()
		loop.eventually(function() return status(g).script["rules.lua"].calls >= 7 end, "all are counted")
		g.agent:script("rules.lua", [[
			local seen = ("%s, %d, %s"):format(state.at_stop, state.n, #state.list)
			state.n = 100
			on("sensors/+", function(_, payload)
				state.n = state.n + 1
				mqtt.pub("out", ("%s %d %s"):format(seen, state.n, payload))
			end)
		]])
		must_reload(g)
		assert.truthy(ask(g):find("^n is 7, 7, 2 101 "))
		g.agent:script("rules.lua", "state.n = 0 error('no')")
		assert.equal(1, (reload(g)))
		assert.truthy(ask(g):find("^n is 7, 7, 2 102 "))
		-- What handlers changed before a script was rolled back stays.
		g.agent:script("rules.lua", [[
			function on_message(_, payload)
				state.n = state.n + 1000
				if payload ~= "r8" then error("no") end
			end
		]])
		must_reload(g)
		g:publish_readings(8, 20)
		g.agent:wait_log("rolled back")
		local said = ask(g)
		assert(said:find("n is 7, 1102, 2 102 ", 1, true), "not from the old version, started again: " .. said)
	end)

	it("tells the new one what became of the old one's messages", function()
		local g = start { down = true, script = [[
			function on_message(_, payload) mqtt.pub("out", payload, { ctx = { of = payload } }) end
		]] }
		g.sensor:publish("sensors/a", "it")
		g:await_taken()
		g.agent:script("rules.lua", 'function on_sent(_, _, ctx) if ctx then mqtt.pub("sent", ctx.of) end end')
		must_reload(g)
		g.uplink.restore()
		assert.equal("it", g.collector:wait_topic("sent").payload)
	end)

	it("adds and removes scripts", function()
		local g = start { agent = { scripts = { ["a.lua"] = version("a"), ["b.lua"] = version("b", [[
			function on_stop() mqtt.pub("last", "words") end
		]]) } } }
		g.agent:script("c.lua", version("c"))
		g.config.scripts = { "c.lua", "a.lua" }
		g.agent:configure(g.config)
		assert.equal("script b.lua: stopped\nscript c.lua: started\n", must_reload(g))
		assert.equal("words", g.collector:wait_topic("last").payload)
		g.sensor:publish("sensors/a", "x")
		loop.eventually(function() return #g.collector:payloads("^out$") == 2 end, "both answer")
		assert.same({ "vc x", "va x" }, g.collector:payloads("^out$"))
	end)

	it("keeps the `state` of a script that is taken out, as far as it had got", function()
		local g = start { config = { store = { linger = "10s" } }, agent = { scripts = { ["a.lua"] = "", ["b.lua"] = [[
			function on_message() state.n = (state.n or 0) + 1 end
			function on_start() mqtt.pub("out", ("%s %s"):format(state.n, state.stopped)) end
			function on_stop() state.stopped = true end
		]] } } }
		g:publish_readings(1, 3)
		loop.eventually(function() return status(g).script["b.lua"].calls >= 4 end, "all are counted")
		g.config.scripts = { "a.lua" }
		g.agent:configure(g.config)
		assert.equal("script b.lua: stopped\n", must_reload(g))
		g:await_taken()
		g.config.scripts = { "a.lua", "b.lua" }
		g.agent:configure(g.config)
		must_reload(g)
		loop.eventually(function() return #g.collector:payloads("^out$") == 2 end, "it is started again")
		assert.same({ "nil nil", "3 true" }, g.collector:payloads("^out$"))
	end)

	it("leaves the old one what it has subscribed to if the new one loads on trial only", function()
		local g = start { script = [[
			mqtt.sub("more/#", { link = "field" })
			function on_stop() state.stopped = true end
			on("more/+", function(_, p) mqtt.pub("out", p) end)
		]] }
		g.field:wait_subscribed("gw-field", "more/#")
		g.agent:script("rules.lua", "if state.stopped then error('no') end")
		assert.equal(1, (reload(g)))
		ask(g, "more/a")
		assert.equal(0, g.field:occurrences("Received UNSUBSCRIBE from gw-field"))
	end)

	it("twenty times leaves memory and timers as they were", function()
		local g = start { agent = { release = true }, idle = true }
		g:start(true)
		local function script(n)
			return ([[
				-- %d
				local keep = {}
				for i = 1, 1000 do keep[i] = ("%%d"):format(i) end
				mqtt.sub("more/#", { link = "field" })
				every(0.1, function() mqtt.pub("tick", keep[1] .. " " .. uptime()) end)
				for i = 1, 100 do after(3600, function() return keep end) end
				function on_message(_, p) mqtt.pub("out", p) end
			]]):format(n)
		end
		local first, first_script
		for i = 1, 20 do
			g.agent:script("rules.lua", script(i))
			must_reload(g)
			ask(g)
			if i == 5 then
				first, first_script = g.agent:memory(), status(g).script["rules.lua"].memory_bytes
			end
		end
		local last, last_script = g.agent:memory(), status(g).script["rules.lua"].memory_bytes
		assert(last - first < 300000, ("%d bytes more after 15 reloads"):format(last - first))
		assert(math.abs(last_script - first_script) < 50000)
		local before = #g.collector:payloads("^tick$")
		local ticks = loop.eventually(function()
			local all = g.collector:payloads("^tick$")
			return #all >= before + 12 and all
		end, "ticks")
		-- In the agent's time: it may have stood still.
		local took = tonumber(ticks[#ticks]:match(" (.*)")) - tonumber(ticks[#ticks - 10]:match(" (.*)"))
		assert(took > 0.8, ("10 ticks in %.1f s"):format(took))
	end)
end)

describe("a new script that fails", function()
	local function bad(threshold)
		return ([[
			local n = 0
			function on_message(_, payload)
				n = n + 1
				if n <= %d then error("failed " .. payload) end
				mqtt.pub("out", "v2 " .. payload)
			end
		]]):format(threshold)
	end

	it("on more than half of its first 20 messages is rolled back", function()
		local g = start { script = version(1) }
		g.agent:script("rules.lua", bad(15))
		must_reload(g)
		g:publish_readings(1, 40)
		g.agent:wait_log("rolled back to the version before, as the new one failed on 11 of its first 11 messages")
		loop.eventually(function() return #g.collector:payloads("^out$") == 29 end, "the others are handled")
		local s = status(g)
		assert.equal(1, s.script["rules.lua"].rollbacks)
		assert.truthy(table.concat(s.problem, "\n"):find("rolled back", 1, true))
		local _, text = g.agent:command("status")
		assert.truthy(text:find("rollbacks", 1, true), text)
		g.agent:command("dead", "retry")
		loop.eventually(function() return #g.collector:payloads("^out$") == 40 end, "the letters are handled")
		for _, payload in ipairs(g.collector:payloads("^out$")) do
			assert.truthy(payload:find("^v1 "))
		end
		-- The file is tried again when it is asked for, and stays once it is mended.
		g.agent:script("rules.lua", version(3))
		must_reload(g)
		assert_version(g, 3)
		assert.same({}, status(g).problem)
	end)

	it("is rolled back to the last that did its work, whether it had proved itself or not", function()
		local g = start { script = version(1) }
		g.agent:script("rules.lua", version(2))
		must_reload(g)
		assert_version(g, 2)
		g.agent:script("rules.lua", bad(15))
		must_reload(g)
		g:publish_readings(1, 3)
		g.agent:script("rules.lua", bad(16))
		must_reload(g)
		g:publish_readings(4, 20)
		g.agent:wait_log("rolled back")
		assert_version(g, 2)
	end)

	it("on half of them stays", function()
		local g = start { script = version(1) }
		g.agent:script("rules.lua", bad(10))
		must_reload(g)
		g:publish_readings(1, 40)
		loop.eventually(function() return #g.collector:payloads("^out$") >= 15 end, "the others are handled")
		assert.equal(0, status(g).script["rules.lua"].rollbacks)
		assert.falsy(log_has(g, "rolled back"))
	end)

	it("later stays: only the first messages count", function()
		local g = start { script = version(1) }
		g.agent:script("rules.lua", [[
			local n = 0
			function on_message(_, payload)
				n = n + 1
				if n > 20 then error("no") end
				mqtt.pub("out", payload)
			end
		]])
		must_reload(g)
		g:publish_readings(1, 50)
		loop.eventually(function() return status(g).script["rules.lua"].errors == 30 end, "30 errors")
		assert.equal(0, status(g).script["rules.lua"].rollbacks)
	end)

	it("at its start is rolled back at once", function()
		local g = start { script = version(1) }
		g.agent:script("rules.lua", "\nfunction on_start() error('no start') end " .. version(2))
		local code, said = reload(g)
		assert.equal(1, code)
		assert.truthy(said:find("the old one goes on: on_start: .*rules.lua:2: no start"), said)
		assert_version(g, 1)
		assert.equal(1, status(g).script["rules.lua"].rollbacks)
	end)

	it("is rolled back to the modules of the old one, too", function()
		local g = start { idle = true, script = version(1, "word = require 'word'") ..
			'on("sensors/+", function(_, payload) mqtt.pub("word", word) end)' }
		g.agent:script("word.lua", 'return "old"')
		g:start(true)
		g.agent:script("word.lua", 'return nil .. "broken"')
		g.agent:script("rules.lua", "function on_message() error('no') end")
		must_reload(g)
		g:publish_readings(1, 12)
		g.agent:wait_log("rolled back")
		assert_version(g, 1)
		assert.equal("old", g.collector:wait_topic("word").payload)
	end)
end)
