--- A disk that fills up during an outage: what was acknowledged is safe, nothing
-- more is acknowledged, and when the uplink is back all of it gets through.
local gateway = require "lib.gateway"
local loop = require "lib.loop"
local need = require "lib.need"

-- With this much behind them, a few thousand readings fill the disk below.
local script = [[
	local weight = ("x"):rep(1000)
	function on_message(topic, payload)
		assert(mqtt.pub(topic, payload, { ctx = weight }))
	end
	function on_connect(link)
		local token, why = mqtt.pub("back", "")
		log.info("%s is back: %s", link, token or why)
	end
]]
local N = 9000

describe("a disk that fills up", function()
	it("loses nothing, and empties again when the uplink is back", function()
		need.root()
		need.success("unshare -m true", "cannot make a mount namespace")
		local g
		g = gateway.start {
			idle = true,
			down = true,
			script = script,
			agent = {
				wrap = function(argv)
					local mount = ("mkdir -p %s/small && mount -t tmpfs -o size=12m tmpfs %s/small && exec \"$@\"")
						:format(g.agent.directory, g.agent.directory)
					return table.move(argv, 1, #argv, 7, { "unshare", "-m", "sh", "-c", mount, "sh" })
				end,
			},
		}
		g.config.store = { path = g.agent.directory .. "/small/queue.db" }
		g.agent:configure(g.config)
		g:start()
		g:publish_readings(1, N)
		g.agent:wait_log("the disk is nearly full; nothing is acknowledged until")
		loop.consistently(function()
			return g.field:occurrences("Received PUBACK from gw-field") < N
		end, "the field broker keeps the rest", 0.5)
		assert.falsy(g.agent:log():find("link field: lost")) -- it is held
		g.uplink.restore()
		g.agent:wait_log("core is back: queue full: the store cannot be written")
		gateway.assert_in_order(g:wait_readings(N, 60))
		g.agent:wait_log("the store can be written again")
	end)
end)
