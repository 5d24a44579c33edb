--- SIGKILL at random moments while a producer saturates the gateway. The oracle is the
-- producer's record: what the field broker acknowledged to it arrives, and first
-- arrivals are in order.
local figures = require "torture.figures"
local loop = require "lib.loop"
local need = require "lib.need"
local scenes = require "torture.scene"

local RATE = 15000 -- messages a second offered: more than it takes to hurt
local CYCLES = figures.sized(3, 170) -- of each kind

-- What the uplink does meanwhile: a function called in each cycle, seconds into it.
local uplinks = {
	up = function() end,
	down = function(line, cycle)
		if cycle == 1 then
			line:cut()
		end
	end,
	flapping = function(line, cycle)
		if cycle % 2 == 1 then
			line:cut()
		else
			line:restore()
		end
	end,
}

local function start(linger)
	local scene = scenes.start { idle = true, agent = { release = true },
		core = { reconnect = { min = "50ms", max = "50ms" } } }
	scene.config.store = { path = scene.agent.queue_path, linger = linger == "0" and 0 or linger }
	scene.agent:configure(scene.config)
	scene.agent:start()
	scene:wait_subscribed()
	return scene
end

-- Starts the agent, lets it work for a random time, kills it.
local function cycle(scene, uplink, i)
	scene.agent:start()
	uplinks[uplink](scene.core_line, i)
	scenes.go_on(0.05 + math.random() * 0.55)
	scene:kill()
end

-- Lets the backlog go, which would slow down everybody otherwise.
local function drain(scene)
	scene.core_line:restore()
	scene.agent:start()
	scene:pause()
	scene:resume()
	scene:kill()
end

describe("SIGKILL at random moments:", function()
	for _, linger in ipairs { "250ms", "0" } do
		for _, uplink in ipairs { "up", "down", "flapping" } do
			it(("nothing is lost, uplink %s, linger %s"):format(uplink, linger), function()
				local scene = start(linger)
				scene:publish { rate = RATE, window = 1000 }
				scene:wait_progress(1000)
				scene:kill()
				local seconds, readings = 0, 0
				for i = 1, CYCLES do
					local began, acknowledged = loop.now(), scene:acknowledged()
					cycle(scene, uplink, i)
					seconds, readings = seconds + loop.now() - began, readings + scene:acknowledged() - acknowledged
					if i % 15 == 0 then
						drain(scene)
						uplinks[uplink](scene.core_line, 1)
					end
				end
				scene.core_line:restore()
				scene.agent:start()
				local result = scene:judge(("kill -9, uplink %s, linger %s"):format(uplink, linger), { cases = CYCLES,
					more = ("%.0f messages/s"):format(readings / seconds) })
				-- Per kill: what was in flight, what was taken but not acknowledged, deletions of a quarter of a second.
				assert(result.duplicates <= (CYCLES + 2) * (100 + 1000 + RATE // 2), result.duplicates .. " duplicates")
			end)
		end
	end
end)

-- Runs the agent until its `n`-th call of `call`, at which it is killed. False: it made
-- fewer in a while. The first one it makes, however long it takes.
local function run_until_call(scene, call, n)
	scene.agent.options.wrap = function(argv)
		return table.move(argv, 1, #argv, 7, { "strace", "-f", "-o", "/dev/null", "-e",
			("inject=%s:signal=KILL:when=%d"):format(call, n) })
	end
	scene.agent:start()
	local killed = loop.run_until(function() return not scene.agent.process:running() end,
		n == 1 and loop.deadline or figures.sized(1, 5))
	if not killed then
		scene:kill()
	end
	scene.agent.options.wrap = nil
	return killed
end

-- linger, uplink, call, how many of them
local sweeps = {
	{ "250ms", "down", "fdatasync", 40 },
	{ "250ms", "down", "pwrite64", 120 },
	{ "250ms", "up", "write", 260 },
	{ "0", "up", "fdatasync", 80 },
	{ "0", "up", "pwrite64", 200 },
	{ "0", "up", "write", 260 },
}

describe("SIGKILL at the n-th system call:", function()
	for _, sweep in ipairs(sweeps) do
		local linger, uplink, call, calls = table.unpack(sweep)
		local name = ("kill -9 at each %s, uplink %s, linger %s"):format(call, uplink, linger)
		it("nothing is lost: " .. name, function()
			need.program("strace")
			local scene = start(linger)
			scene:publish { rate = 300 }
			scene:wait_progress(10)
			scene:kill()
			local n, kills = 1, 0
			while n <= calls do
				if uplink == "down" then
					scene.core_line:cut()
				end
				if not run_until_call(scene, call, n) then
					break
				end
				kills = kills + 1
				local goal = scene:acknowledged()
				scene.core_line:restore()
				scene.agent:start()
				loop.eventually(function() return scene:arrived() >= goal end,
					("all that was acknowledged arrives, killed at %s %d"):format(call, n))
				scene:kill()
				n = n + figures.sized(math.random(calls // 3), 1)
			end
			scene.core_line:restore()
			scene.agent:start()
			assert(kills > 0)
			scene:judge(name, { cases = kills })
		end)
	end
end)
