--- SIGKILL at random moments while a producer saturates the gateway. The oracle is the
-- producer's record: what the field broker acknowledged to it arrives, and first
-- arrivals are in order.
local figures = require "torture.figures"
local loop = require "lib.loop"
local need = require "lib.need"
local scenes = require "torture.scene"

local RATE = 15000 -- messages a second offered: more than it takes to hurt
local CYCLES = figures.sized(5, 170) -- of each kind

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

-- Starts the agent, lets it work for a random time, kills it.
local function cycle(scene, uplink, i)
	scene.agent:start()
	uplinks[uplink](scene.core_line, i)
	scenes.go_on(0.05 + math.random() * 0.55)
	scene:kill()
end

describe("SIGKILL at random moments:", function()
	for _, linger in ipairs { "250ms", "0" } do
		for _, uplink in ipairs { "up", "down", "flapping" } do
			it(("nothing is lost, uplink %s, linger %s"):format(uplink, linger), function()
				local scene = scenes.start { idle = true, agent = { release = true },
					core = { reconnect = { min = "50ms", max = "50ms" } } }
				scene.config.store = { path = scene.agent.queue_path, linger = linger == "0" and 0 or linger }
				scene.agent:configure(scene.config)
				scene.agent:start()
				scene:wait_subscribed()
				scene:publish { rate = RATE, window = 1000 }
				scene:wait_progress(1000)
				scene:kill()
				local began, acknowledged = loop.now(), scene:acknowledged()
				for i = 1, CYCLES do
					cycle(scene, uplink, i)
				end
				local rate = (scene:acknowledged() - acknowledged) / (loop.now() - began)
				scene.core_line:restore()
				scene.agent:start()
				local drained = loop.now()
				scene:settle()
				local result = scene:judge(("kill -9, uplink %s, linger %s"):format(uplink, linger), { cases = CYCLES,
					more = ("%.0f messages/s acknowledged to the producer, the rest drained in %.1f s"):format(rate,
						loop.now() - drained) })
				-- Per kill: what was in flight, what was taken but not acknowledged, deletions of a quarter of a second.
				assert(result.duplicates <= (CYCLES + 2) * (100 + 1000 + RATE // 2), result.duplicates .. " duplicates")
			end)
		end
	end
end)

-- Runs the agent until its `n`-th call of `call`, at which it is killed. False: it made
-- fewer in a second.
local function run_until_call(scene, call, n)
	scene.agent.options.wrap = function(argv)
		return table.move(argv, 1, #argv, 7, { "strace", "-f", "-o", "/dev/null", "-e",
			("inject=%s:signal=KILL:when=%d"):format(call, n) })
	end
	scene.agent:start()
	local killed = loop.run_until(function() return not scene.agent.process:running() end, 1)
	if not killed then
		scene:kill()
	end
	scene.agent.options.wrap = nil
	return killed
end

describe("SIGKILL at the n-th system call:", function()
	local sweeps = { { "fdatasync", 80 }, { "pwrite64", 200 }, { "write", 260 } }
	for _, linger in ipairs { "250ms", "0" } do
		for _, sweep in ipairs(sweeps) do
			local call, calls = table.unpack(sweep)
			it(("nothing is lost, killed at each %s, linger %s"):format(call, linger), function()
				need.program("strace")
				local scene = scenes.start { idle = true, agent = { release = true },
					core = { reconnect = { min = "50ms", max = "50ms" } } }
				scene.config.store = { path = scene.agent.queue_path, linger = linger == "0" and 0 or linger }
				scene.agent:configure(scene.config)
				scene.agent:start()
				scene:wait_subscribed()
				scene:publish { rate = 300 }
				scene:wait_progress(10)
				scene:kill()
				local n, kills = 1, 0
				while n <= calls and run_until_call(scene, call, n) do
					kills = kills + 1
					local goal = scene:acknowledged()
					scene.agent:start()
					loop.eventually(function() return scene:arrived() >= goal end,
						("all that was acknowledged arrives, killed at %s %d"):format(call, n))
					scene:kill()
					n = n + figures.sized(math.random(calls // 2), 1)
				end
				scene.agent:start()
				assert(kills > 0)
				scene:judge(("kill -9 at each %s, linger %s"):format(call, linger), { cases = kills })
			end)
		end
	end
end)
