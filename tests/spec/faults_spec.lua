--- System calls of the agent that fail, one at a time: the n-th read, write or connect of
-- a socket, the n-th sync or write of the database. See tests/torture/shim.c.
local uv = require "luv"
local figures = require "torture.figures"
local loop = require "lib.loop"
local scenes = require "torture.scene"

-- call, how it fails, how many of the first calls are tried
local plans = {
	{ "read", "ECONNRESET", 40 },
	{ "read", "EINTR", 40 },
	{ "read", "SHORT", 40 },
	{ "write", "ECONNRESET", 60 },
	{ "write", "EPIPE", 60 },
	{ "write", "EINTR", 60 },
	{ "write", "SHORT", 60 },
	{ "connect", "ECONNREFUSED", 2 },
	{ "connect", "ENETUNREACH", 2 },
	{ "fdatasync", "EIO", 30 },
	{ "fdatasync", "ENOSPC", 30 },
	{ "pwrite", "EIO", 60 },
	{ "pwrite", "ENOSPC", 60 },
	{ "pwrite", "SHORT", 60 },
}

local function start(linger)
	local path = os.getenv("FAIL_SHIM") or "build/fail.so"
	local scene = scenes.start { idle = true,
		agent = { env = { LD_PRELOAD = assert(uv.fs_realpath(path), path .. " is not there: run make first"),
			ASAN_OPTIONS = "verify_asan_link_order=0" } },
		field = { reconnect = { min = "50ms", max = "50ms" } },
		core = { reconnect = { min = "50ms", max = "50ms" } } }
	scene.config.store = { path = scene.agent.queue_path, linger = linger }
	scene.agent:configure(scene.config)
	scene.agent:start()
	scene:wait_subscribed()
	scene:publish { rate = 500 }
	scene:wait_progress(10)
	assert.equal(0, scene.agent:stop())
	return scene
end

local function times_logged(scene, text)
	return select(2, scene.agent:log():gsub(text, ""))
end

-- Runs the agent with a plan of failure for 100 readings; returns how often something
-- failed. An agent that cannot start for it is started again, as its supervisor would.
local function run(scene, plan)
	local failures, starts = times_logged(scene, "\nshim: "), times_logged(scene, "agent: running")
	scene.agent.options.env.SHIM_FAIL = plan
	scene.agent:start()
	scene.agent.options.env.SHIM_FAIL = nil
	loop.eventually(function()
		if not scene.agent.process:running() then
			assert.equal(1, scene.agent.process.code)
			scene.agent:start()
		end
		return times_logged(scene, "agent: running") > starts
	end, "the agent starts")
	scene:wait_progress(100)
	assert.equal(0, scene.agent:stop())
	return times_logged(scene, "\nshim: ") - failures
end

describe("a system call that fails:", function()
	for _, linger in ipairs { "250ms", "0s" } do
		it("once, and nothing is lost, linger " .. linger, function()
			local scene, failures = start(linger), 0
			for _, plan in ipairs(plans) do
				local call, how, last = table.unpack(plan)
				local n = figures.sized(math.random(last), 1)
				while n <= last do
					failures = failures + run(scene, ("%s:%s:%d"):format(call, how, n))
					n = n + figures.sized(last, 1)
				end
			end
			scene.agent:start()
			scene:judge("system calls fail once, linger " .. linger, { cases = failures })
		end)

		it("again and again, and nothing is lost, linger " .. linger, function()
			local scene, failures = start(linger), 0
			for _, plan in ipairs(plans) do
				local call, how = table.unpack(plan)
				for _ = 1, figures.sized(call == "connect" and 0 or 1, 10) do
					failures = failures + run(scene, ("%s:%s:%d:%d"):format(call, how, math.random(100), 300 + math.random(300)))
				end
			end
			scene.agent:start()
			scene:judge("system calls fail now and then, linger " .. linger, { cases = failures })
		end)
	end
end)
