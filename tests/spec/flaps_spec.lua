--- Links that come and go many times a second: nothing is lost, the order stays.
local figures = require "torture.figures"
local loop = require "lib.loop"
local scenes = require "torture.scene"

-- Cuts and restores the lines every 100 ms for `seconds`.
local function flap(seconds, lines)
	local ends, flaps = loop.now() + seconds, 0
	while loop.now() < ends do
		for _, line in ipairs(lines) do
			line:cut()
		end
		scenes.go_on(0.1)
		for _, line in ipairs(lines) do
			line:restore()
		end
		scenes.go_on(0.1)
		flaps = flaps + 1
	end
	return flaps
end

describe("a link that flaps every 100 ms:", function()
	for _, which in ipairs { "uplink", "field link", "both links" } do
		it("nothing is lost: " .. which, function()
			local scene = scenes.start { field = { reconnect = { min = "50ms", max = "50ms" } },
				core = { reconnect = { min = "50ms", max = "50ms" } } }
			local lines = { uplink = { scene.core_line }, ["field link"] = { scene.field_line },
				["both links"] = { scene.core_line, scene.field_line } }
			scene:publish { rate = 2000 }
			scene:wait_progress(100)
			local flaps = flap(figures.sized(2, 60), lines[which])
			scene:judge("flaps every 100 ms, " .. which, { cases = flaps })
		end)
	end
end)
