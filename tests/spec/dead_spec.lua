--- A message that a rule cannot handle is not lost: it goes to the dead letters, on
-- disk before it is acknowledged, and can be tried again when the rule is mended.
local gateway = require "lib.gateway"

-- Fails in all the ways a handler can, as the payload says.
local failing = [[
function on_message(topic, payload)
	mqtt.pub("never", payload)
	if payload == "error" then error("no number:\nat all") end
	if payload == "loop" then while true do end end
	if payload == "memory" then local s = "x" while true do s = s .. s end end
end
on("sensors/on", function() error({}) end)
function on_connect(link) error("also " .. link) end
]]

-- The letters as they are in the stopped agent's database, oldest first.
local function letters(g)
	g.agent:stop()
	return g.agent:sql("SELECT link, script, topic, payload, tries, retry, reason FROM dead ORDER BY id")
end

describe("a message whose handler fails", function()
	it("goes to the dead letters, and other scripts handle it", function()
		local g = gateway.start {
			agent = { scripts = { ["failing.lua"] = failing, ["forward.lua"] = gateway.forward } },
			config = { limits = { call = "50ms", memory = "1MB" } },
		}
		for _, payload in ipairs { "error", "loop", "memory" } do
			g.sensor:publish("sensors/a", payload)
		end
		g.sensor:publish("sensors/on", "on")
		g.collector:wait_topic("sensors/on")
		assert.same({ "error", "loop", "memory", "on", "on" }, { g.collector:payloads("sensors/a")[1],
			g.collector:payloads("sensors/a")[2], g.collector:payloads("sensors/a")[3],
			g.collector:wait_topic("sensors/on").payload, g.collector:wait_topic("never").payload })
		g.agent:wait_log("dead letter %d+")
		local list = letters(g)
		local reasons = { "failing.lua:3: no number:$", "used more than 50 ms of CPU time", "not enough memory",
			"error object is a table" }
		assert.equal(#reasons, #list)
		for i, payload in ipairs { "error", "loop", "memory", "on" } do
			local link, script, topic, body, tries, retry, reason = table.unpack(list[i])
			assert.same({ "field", "failing.lua", i == 4 and "sensors/on" or "sensors/a", payload, "1", "0" },
				{ link, script, topic, body, tries, retry })
			assert.truthy(reason:find(reasons[i]), reason)
		end
	end)

	it("is acknowledged only when its letter is on disk", function()
		local g = gateway.start { script = 'function on_message() error("no") end' }
		g:publish_readings(1, 500)
		g:await_taken()
		g.agent:kill()
		local rows = g.agent:sql("SELECT count(DISTINCT payload) FROM dead")
		assert.same({ { "500" } }, rows)
	end)

	it("makes room for newer ones when there are too many", function()
		local g = gateway.start { script = 'function on_message() error("no") end' }
		g:publish_readings(1, 1100)
		g:await_taken()
		g.agent:stop()
		local rows = g.agent:sql("SELECT payload FROM dead ORDER BY id")
		assert.same({ 1000, "r101", "r1100" }, { #rows, rows[1][1], rows[#rows][1] })
		g.agent:wait_log("too many dead letters")
	end)
end)

describe("a dead letter marked for another try", function()
	-- One letter of failing.lua, with other.lua having handled the message.
	local function scene()
		local g = gateway.start {
			agent = { scripts = {
				["failing.lua"] = 'function on_message() error("not yet") end',
				["other.lua"] = 'function on_message(topic, payload) mqtt.pub("other", payload) end',
			} },
		}
		g.sensor:publish("sensors/a", "21.5", { retain = true })
		g.collector:wait_topic("other")
		assert.equal(1, #letters(g))
		g.agent:sql("UPDATE dead SET retry = 1")
		return g
	end

	it("is handled by the script that failed, and by no other, when the agent starts", function()
		local g = scene()
		g.agent:script("failing.lua", [[
			function on_message(topic, payload, msg)
				mqtt.pub("mended", ("%s %s %s %d %s"):format(topic, payload, msg.link, msg.qos, now() - msg.time < 60))
			end
		]])
		g.agent:start()
		assert.equal("sensors/a 21.5 field 1 true", g.collector:wait_topic("mended").payload)
		assert.equal(1, #g.collector:payloads("other"))
		assert.equal(0, #letters(g))
	end)

	it("stays when it fails again", function()
		local g = scene()
		g.agent:script("failing.lua", 'function on_message() error("still not") end')
		g.agent:start()
		g.agent:wait_log("0 of 1 dead letters")
		local list = letters(g)
		assert.equal("2", list[1][5])
		assert.equal("0", list[1][6])
		assert.truthy(list[1][7]:find("still not"))
		g:start(true)
		assert.equal("2", letters(g)[1][5])
	end)

	it("stays when its script is not loaded any more", function()
		local g = scene()
		g.config.scripts = { "other.lua" }
		g.agent:configure(g.config)
		g.agent:start()
		g.agent:wait_log("script failing.lua is not loaded")
		assert.equal("1", letters(g)[1][5])
	end)

	it("is not tried for ever if it ends the process", function()
		local g = scene()
		g.config.limits = { call = "60s" }
		g.agent:configure(g.config)
		g.agent:script("failing.lua", [[
			function on_message(_, payload)
				if payload == "21.5" then log.info("trying") while true do end end
			end
		]])
		g.agent:start()
		g.agent:wait_log("trying")
		g.agent:kill()
		g:start(true)
		assert.equal(1, select(2, g.agent:log():gsub("trying", "")))
		assert.equal(1, #letters(g))
	end)
end)
