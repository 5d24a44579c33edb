--- Stopping, and what does not stop it.
local fake_broker = require "lib.fake_broker"
local gateway = require "lib.gateway"
local loop = require "lib.loop"
local net = require "lib.net"
local tidegate = require "lib.tidegate"

describe("signals:", function()
	for _, signal in ipairs { "sigterm", "sigint" } do
		it(signal .. " stops it cleanly: status 0, and a goodbye to every broker", function()
			local fake = fake_broker.start()
			local agent = tidegate.start { config = { links = { core = { url = "mqtt://127.0.0.1:" .. fake.port } } } }
			agent:wait_log("connected")
			assert.equal(0, agent:stop(signal))
			fake:wait_for("disconnect", 1)
			assert.truthy(agent:log():find("stopped"))
		end)

		it(signal .. " stops it while no broker answers", function()
			local agent = tidegate.start { config = { links = { core = { url = "mqtt://127.0.0.1:" ..
				net.free_port() } } } }
			agent:wait_log("cannot connect")
			assert.equal(0, agent:stop(signal))
		end)
	end

	it("sighup does not end it", function()
		local g = gateway.start()
		g.agent:signal("sighup")
		g.agent:wait_log("HUP")
		g:publish_readings(1, 3)
		g:wait_readings(3)
	end)

	it("a stop in full flow loses nothing", function()
		local g = gateway.start()
		for i = 1, 4000 do
			g.sensor:post("sensors/a", "r" .. i, { qos = 1 })
		end
		for i = 1, 3 do
			loop.eventually(function()
				return #g:readings() > i * 500
			end, "readings flow")
			local started = loop.now()
			assert.equal(0, g.agent:stop())
			assert(loop.now() - started < 8, "stopping took long")
			g:start()
		end
		gateway.assert_in_order(g:wait_readings(4000))
	end)

	it("a stop does not wait for a broker that is silent", function()
		local g = gateway.start()
		g:publish_readings(1, 1)
		g:wait_readings(1)
		g.uplink.stall()
		g:publish_readings(2, 20)
		g:await_taken()
		local started = loop.now()
		assert.equal(0, g.agent:stop())
		assert(loop.now() - started < 8, "stopping took long")
		g.uplink.cut()
		g.uplink.restore()
		g:start(true)
		gateway.assert_in_order(g:wait_readings(20))
	end)

	it("a second agent on the same database is refused", function()
		local g = gateway.start()
		local code, _, err = g.agent:command("run")
		assert.equal(1, code)
		assert.truthy(err:find("queue.db", 1, true), err)
		g:publish_readings(1, 3)
		g:wait_readings(3)
	end)

	it("a broken pipe on stderr does not end it", function()
		local g = gateway.start {
			idle = true,
			agent = {
				wrap = function(argv)
					return table.move(argv, 1, #argv, 5, { "sh", "-c", '"$@" 2>&1 | :', "sh" })
				end,
			},
		}
		g:start() -- its log says nothing
		g:publish_readings(1, 5)
		g:wait_readings(5)
		g.agent:kill()
	end)
end)
