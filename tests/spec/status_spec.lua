--- `tidegate status`: what the running agent says about itself.
local cjson = require "cjson"
local file = require "lib.file"
local gateway = require "lib.gateway"
local loop = require "lib.loop"
local net = require "lib.net"
local proc = require "lib.proc"
local tidegate = require "lib.tidegate"

-- The lines of `status --json`, by kind; links, queues and scripts by name.
local function status(agent)
	local code, out, err = agent:command("status", "--json")
	assert(code == 0, err)
	local lines = { problem = {}, link = {}, queue = {}, script = {}, loss = {} }
	for text in out:gmatch("[^\n]+") do
		local line = cjson.decode(text)
		local list = lines[line.kind]
		if line.kind == "problem" or line.kind == "loss" then
			table.insert(list, line)
		elseif list then
			list[line.link or line.script] = line
		else
			lines[line.kind] = line
		end
	end
	return lines
end

local function start(options)
	options = options or {}
	options.config = options.config or {}
	options.config.control = "control.sock"
	return gateway.start(options)
end

describe("status:", function()
	it("says that a full queue holds the links that bring", function()
		local g = start { down = true, core = { queue = { max_messages = 5, overflow = "hold" } } }
		g:publish_readings(1, 50)
		loop.eventually(function()
			for _, problem in ipairs(status(g.agent).problem) do
				if problem.part == "queue" then
					return problem.name == "core" and problem.text:find("is full", 1, true)
				end
			end
		end, "the full queue is named")
	end)

	it("tells links, queues, scripts and the store while all is well", function()
		local g = start()
		g:publish_readings(1, 30)
		g:wait_readings(30)
		g:await_taken()
		local s = loop.eventually(function()
			local s = status(g.agent)
			return s.queue.core.messages == 0 and s.link.core.acknowledged == 30 and s
		end, "all is acknowledged")
		assert.same({}, s.problem)
		assert.equal("gw", s.agent.name)
		assert.equal(g.agent:pid(), s.agent.pid)
		assert.truthy(s.agent.version:match("^%d+%.%d+%.%d+$"))
		assert.truthy(s.agent.instance:match("^%x+$"))
		assert(s.agent.uptime_seconds > 0 and s.agent.uptime_seconds < 60)
		assert.equal(true, s.link.core.up)
		assert.equal("up", s.link.core.state)
		assert.equal("mqtt://127.0.0.1:" .. g.uplink.port, s.link.core.url)
		assert.equal(30, s.link.core.sent)
		assert.equal(30, s.link.field.received)
		assert.equal(0, s.link.core.reconnects)
		assert.equal(0, s.queue.core.bytes)
		assert.equal(0, s.queue.core.in_flight)
		assert.equal(0, s.script["rules.lua"].errors)
		assert(s.script["rules.lua"].calls >= 30 and s.script["rules.lua"].memory_bytes > 1000)
		assert.equal(g.agent.queue_path, s.store.path)
		assert(s.store.bytes > 0 and s.store.commits > 0 and s.store.commit_failures == 0 and s.store.salvages == 0)

		local code, text = g.agent:command("status")
		assert.equal(0, code)
		assert.falsy(text:find("!", 1, true))
		assert.truthy(text:find("gw: tidegate ", 1, true))
		assert.truthy(text:match("core%s+up%s+%d+ s%s+mqtt://127.0.0.1:" .. g.uplink.port))
		assert.truthy(text:match("core%s+0%s+30%s+30%s+0%s+0\n"))
		assert.truthy(text:match("field%s+30%s+0%s+0%s+0%s+0\n"))
		assert.truthy(text:match("rules.lua%s+%d+%s+0%s+%d+ KB%s+0 B%s+0\n"))
		for line in text:gmatch("[^\n]+") do
			assert(#line <= 80 or line:find("^store"), line)
		end
	end)

	it("tells what scripts count and measure", function()
		local g = start { script = [[
			on("sensors/#", function(topic, payload)
				metric.counter("readings_total", { topic = topic }):inc()
				metric.gauge("last"):set(#payload / 2)
				metric.gauge("odd"):set(0 / 0)
				mqtt.pub(topic, payload)
			end)
		]] }
		g:publish_readings(1, 9)
		g:wait_readings(9)
		local code, out = g.agent:command("status", "--json")
		assert.equal(0, code)
		local metrics = {}
		for text in out:gmatch("[^\n]+") do
			local line = cjson.decode(text)
			if line.kind == "metric" then
				table.insert(metrics, line)
			end
		end
		assert.same({
			{ kind = "metric", metric = "script_last", type = "gauge", labels = {}, value = 1 },
			{ kind = "metric", metric = "script_odd", type = "gauge", labels = {}, value = cjson.null },
			{ kind = "metric", metric = "script_readings_total", type = "counter", labels = { topic = "sensors/a" }, value = 9 },
		}, metrics)
		local _, text = g.agent:command("status")
		assert.truthy(text:find("metrics of scripts: 3 (--json shows them)\n", 1, true), text)
	end)

	it("says first what is wrong: a link that is down, with the reason, and a script that fails", function()
		local g = start { script = [[
			function on_message(topic, payload)
				mqtt.pub(topic, payload)
				if payload == "r7" then error("seven") end
			end
		]] }
		g:publish_readings(1, 6)
		g:wait_readings(6)
		loop.eventually(function()
			return status(g.agent).queue.core.messages == 0
		end, "all is acknowledged")
		g.uplink.cut()
		g:publish_readings(7, 10)
		local s = loop.eventually(function()
			local s = status(g.agent)
			return s.link.core.state == "waiting" and s.queue.core.messages == 3 and s.script["rules.lua"].errors == 1 and s
		end, "the link is down")
		assert.equal(false, s.link.core.up)
		assert(s.link.core.reconnects >= 1)
		assert.equal("link", s.problem[1].part)
		assert.equal("core", s.problem[1].name)
		assert.truthy(s.problem[1].text:find("^down: %S"))
		assert.equal("script", s.problem[2].part)
		local _, text = g.agent:command("status")
		local problems = text:find("! link core: down: ", 1, true)
		assert.truthy(problems)
		assert.truthy(text:find("! script rules.lua: 1 of ", problems, true))
		assert(problems < text:find("mqtt://", 1, true))
		g.uplink.restore()
		loop.eventually(function()
			local later = status(g.agent)
			return later.link.core.up and later.link.core.since_seconds < 5 and later.problem[1].part == "script"
		end, "the link is up again")
	end)

	it("tells what was lost, by reason and topic, and the dead letters", function()
		local g = start {
			down = true,
			core = { queue = { max_messages = 10, overflow = "drop-newest" } },
			script = [[
				function on_message(topic, payload)
					mqtt.pub(topic, payload)
					if payload == "r1" then error("no") end
				end
			]],
		}
		local before = os.time()
		g:publish_readings(1, 31)
		g:await_taken()
		local s = loop.eventually(function()
			local s = status(g.agent)
			return s.queue.core.dropped.overflow == 20 and s.dead_letters.count == 1 and s
		end, "20 are lost")
		assert.equal(10, s.queue.core.messages)
		assert.equal(0, s.queue.core.dropped.expired)
		assert.equal(1, #s.loss)
		local loss = s.loss[1]
		assert.same({ "core", "sensors/a", "overflow", 20 }, { loss.link, loss.topic, loss.reason, loss.count })
		assert(loss.first_seq < loss.last_seq and loss.bytes == 20 * (#"sensors/a" + 3))
		assert(loss.first_time >= before - 1 and loss.last_time >= loss.first_time and loss.last_time < before + 60)
		local _, text = g.agent:command("status")
		assert.truthy(text:find("! link core: 20 messages lost lately\n", 1, true), text)
		assert.truthy(text:find("! dead letters: 1 of them", 1, true), text)
		assert.truthy(text:match("core%s+20%s+240 B%s+[%d-]+ [%d:]+%s+[%d-]+ [%d:]+%s+overflow%s+sensors/a\n"), text)
		assert.truthy(text:find("20 overflow\n", 1, true), text)
		assert.truthy(text:find("\ndead letters: 1\n", 1, true), text)
	end)

	-- As by Ctrl-Z and fg, or with a machine that sleeps.
	it("waits on after it was stopped and continued itself", function()
		local g = start()
		local out = g.agent.directory .. "/stopped.out"
		g.agent:signal("sigstop")
		local command = proc.spawn({ g.agent.binary, "status", "-c", g.agent.directory .. "/agent.lua" },
			{ stdout = out, cwd = g.agent.directory })
		for _ = 1, 10 do
			loop.consistently(function() return command:running() end, "it waits", 0.05)
			command:kill("sigstop")
			loop.eventually(function()
				return file.read(("/proc/%d/stat"):format(command.pid)):find(") T ", 1, true)
			end, "it is stopped")
			command:kill("sigcont")
		end
		g.agent:signal("sigcont")
		assert.equal(0, (command:wait()), file.read(out))
		assert.truthy(file.read(out):find("gw: tidegate ", 1, true))
	end)

	it("tells no password", function()
		local agent = tidegate.start {
			config = {
				control = "control.sock",
				links = { core = { url = "mqtt://someone:geheim@127.0.0.1:" .. net.free_port() } },
			},
		}
		agent:wait_log("running")
		local _, json = agent:command("status", "--json")
		local _, text = agent:command("status")
		assert.truthy(json:find("mqtt://127.0.0.1", 1, true))
		assert.falsy((json .. text):find("geheim", 1, true))
	end)

	it("needs no secret and no script to ask", function()
		local g = start()
		g.config.links.core.password = "x"
		g.config.links.core.username = "y"
		g.config.scripts = { "gone.lua" }
		g.config.control = "control.sock"
		g.agent:configure(g.config)
		local code, out = g.agent:command("status")
		assert.equal(0, code)
		assert.truthy(out:find("core", 1, true))
	end)

	describe("when nobody answers, it fails and", function()
		it("names the socket", function()
			local agent = tidegate.new { config = { control = "control.sock", links = { core = { url = "mqtt://127.0.0.1" } } } }
			local code, out, err = agent:command("status")
			assert.equal(1, code)
			assert.equal("", out)
			assert.truthy(err:find("no agent answers at " .. agent.directory .. "/control.sock", 1, true), err)
		end)

		it("names the socket that a killed agent left", function()
			local g = start()
			g.agent:kill()
			local code, _, err = g.agent:command("status")
			assert.equal(1, code)
			assert.truthy(err:find("control.sock: Connection refused", 1, true), err)
		end)

		it("shows what the database of a stopped agent says", function()
			local g = start()
			g.uplink.cut()
			g:publish_readings(1, 3)
			g:await_taken()
			g.agent:stop()
			local code, out, err = g.agent:command("status")
			assert.equal(1, code)
			assert.truthy(err:find("no agent answers at ", 1, true), err)
			assert.truthy(out:find("^gw: tidegate %S+\ninstance %x+\n\n! agent: does not run"), out)
			assert.truthy(out:find("\ncore  +3  +33 B  "), out)
			assert.truthy(out:find("\ndead letters: 0\n", 1, true), out)
			code, out = g.agent:command("status", "--json")
			assert.equal(1, code)
			local queued = {}
			for line in out:gmatch("[^\n]+") do
				line = cjson.decode(line)
				queued[line.link or line.kind] = line.messages or line.running
			end
			assert.same({ 3, 0, false }, { queued.core, queued.field, queued.agent })
		end)

		it("says what to configure", function()
			local g = gateway.start()
			local code, out, err = g.agent:command("status")
			assert.equal(1, code)
			assert.equal("", out)
			assert.truthy(err:find("names no `control`", 1, true), err)
		end)

		it("says why agent.lua cannot be read", function()
			local agent = tidegate.new { config = "return {" }
			local code, _, err = agent:command("status")
			assert.equal(78, code)
			assert.truthy(err:find("agent.lua:1:", 1, true), err)
		end)
	end)
end)
