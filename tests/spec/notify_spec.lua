--- What a service manager is told, and the unit for systemd.
local cleanup = require "lib.cleanup"
local file = require "lib.file"
local gateway = require "lib.gateway"
local loop = require "lib.loop"
local need = require "lib.need"
local proc = require "lib.proc"
local uv = require "luv"

local UNIT = "packaging/systemd/tidegate.service"

-- A supervisor's socket; `name` by default a path in a fresh directory.
local function supervisor(name)
	local directory = file.directory()
	local self = { name = name or directory .. "/notify", out = directory .. "/messages" }
	local program = assert(uv.fs_realpath(os.getenv("NOTIFIED") or "build/notified"), "run make build/notified first")
	self.process = proc.spawn({ program, self.name }, { stdout = self.out, stderr = directory .. "/err" })
	cleanup.on_failure(function()
		return "---- told ----\n" .. file.read(self.out)
	end)
	function self.count(pattern)
		return select(2, file.read(self.out):gsub("%f[^\n|]" .. pattern .. "%f[\n|]", ""))
	end
	function self.wait(pattern, times)
		loop.eventually(function()
			return self.count(pattern) >= (times or 1)
		end, "told: " .. pattern)
	end
	loop.eventually(function()
		return file.read(self.out):find("listening", 1, true)
	end, "the supervisor listens")
	return self
end

local function start(options, manager, env)
	options.agent = { env = env or {} }
	options.agent.env.NOTIFY_SOCKET = manager.name
	options.config = options.config or {}
	options.config.control = "control.sock"
	return gateway.start(options)
end

describe("a service manager", function()
	for what, name in pairs { ["a path"] = false, ["an abstract name"] = "@tidegate-spec-" .. uv.getpid() } do
		it("at " .. what .. " is told of the start, of reloads and of the stop", function()
			local manager = supervisor(name or nil)
			local g = start({}, manager)
			manager.wait("READY=1")
			assert.truthy(g.agent:log():find("running name=", 1, true))
			assert.equal(0, manager.count("WATCHDOG=1"))
			g.agent:signal("sighup")
			manager.wait("RELOADING=1|MONOTONIC_USEC=%d+")
			manager.wait("READY=1", 2)
			assert.equal(0, (g.agent:command("reload")))
			manager.wait("READY=1", 3)
			assert.equal(0, manager.count("STOPPING=1"))
			assert.equal(0, g.agent:stop())
			manager.wait("STOPPING=1")
		end)
	end

	it("is told when a reload began, in systemd's time", function()
		local manager = supervisor()
		local g = start({}, manager)
		local before = uv.hrtime() // 1000
		assert.equal(0, (g.agent:command("reload")))
		manager.wait("READY=1", 2)
		local told = math.tointeger(file.read(manager.out):match("MONOTONIC_USEC=(%d+)"))
		assert(told >= before and told <= uv.hrtime() // 1000)
	end)

	it("is told that it is ready although a reload failed", function()
		local manager = supervisor()
		local g = start({}, manager)
		g.agent:configure { control = "control.sock", nonsense = true }
		assert.equal(1, (g.agent:command("reload")))
		manager.wait("READY=1", 2)
	end)

	it("is not told that it is ready if a script does not load", function()
		local manager = supervisor()
		local g = start({ idle = true, script = "error 'no'" }, manager)
		g.agent:start()
		assert.equal(78, (g.agent:wait()))
		assert.equal(0, manager.count("READY=1"))
	end)

	it("hears in one line how it goes", function()
		local manager = supervisor()
		local g = start({}, manager, { WATCHDOG_USEC = "200000" })
		manager.wait("STATUS=2 of 2 links up, 0 messages queued")
		g.uplink.cut()
		g:publish_readings(1, 3)
		manager.wait("STATUS=1 of 2 links up, 3 messages queued")
	end)

	it("hears from the watchdog's timer, and not from a loop that is stuck", function()
		local manager = supervisor()
		local g = start({
			config = { limits = { call = "3s" } },
			script = [[on("sensors/+", function() log.info("stuck") while true do end end)]],
		}, manager, { WATCHDOG_USEC = "200000" })
		manager.wait("WATCHDOG=1", 3)
		g.sensor:post("sensors/a", "1", { qos = 1 })
		g.agent:wait_log("stuck")
		-- What was told before may be heard late. Else it speaks every tenth of a second.
		local heard, since = manager.count("WATCHDOG=1"), loop.now()
		loop.eventually(function()
			if manager.count("WATCHDOG=1") > heard then
				heard, since = manager.count("WATCHDOG=1"), loop.now()
			end
			return loop.now() - since > 0.8
		end, "silence")
		manager.wait("WATCHDOG=1", heard + 2) -- the handler was ended
	end)

	it("does not wait for pings that were promised by another process", function()
		local manager = supervisor()
		start({}, manager, { WATCHDOG_USEC = "100000", WATCHDOG_PID = "1" })
		manager.wait("READY=1")
		loop.consistently(function()
			return manager.count("WATCHDOG=1") == 0
		end, "no pings", 0.5)
	end)

	it("that is gone is missed in one line of the log, and nothing else", function()
		local manager = supervisor()
		local g = start({}, manager, { WATCHDOG_USEC = "100000" })
		manager.wait("READY=1")
		manager.process:destroy()
		g.agent:wait_log("cannot tell the service manager")
		g:publish_readings(1, 5)
		g:wait_readings(5)
		assert.equal(1, select(2, g.agent:log():gsub("cannot tell the service manager", "")))
	end)
end)

-- The names in a set of system calls, sets within it included.
local function calls_of(set, into)
	for line in proc.output("systemd-analyze syscall-filter --no-pager " .. set):gmatch("[^\n]+") do
		local name = line:match("^%s+(@?[%w_-]+)$")
		if name and name:sub(1, 1) == "@" then
			calls_of(name, into)
		elseif name then
			into[name] = true
		end
	end
	return into
end

describe("the unit for systemd", function()
	it("leaves little to attack", function()
		need.program("systemd-analyze")
		local text = proc.output("systemd-analyze security --offline=yes --no-pager " .. UNIT)
		local score = tonumber(text:match("Overall exposure level for %S+: ([%d.]+)"))
		assert(score and score <= 2.0, text)
	end)

	it("allows the system calls that are made", function()
		need.program("systemd-analyze")
		need.program("strace")
		local trace = file.directory() .. "/trace"
		local g = gateway.start {
			config = { control = "control.sock" },
			agent = {
				release = true,
				wrap = function(argv)
					return table.move(argv, 1, #argv, 6, { "strace", "-f", "-qq", "-o", trace })
				end,
			},
		}
		g.uplink.cut()
		g:publish_readings(1, 50)
		g:await_taken()
		assert.equal(0, (g.agent:command("status")))
		assert.equal(0, (g.agent:command("reload")))
		g.uplink.restore()
		g:wait_readings(50)
		assert.equal(0, g.agent:stop())
		local unit = file.read(UNIT)
		local allowed, denied = {}, {}
		for sign, sets in unit:gmatch("\nSystemCallFilter=(~?)([^\n]+)") do
			for set in sets:gmatch("%S+") do
				calls_of(set, sign == "~" and denied or allowed)
			end
		end
		assert(allowed.read and denied.chown)
		-- What the C library does without, and what SQLite does as root only.
		local forgone = { prlimit64 = true, fchown = true }
		local seen = 0
		for name in file.read(trace):gmatch("%f[^\n]%d+%s+([%w_]+)%(") do
			seen = seen + 1
			assert(forgone[name] or (allowed[name] and not denied[name]), name .. " is not allowed")
		end
		assert(seen > 100)
	end)
end)
