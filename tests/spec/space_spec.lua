--- A file system of a few megabytes that fills during an outage and is freed, again and
-- again, without a restart: first by what is queued, then by somebody else's file.
local figures = require "torture.figures"
local loop = require "lib.loop"
local need = require "lib.need"
local scenes = require "torture.scene"

local SIZE = figures.sized(6, 24) -- megabytes
local script = [[
	local weight = ("x"):rep(2000)
	function on_message(topic, payload)
		assert(mqtt.pub(topic, payload, { ctx = weight }))
	end
]]

-- The agent on a tmpfs that only it can see.
local function start()
	need.root()
	need.success("unshare -m true", "cannot make a mount namespace")
	local scene
	scene = scenes.start { idle = true, script = script, agent = {
		wrap = function(argv)
			local small = scene.agent.directory .. "/small"
			local mount = ("mkdir -p %s && mount -t tmpfs -o size=%dm tmpfs %s && exec \"$@\""):format(small, SIZE, small)
			return table.move(argv, 1, #argv, 7, { "unshare", "-m", "sh", "-c", mount, "sh" })
		end,
	} }
	scene.config.store = { path = scene.agent.directory .. "/small/queue.db" }
	scene.agent:configure(scene.config)
	scene.agent:start()
	scene:wait_subscribed()
	return scene
end

local function times_logged(scene, text)
	return select(2, scene.agent:log():gsub(text, ""))
end

local function wait_logged(scene, text, times)
	loop.eventually(function() return times_logged(scene, text) >= times end, text, 60)
end

local FULL, FREE = "cannot commit: ", "the store can be written again"

describe("a small file system:", function()
	it("fills during an outage, and empties afterwards, again and again", function()
		local scene, rounds = start(), figures.sized(1, 10)
		scene:publish { rate = 4000 }
		for round = 1, rounds do
			scene:wait_progress(500)
			scene.core_line:cut()
			wait_logged(scene, FULL, round)
			scenes.go_on(0.3)
			scene.core_line:restore()
			wait_logged(scene, FREE, round)
		end
		scene:judge("a disk that fills and empties", { cases = rounds })
	end)

	it("is filled by somebody else, and freed while the uplink is still down", function()
		local scene, rounds = start(), figures.sized(1, 10)
		local root = ("/proc/%d/root"):format(scene.agent.process.pid)
		local ballast = root .. scene.agent.directory .. "/small/ballast"
		scene:publish { rate = 500 }
		for round = 1, rounds do
			scene:wait_progress(100)
			scene.core_line:cut()
			os.execute("cat /dev/zero > " .. ballast .. " 2>/dev/null")
			wait_logged(scene, FULL, round)
			local acknowledged = scene:acknowledged()
			scenes.go_on(0.3)
			assert(os.remove(ballast))
			wait_logged(scene, FREE, round)
			loop.eventually(function() return scene:acknowledged() > acknowledged end, "readings are taken again")
			scene.core_line:restore()
		end
		scene:judge("a disk that somebody fills and frees", { cases = rounds })
	end)
end)
