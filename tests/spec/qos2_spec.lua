--- QoS 2 across a restart: packet ids start over, so the broker must not compare
-- them with those of the process before.
local fake_broker = require "lib.fake_broker"
local tidegate = require "lib.tidegate"

local function start(core, subscribe)
	return tidegate.start {
		config = { links = { core = { url = "mqtt://127.0.0.1:" .. core.port, subscribe = subscribe, default = true } } },
		scripts = { ["rule.lua"] = [[function on_connect() mqtt.pubx("out", "same", 2, false) end]] },
	}
end

describe("a QoS 2 uplink after a kill", function()
	it("makes the broker forget its session, then sends again", function()
		local core = fake_broker.start { publish = function() return false end }
		local agent = start(core)
		core:wait_for("publish", 1)
		agent:kill()
		agent:start()
		core:wait_for("publish", 3)
		local connects = core:received("connect")
		assert.equal(3, #connects)
		assert.is_false(connects[1].clean)
		assert.is_true(connects[2].clean)
		assert.is_false(connects[3].clean)
		assert.equal(connects[1].client_id, connects[2].client_id)
	end)

	it("keeps a session that also brings messages, and says so", function()
		local core = fake_broker.start { publish = function() return false end }
		local agent = start(core, { "in/#" })
		core:wait_for("publish", 1)
		agent:kill()
		agent:start()
		core:wait_for("publish", 3)
		assert.truthy(agent:log():find("sends at QoS 2 and has subscriptions", 1, true))
		for _, connect in ipairs(core:received("connect")) do
			assert.is_false(connect.clean)
		end
	end)
end)
