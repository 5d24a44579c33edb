--- MQTT 3.1, 3.1.1 and 5 towards real brokers: qualities of service, retained
-- messages, wills, sessions, users, and what version 5 adds.
local broker = require "lib.broker"
local fake_broker = require "lib.fake_broker"
local gateway = require "lib.gateway"
local loop = require "lib.loop"
local tidegate = require "lib.tidegate"

local versions = { { "3.1", 3 }, { "3.1.1", 4 }, { "5", 5 } }

local same_again = [[
function on_message(topic, payload, msg)
	mqtt.pub(topic, payload, { qos = msg.qos, retain = msg.retain, properties = msg.properties })
end
]]

for _, pair in ipairs(versions) do
	local version, number = pair[1], pair[2]
	describe("MQTT " .. version .. ":", function()
		it("says so on the wire, with the configured client id and keepalive", function()
			local fake = fake_broker.start()
			tidegate.start { config = { links = { core = { url = "mqtt://127.0.0.1:" .. fake.port, version = version,
				keepalive = "20s" } } } }
			local connect = fake:wait_connected().connect
			assert.equal(number, connect.version)
			assert.equal(number == 3 and "MQIsdp" or "MQTT", connect.protocol)
			assert.equal("gw-core", connect.client_id)
			assert.equal(20, connect.keepalive)
			assert.is_false(connect.clean)
		end)

		it("carries QoS 0, 1 and 2", function()
			local g = gateway.start {
				script = same_again,
				field = { version = version, subscribe = { { "sensors/#", qos = 2 } } },
				core = { version = version },
				collector = { client_id = "other" },
			}
			g.collector:subscribe("#", 2)
			for qos = 0, 2 do
				g.sensor:publish("sensors/" .. qos, "with " .. qos, { qos = qos })
			end
			for qos = 0, 2 do
				local message = g.collector:wait_topic("sensors/" .. qos)
				assert.equal("with " .. qos, message.payload)
				assert.equal(qos, message.qos)
			end
		end)

		it("reads and writes retained messages", function()
			local g = gateway.start { script = same_again, idle = true, field = { version = version },
				core = { version = version } }
			g.sensor:publish("sensors/kept", "old", { retain = true })
			g:start(true)
			g.collector:wait_topic("sensors/kept")
			local late = g.core:client()
			late:subscribe("sensors/kept", 1)
			assert.is_true(late:wait_topic("sensors/kept").retain)
		end)

		it("keeps its session: what comes while the agent is away arrives later", function()
			local g = gateway.start { field = { version = version }, core = { version = version } }
			g:publish_readings(1, 10)
			g:wait_readings(10)
			g.agent:stop()
			g:publish_readings(11, 30)
			g:start(true)
			assert.equal(0, gateway.assert_in_order(g:wait_readings(30)))
		end)

		it("leaves a will behind when it dies, and none when it stops", function()
			local g = gateway.start {
				core = { version = version, will = { topic = "status", payload = "gone", qos = 1, retain = true },
					birth = { topic = "status", payload = "here", qos = 1, retain = true } },
			}
			g.collector:wait_for(1)
			g.agent:stop()
			g:start(true)
			g.collector:wait_for(2)
			g.agent:kill()
			g.collector:wait_for(3)
			g:start(true)
			g.collector:wait_for(4)
			assert.same({ "here", "here", "gone", "here" }, g.collector:payloads("^status$"))
			local late = g.core:client()
			late:subscribe("status", 1)
			assert.equal("here", late:wait_topic("status").payload)
			assert.is_true(late.messages[1].retain)
		end)

		it("logs in with user name and password", function()
			local g = gateway.start {
				core_broker = { users = { joe = "secret", spy = "x" } },
				collector = { client_id = "collector", clean = false, username = "spy", password = "x" },
				core = { version = version, username = "joe", password = "secret" },
			}
			g:publish_readings(1, 3)
			g:wait_readings(3)
		end)

		it("a wrong password is told, and tried again", function()
			local g = gateway.start {
				core_broker = { users = { joe = "secret", spy = "x" } },
				collector = { client_id = "collector", clean = false, username = "spy", password = "x" },
				core = { version = version, username = "joe", password = "wrong" },
				down = true,
			}
			g.uplink.restore()
			g.agent:wait_log("link core: [^\n]*[Nn]ot authori[sz]ed")
			loop.eventually(function()
				return g.core:occurrences("not authorised") >= 2
			end, "a second attempt")
			g:publish_readings(1, 3)
			g.agent:stop()
			g.config.links.core.password = "secret"
			g.agent:configure(g.config)
			g:start(true)
			g:wait_readings(3)
		end)
	end)
end

describe("subscriptions:", function()
	it("share a group with others", function()
		local g = gateway.start { field = { subscribe = { "$share/group/sensors/#" } }, idle = true }
		g:start(true)
		g:publish_readings(1, 20)
		g:wait_readings(20)
	end)

	it("with wildcards take what matches and nothing else", function()
		local g = gateway.start { field = { subscribe = { "sensors/+/temp", "alarms/#" } }, idle = true }
		g:start(true)
		for _, topic in ipairs { "sensors/a/temp", "sensors/a/wind", "sensors/temp", "alarms", "alarms/x/y" } do
			g.sensor:publish(topic, topic)
		end
		g.collector:wait_topic("alarms/x/y")
		assert.same({ "sensors/a/temp", "alarms", "alarms/x/y" }, g.collector:payloads())
	end)

	it("that left agent.lua are given back to the broker's session", function()
		local g = gateway.start { field = { subscribe = { "sensors/#", "old/#" } } }
		g.sensor:publish("old/x", "first")
		g.collector:wait_topic("old/x")
		g.agent:stop()
		g.config.links.field.subscribe = { "sensors/#", "new/#" }
		g.agent:configure(g.config)
		g:start(true)
		loop.eventually(function()
			return g.field:occurrences("gw-field old/#") > 0
		end, "old/# is unsubscribed")
		g.sensor:publish("old/x", "no")
		g.sensor:publish("new/x", "yes")
		g.collector:wait_topic("new/x")
		assert.same({ "first", "yes" }, g.collector:payloads())
	end)

	it("that a broker refuses are told", function()
		local fake = fake_broker.start {
			subscribe = function(_, p)
				return { type = "suback", id = p.id, codes = { 0x80 } }
			end,
		}
		local agent = tidegate.start { config = { links = { field = { url = "mqtt://127.0.0.1:" .. fake.port,
			subscribe = { "forbidden/#" } } } } }
		agent:wait_log("error link field: [^\n]*forbidden/#")
	end)

	it("of version 5 have no_local, retain_as_published and retain_handling", function()
		local server = broker.start()
		local watcher = server:client()
		watcher:subscribe("heard/#", 1)
		watcher:publish("kept/0", "x", { retain = true })
		watcher:publish("skipped/0", "x", { retain = true })
		tidegate.start {
			config = { links = { both = { url = "mqtt://127.0.0.1:" .. server.port, version = "5", default = true,
				subscribe = {
					{ "quiet/#", no_local = true }, { "loud/#" }, { "kept/#", retain_as_published = true },
					{ "skipped/#", retain_handling = 2 },
				} } } },
			scripts = { ["rules.lua"] = [[
				function on_message(topic, payload, msg)
					if payload == "go" then
						mqtt.pub("quiet/echo", "echo")
						mqtt.pub("loud/echo", "echo")
					end
					mqtt.pub("heard/" .. topic, tostring(msg.retain))
				end
			]] },
		}
		server:wait_subscribed("gw-both", "skipped/#")
		watcher:publish("kept/1", "x", { retain = true })
		watcher:publish("loud/start", "go")
		watcher:wait_topic("heard/loud/echo")
		watcher:publish("loud/end", "x")
		watcher:wait_topic("heard/loud/end")
		local heard = {}
		for _, message in ipairs(watcher.messages) do
			heard[message.topic] = message.payload
		end
		assert.same({
			["heard/kept/0"] = "true", ["heard/kept/1"] = "true", ["heard/loud/start"] = "false",
			["heard/loud/echo"] = "false", ["heard/loud/end"] = "false",
		}, heard)
	end)
end)

describe("MQTT 5 adds:", function()
	local function connect_of(keys)
		local fake = fake_broker.start()
		keys.url, keys.version = "mqtt://127.0.0.1:" .. fake.port, "5"
		tidegate.start { config = { links = { core = keys } } }
		return fake:wait_connected().connect
	end

	it("a session that never expires by default", function()
		assert.equal(0xffffffff, connect_of({}).properties.session_expiry)
	end)

	it("session_expiry and receive_maximum", function()
		local properties = connect_of({ session_expiry = "1h", receive_maximum = 7 }).properties
		assert.equal(3600, properties.session_expiry)
		assert.equal(7, properties.receive_maximum)
	end)

	it("properties, in and out", function()
		local g = gateway.start { script = same_again, field = { version = "5" }, core = { version = "5" },
			sensor = { version = 5 }, collector = { version = 5 } }
		local properties = {
			content_type = "text/csv", response_topic = "answers", correlation = "\0\1\2", payload_format = 1,
			user_property = { { "site", "north" }, { "line", "4" }, { "site", "again" } },
		}
		g.sensor:publish("sensors/a", "1,2", { properties = properties })
		assert.same(properties, g.collector:wait_topic("sensors/a").properties)
	end)

	it("properties that survive kill -9", function()
		local g = gateway.start { script = same_again, field = { version = "5" }, core = { version = "5" },
			sensor = { version = 5 }, collector = { version = 5 }, down = true }
		g.sensor:publish("sensors/a", "x", { properties = { user_property = { { "a", "b" } } } })
		g:await_taken()
		g.agent:kill()
		g:start()
		g.uplink.restore()
		assert.same({ user_property = { { "a", "b" } } }, g.collector:wait_topic("sensors/a").properties)
	end)
end)
