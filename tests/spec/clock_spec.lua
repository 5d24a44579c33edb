--- Routers start in 1970, and some time later NTP sets their clock to now. Nobody may
-- notice but readers of times.
local cjson = require "cjson"
local gateway = require "lib.gateway"
local loop = require "lib.loop"
local shim = require "lib.shim"

local YEAR = 365 * 86400
local AFTER_BOOT = 30 -- seconds since 1970
local LOOKED_THROUGH = 11 -- seconds: what waits is looked through for what has expired

-- Logs the time at which it takes a reading.
local SCRIPT = [[
function on_message(topic, payload)
	log.info("%s at %d", payload, now() // 1)
	mqtt.pub(topic, payload)
end
]]

-- A gateway whose wall clock says what the spec wants; it is not started. With the
-- uplink down.
local function scene(queue, config)
	local env = {}
	local clock = shim.clock(env)
	local g = gateway.start { idle = true, down = true, script = SCRIPT, agent = { env = env },
		core = { queue = queue }, config = config }
	return g, clock
end

local function take(g, first, last)
	g:publish_readings(first, last)
	g:await_taken() -- no linger is waited for that ends in fifty years
end

local function taken_at(g, reading)
	return tonumber((g.agent:wait_log("r" .. reading .. " at (%d+)")))
end

local function wait_report(g, reason)
	return loop.eventually(function()
		for _, message in ipairs(g.collector.messages) do
			local report = message.topic == "tidegate/gw/loss" and cjson.decode(message.payload)
			if report and report.reason == reason then
				return report
			end
		end
	end, "a report of losses")
end

local function assert_between(earliest, seconds, latest, what)
	assert(seconds > earliest - 1 and seconds < latest + 1,
		("%s: %f is not between %f and %f"):format(what, seconds, earliest, latest))
end

describe("a wall clock that jumps", function()
	local jumps = {
		{ "from 1970 to now", AFTER_BOOT, os.time() },
		{ "from now to 1970", os.time(), AFTER_BOOT },
		{ "to now and beyond and back", os.time(), os.time() + 30 * YEAR, os.time() - 5 * YEAR },
	}
	for _, jump in ipairs(jumps) do
		it(jump[1] .. " changes nothing but times", function()
			local g, clock = scene { ttl = "1h" }
			g.config.links.field.keepalive = "5s"
			g.agent:configure(g.config)
			clock:set(jump[2])
			g:start()
			take(g, 1, 3)
			assert_between(jump[2], taken_at(g, 3), clock:now(), "the time before the jump")
			local n = 3
			for i = 3, #jump do
				clock:set(jump[i])
				take(g, n + 1, n + 3)
				n = n + 3
				assert_between(jump[i], taken_at(g, n), clock:now(), "the time after the jump")
			end
			g.uplink.restore() -- the link comes back although its last attempt was decades ago or ahead
			g.core:wait_connected("gw-core", 1)
			assert.equal(0, gateway.assert_in_order(g:wait_readings(n)))
			-- Pings, and nobody is taken for dead.
			loop.eventually(function()
				return g.field:occurrences("Received PINGREQ from gw-field") >= 1
			end, "a ping")
			assert.equal(1, g.field:connections("gw-field"))
			assert.equal(1, g.core:connections("gw-core"))
			assert.is_nil(g.agent:log():find(": lost "))
		end)
	end

	it("expires nothing while the uplink is down", function()
		local g, clock = scene { ttl = "1h" }
		clock:set(AFTER_BOOT)
		g:start()
		take(g, 1, 3)
		clock:set(os.time())
		local jumped = loop.now()
		loop.eventually(function()
			return loop.now() - jumped > LOOKED_THROUGH
		end)
		g.uplink.restore()
		assert.equal(0, gateway.assert_in_order(g:wait_readings(3)))
	end)

	it("neither hastens nor delays expiry", function()
		local g, clock = scene { ttl = "2s" }
		clock:set(AFTER_BOOT)
		g:start()
		take(g, 1, 3)
		clock:set(os.time())
		take(g, 4, 6)
		local taken = loop.now()
		clock:set(AFTER_BOOT)
		loop.eventually(function()
			return loop.now() - taken > 2.5
		end)
		g.uplink.restore()
		g.core:wait_connected("gw-core")
		take(g, 7, 9) -- they need not wait
		loop.eventually(function()
			return #g:readings() >= 3
		end)
		assert.same({ 7, 8, 9 }, g:readings())
	end)
end)

describe("the time of a reading", function()
	it("from before the clock was set is corrected", function()
		local g, clock = scene { max_messages = 3 }
		clock:set(AFTER_BOOT)
		g:start()
		local began = loop.now()
		take(g, 1, 3)
		local received = loop.now()
		g.agent:restart() -- the boot is the same: what it knows of the time stays true
		clock:set(os.time() + 3 * YEAR)
		take(g, 4, 6)
		g.uplink.restore()
		local report = wait_report(g, "overflow")
		local ahead = clock:now() - loop.now()
		assert.equal(3, report.count)
		assert_between(began + ahead, report.first_time, received + ahead, "the corrected time")
		assert_between(began + ahead, report.last_time, received + ahead, "the corrected time")
		assert.is_nil(report.time_uncertain)
	end)

	it("from an earlier boot cannot be, and is told to be uncertain", function()
		local g, clock = scene { max_messages = 3, ttl = "1h" }
		clock:set(AFTER_BOOT)
		g:start()
		take(g, 1, 3)
		local latest = clock:now()
		g.agent:kill()
		clock:boot_again("another", os.time())
		g:start()
		take(g, 4, 5)
		g.uplink.restore()
		local report = wait_report(g, "overflow")
		assert.equal(2, report.count)
		assert_between(AFTER_BOOT, report.first_time, latest, "the time as it was")
		assert.equal(true, report.time_uncertain)
		loop.eventually(function()
			return #g:readings() >= 3
		end)
		assert.same({ 3, 4, 5 }, g:readings()) -- nor has it expired
	end)
end)

describe("expiry", function()
	it("goes on across boots with the time that is known to have passed", function()
		local g, clock = scene()
		g.agent:script("rules.lua", [[
			function on_message(topic, payload)
				mqtt.pub(topic, payload, { ttl = payload == "r1" and 3 or 12 })
			end
		]])
		clock:set(AFTER_BOOT)
		g:start()
		take(g, 1, 1)
		local taken = loop.now()
		loop.eventually(function()
			return loop.now() - taken > 1.5
		end)
		take(g, 2, 2)
		g.agent:kill()
		clock:boot_again("another", AFTER_BOOT)
		g:start()
		local started = loop.now()
		loop.eventually(function()
			return loop.now() - started > 2
		end)
		g.uplink.restore()
		loop.eventually(function()
			return #g:readings() >= 1
		end)
		assert.same({ 2 }, g:readings())
	end)
end)
