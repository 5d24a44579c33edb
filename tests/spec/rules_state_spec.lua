--- The rules library's data in `state`.
local fake_agent = require "lib.fake_agent"
local property = require "lib.property"

describe("data in state", function()
	it("makes no difference", function()
		property.holds(20, function()
			local agent = fake_agent.new()
			local step = assert(loadfile("tests/lib/both_ways.lua", "t", agent.env))()(math.random(1, 5))
			for _ = 1, 300 do
				step()
			end
		end)
	end)
end)
