--- The control socket: its file, and clients that do not behave.
local uv = require "luv"
local cleanup = require "lib.cleanup"
local file = require "lib.file"
local gateway = require "lib.gateway"
local loop = require "lib.loop"
local net = require "lib.net"
local proc = require "lib.proc"
local tidegate = require "lib.tidegate"

local request = '{"command":"status"}\n'

local function start(options)
	options = options or {}
	options.config = options.config or {}
	options.config.control = "control.sock"
	local g = gateway.start(options)
	g.socket = g.agent.directory .. "/control.sock"
	return g
end

-- A connection; says `text` (a string, or a list of them) and keeps what comes in
-- `received`. `deaf`: does not read.
local function client(g, text, deaf)
	local self = { received = "", pipe = uv.new_pipe() }
	cleanup.defer(function()
		net.close(self.pipe)
	end)
	self.pipe:connect(g.socket, loop.guard(function(err)
		if err then
			self.over = err
			return
		end
		self.connected = true
		if not deaf then
			self.pipe:read_start(function(problem, data)
				self.received = self.received .. (data or "")
				self.over = self.over or problem or data == nil
			end)
		end
		if text then
			self.pipe:write(text)
		end
	end))
	return self
end

local function link(port)
	return { links = { core = { url = "mqtt://127.0.0.1:" .. port } }, control = "control.sock" }
end

describe("the control socket:", function()
	it("is there while the agent runs, for owner and group only", function()
		local g = start()
		local stat = uv.fs_stat(g.socket)
		assert.equal("socket", stat.type)
		assert.equal(tonumber("660", 8), stat.mode & tonumber("7777", 8))
		assert.equal(0, g.agent:stop())
		assert.is_nil(uv.fs_stat(g.socket))
	end)

	it("that a killed agent left is replaced", function()
		local g = start()
		g.agent:kill()
		assert.truthy(uv.fs_stat(g.socket))
		g:start(true)
		assert.equal(0, (g.agent:command("status")))
	end)

	it("of a running agent is not taken by a second one", function()
		local g = start()
		local second = tidegate.new { config = {
			control = g.socket,
			links = { core = { url = "mqtt://127.0.0.1:" .. g.core.port } },
		} }
		local code, _, err = second:command("run")
		assert.equal(1, code)
		assert.truthy(err:find(g.socket .. ": another process serves it", 1, true), err)
		assert.equal(0, (g.agent:command("status")))
		g:publish_readings(1, 3)
		g:wait_readings(3)
	end)

	it("is not made in place of a file that is none", function()
		local agent = tidegate.new { config = link(net.free_port()) }
		file.write(agent.directory .. "/control.sock", "precious")
		local code, _, err = agent:command("run")
		assert.equal(1, code)
		assert.truthy(err:find("is no socket", 1, true), err)
		assert.equal("precious", file.read(agent.directory .. "/control.sock"))
	end)

	-- Root may do anything, unless it gives that up.
	local function powerless(argv)
		if uv.getuid() ~= 0 then
			return argv
		end
		return table.move(argv, 1, #argv, 6, { "setpriv", "--bounding-set", "-all", "--inh-caps", "-all" })
	end

	it("that cannot be made stops the start, with the reason", function()
		local agent = tidegate.new { config = link(net.free_port()), wrap = powerless }
		file.write(agent.directory .. "/agent.lua", ([[
			return {
				links = { core = { url = "mqtt://127.0.0.1:1" } },
				store = { path = "queue.db" },
				control = "closed/control.sock",
			}
		]]))
		assert(uv.fs_mkdir(agent.directory .. "/closed", tonumber("555", 8)))
		agent:start()
		assert.equal(1, (agent:wait()))
		assert.truthy(agent:log():find("closed/control.sock: Permission denied", 1, true), agent:log())
	end)

	it("says so to who may not ask", function()
		local g = start()
		assert(uv.fs_chmod(g.socket, 0))
		local errors = g.agent.directory .. "/errors"
		local process = proc.spawn(powerless { g.agent.binary, "status", "-c", g.agent.directory .. "/agent.lua" },
			{ stderr = errors })
		assert.equal(1, (process:wait()))
		assert.truthy(file.read(errors):find("control.sock: Permission denied", 1, true), file.read(errors))
		assert.truthy(g.agent:log():find("running"))
	end)

	it("answers members of its group and no stranger, even where its mode lets them in", function()
		if uv.getuid() ~= 0 then
			return pending("only root can be somebody else")
		end
		local g = start()
		local text = "return { links = { core = { url = 'mqtt://127.0.0.1' } }, control = 'control.sock' }"
		local public = file.directory()
		file.write(public .. "/agent.lua", text:gsub("control.sock", g.socket))
		file.write(public .. "/tidegate", file.read(g.agent.binary))
		for path, mode in pairs { [g.agent.directory] = "755", [public] = "755", [public .. "/tidegate"] = "755",
			[public .. "/agent.lua"] = "644", [g.socket] = "666" } do
			assert(uv.fs_chmod(path, tonumber(mode, 8)))
		end
		local function ask(...)
			local argv = { "setpriv", "--reuid", "65534", "--regid", "65534", ... }
			table.move({ public .. "/tidegate", "status", "-c", public .. "/agent.lua" }, 1, 4, #argv + 1, argv)
			local process = proc.spawn(argv, { stdout = public .. "/out", stderr = public .. "/err" })
			return process:wait(), file.read(public .. "/out"), file.read(public .. "/err")
		end
		local code, out, err = ask("--clear-groups")
		assert.same({ 1, "" }, { code, out })
		assert.equal("tidegate status: user 65534 may not ask: only root, the agent's user and members of the socket's " ..
			"group (0) may\n", err)
		g.agent:wait_log("warn control: refused: .- uid=65534 gid=65534 pid=%d+")
		code, out, err = ask("--groups", "65500,0")
		assert.equal(0, code, err)
		assert.truthy(out:find("core", 1, true))
	end)

	it("answers one request, and hangs up", function()
		local g = start()
		local one, two = client(g, request), client(g, { request:sub(1, 5), request:sub(6) .. request })
		loop.eventually(function()
			return one.over and two.over
		end, "both are answered")
		for _, c in ipairs { one, two } do
			assert.truthy(c.received:find('^{"kind":"agent",'))
			assert.truthy(c.received:find('\n{"ok":true}\n$'))
		end
	end)

	it("refuses nonsense with a reason", function()
		local g = start()
		for text, reason in pairs {
			["GET /metrics HTTP/1.1\r\n"] = 'expected a JSON object with a \\"command\\"',
			["\0\255\n"] = 'expected a JSON object with a \\"command\\"',
			['{"command":"fly"}\n'] = 'unknown command \\"fly\\"',
			['{"command":"status","now":true}\n'] = "this command takes no arguments",
			[("x"):rep(1024 * 1024)] = "the request is too long",
		} do
			local c = client(g, text)
			loop.eventually(function()
				return c.over
			end, "the answer to " .. text:sub(1, 40))
			assert.equal('{"error":"' .. reason .. '"}\n', c.received)
		end
		assert.equal(0, (g.agent:command("status")))
	end)

	it("lets nobody disturb the messages: nothing is lost, nothing waits", function()
		local g = start()
		local n, longest = 4000, 0
		local rude = {}
		local texts = { false, request:sub(1, 8), ("y"):rep(1024 * 1024), "nonsense\n", request, '{"command":\n' }
		for i = 1, n do
			g.sensor:post("sensors/a", "r" .. i, { qos = 1 })
		end
		-- 50 clients come while messages flow; some leave early, some say nothing, some do not listen
		for i = 1, 50 do
			rude[i] = client(g, texts[i % #texts + 1] or nil, i % 7 == 0)
		end
		local seen, last = 0, loop.now()
		loop.eventually(function()
			for i, c in ipairs(rude) do
				if i % 5 == 0 and c.connected then
					net.close(c.pipe)
				end
			end
			local now = loop.now()
			if #g.collector.messages > seen then
				seen, last = #g.collector.messages, now
			end
			longest = math.max(longest, now - last)
			return seen >= n
		end, "all readings arrive", 30)
		assert.equal(0, gateway.assert_in_order(g:wait_readings(n)))
		assert(longest < 5, ("no reading for %.1f s"):format(longest)) -- for which a silent one is waited for
		g:await_taken()
		-- The silent ones are sent away, and then the next is answered.
		local code, _, err = g.agent:command("status")
		assert.equal(0, code, err)
	end)

	it("costs an idle agent nothing when it is held open", function()
		local g = start()
		local silent = client(g)
		loop.eventually(function()
			return silent.connected
		end, "it is connected")
		local before = g.agent:cpu_seconds()
		loop.consistently(function()
			return true
		end, "time passes", 1)
		assert(g.agent:cpu_seconds() - before < 0.2, "it is busy")
	end)
end)
