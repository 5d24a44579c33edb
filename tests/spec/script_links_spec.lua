--- Links that scripts open and close themselves.
local broker = require "lib.broker"
local gateway = require "lib.gateway"
local loop = require "lib.loop"

-- A rules.lua that answers `ask` on sensors/ask with what `expression` gives.
local function answering(expression)
	return ([[
		on("sensors/ask", function()
			mqtt.link("core"):pub("answer", tostring(%s))
		end)
	]]):format(expression)
end

local function ask(g)
	g.sensor:publish("sensors/ask", "")
	return g.collector:wait_topic("answer").payload
end

describe("a link that a script opens", function()
	it("is not there if the handler fails", function()
		local third = broker.start()
		local g = gateway.start { script = ([[
			local opened
			function on_start()
				opened = mqtt.conn("mqtt://127.0.0.1:%d", "third")
				error("changed my mind")
			end
		]]):format(third.port) .. answering [[
			("%s; %s"):format(select(2, mqtt.link("third")), select(2, opened:pub("x", "y")))]] }
		assert.equal("unknown link; unknown link", ask(g))
		assert.equal(0, third:connections("gw-third"))
	end)

	it("stays off if it is told to in the same handler", function()
		local third = broker.start()
		local g = gateway.start { script = ([[
			function on_start()
				mqtt.conn("mqtt://127.0.0.1:%d", "third"):disconnect()
			end
		]]):format(third.port) .. answering [[mqtt.link("third"):connected()]] }
		assert.equal("false", ask(g))
		assert.equal(0, third:connections("gw-third"))
	end)

	it("can be opened again after that", function()
		local third = broker.start()
		local g = gateway.start { script = ([[
			local url = "mqtt://127.0.0.1:%d"
			function on_start()
				mqtt.conn(url, "third"):disconnect()
			end
			on("sensors/open", function()
				mqtt.conn(url, "third")
			end)
		]]):format(third.port) }
		g.sensor:publish("sensors/open", "")
		third:wait_connected("gw-third", 1)
	end)

	it("does not use up what the others need", function()
		local g = gateway.start { script = [[
			on("sensors/many", function()
				local why
				for i = 1, 2000 do
					local link, problem = mqtt.conn("mqtt://127.0.0.1:1", "n" .. i, { reconnect = { min = "1h", max = "1h" } })
					why = link and why or problem
				end
				mqtt.link("core"):pub("answer", why)
			end)
		]] }
		g.sensor:publish("sensors/many", "")
		assert.equal("too many links: there can be 64", g.collector:wait_topic("answer").payload)
		g.uplink.cut()
		g.uplink.restore()
		g.core:wait_connected("gw-core", 2)
	end)
end)

describe("subscriptions", function()
	it("are bounded, however many a script wants", function()
		local g = gateway.start { script = [[
			local n = 0
			on("sensors/more", function()
				local made, why = 0, "none"
				for _ = 1, 600 do
					n = n + 1
					local ok, problem = mqtt.sub("fresh/" .. n, { link = "field" })
					made, why = made + (ok and 1 or 0), problem or why
				end
				mqtt.pub("answer", made .. " " .. why)
			end)
			on("sensors/again", function()
				mqtt.pub("again", tostring(mqtt.sub("fresh/1", { link = "field", qos = 0 })))
			end)
		]] }
		for i, expected in ipairs { "600 none", "600 none", "0 too many subscriptions" } do
			g.sensor:publish("sensors/more", "")
			loop.eventually(function()
				local answers = {}
				for _, message in ipairs(g.collector.messages) do
					answers[#answers + 1] = message.topic == "answer" and message.payload or nil
				end
				return answers[i] == expected
			end, expected)
		end
		g.agent:wait_log("link field: too many subscriptions: fresh/%d+ is not made")
		g.sensor:publish("sensors/again", "")
		assert.equal("true", g.collector:wait_topic("again").payload)
	end)
end)

describe("a link of agent.lua", function()
	it("stays off if on_start says so", function()
		local g = gateway.start { idle = true, script = [[
			function on_start()
				mqtt.link("core"):disconnect()
			end
			on("sensors/a", function()
				log.info("a reading came")
			end)
		]] }
		g:start(false)
		g.sensor:publish("sensors/a", "")
		g.agent:wait_log("a reading came")
		assert.equal(0, g.core:connections("gw-core"))
	end)
end)
