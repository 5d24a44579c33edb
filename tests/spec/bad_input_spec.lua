--- What comes from outside is not to be trusted: it gets a clear error, and
-- costs nothing else.
local fake_broker = require "lib.fake_broker"
local gateway = require "lib.gateway"
local loop = require "lib.loop"
local need = require "lib.need"
local packet = require "lib.packet"
local tidegate = require "lib.tidegate"
local uv = require "luv"

describe("odd messages pass unchanged:", function()
	local samples = {
		["with NUL bytes"] = "a\0b\0\0c\0",
		["of zero length"] = "",
		["with every byte"] = (function()
			local bytes = {}
			for i = 0, 255 do
				bytes[i + 1] = string.char(i)
			end
			return table.concat(bytes)
		end)(),
		["of a megabyte"] = ("0123456789abcdef"):rep(65536),
	}
	for name, payload in pairs(samples) do
		it("payloads " .. name, function()
			local g = gateway.start { down = true }
			g.sensor:publish("sensors/odd", payload)
			g:await_taken()
			g.agent:kill()
			g:start()
			g.uplink.restore()
			assert.is_true(g.collector:wait_topic("sensors/odd").payload == payload)
		end)
	end

	it("a topic of 65,535 bytes", function()
		local g = gateway.start()
		local topic = "sensors/" .. ("t"):rep(65535 - 8)
		g.sensor:publish(topic, "long")
		assert.equal("long", g.collector:wait_topic(topic).payload)
	end)

	it("a topic of many letters and signs", function()
		local g = gateway.start()
		local topic = "sensors/ä€😀/ /\u{e000}//$x"
		g.sensor:publish(topic, "odd")
		assert.equal("odd", g.collector:wait_topic(topic).payload)
	end)
end)

-- An agent whose field broker is a fake one, which keeps the session.
local function fake_field()
	local fake = fake_broker.start()
	local agent = tidegate.start {
		config = { links = {
			field = { url = "mqtt://127.0.0.1:" .. fake.port, subscribe = { "#" } },
			core = { url = "mqtt://127.0.0.1:1", default = true },
		} },
		scripts = { ["rules.lua"] = [[
			function on_message(topic, payload)
				log.info("got %s=%s.", topic, payload)
			end
		]] },
	}
	fake:wait_connected(1, "#")
	return fake, agent
end

-- The agent takes messages from a field broker again.
local function assert_alive(fake, agent, connection)
	fake:wait_connected(connection or 2, "#")
	fake:newest():publish { topic = "still", payload = "alive", qos = 1 }
	agent:wait_log("got still=alive")
end

describe("a broker that", function()
	it("closes in the middle of a packet does no harm, and the message comes whole later", function()
		local fake, agent = fake_field()
		local bytes = packet.encode({ type = "publish", topic = "half", payload = ("x"):rep(1000), qos = 1, id = 9 }, 4)
		fake:newest():send_raw(bytes:sub(1, 500))
		fake:newest():close()
		fake:wait_connected(2, "#")
		assert.is_nil(agent:log():find("got half", 1, true))
		fake:newest():send_raw(bytes:sub(1, 3))
		fake:newest():send_raw(bytes:sub(4))
		agent:wait_log("got half=x+%.")
		assert_alive(fake, agent)
	end)

	local function publish_to(topic)
		return packet.encode({ type = "publish", topic = topic, payload = "x", qos = 1, id = 1 }, 4)
	end
	local garbage = {
		["sends garbage"] = ("\xde\xad\xbe\xef"):rep(100),
		["sends zeros"] = ("\0"):rep(100),
		["announces an impossible length"] = "\x30\xff\xff\xff\xff\xff\xff\xff",
		["sends a topic longer than its packet"] = "\x32\x05\x00\xff\x61\x62\x63",
		["sends a wildcard in a topic"] = publish_to("bad/#"),
		["sends an empty topic"] = publish_to(""),
		["sends QoS 3"] = "\x36\x09\x00\x03\x61\x2f\x62\x00\x01\x68\x69",
		["acknowledges what was never sent"] = packet.encode({ type = "puback", id = 4711 }, 4),
		["greets twice"] = packet.encode({ type = "connack", code = 0 }, 4),
	}
	for name, bytes in pairs(garbage) do
		it(name .. " is left or ignored, and the agent goes on", function()
			local fake, agent = fake_field()
			local connection = fake:newest()
			connection:send_raw(bytes)
			-- A broker like that would not go on either.
			loop.run_until(function()
				return connection:closed()
			end, 0.3)
			connection:close()
			assert_alive(fake, agent)
		end)
	end

	for name, topic in pairs { ["invalid UTF-8"] = "bad/\xff\xfe", ["a NUL"] = "bad/\0x" } do
		it("sends " .. name .. " in a topic does not reach the scripts with it", function()
			local fake, agent = fake_field()
			fake:newest():send_raw(publish_to(topic))
			fake:wait_connected(2, "#")
			assert_alive(fake, agent)
			assert.is_nil(agent:log():find("got bad", 1, true))
		end)
	end

	it("answers CONNECT with garbage is tried again", function()
		local fake = fake_broker.start {
			connect = function(conn)
				conn:send_raw("HTTP/1.1 400 Bad Request\r\n\r\n")
				conn:close()
				return false
			end,
		}
		local agent = tidegate.start { config = { links = { core = { url = "mqtt://127.0.0.1:" .. fake.port } } } }
		fake:wait_for("connect", 3)
		fake.connect = nil
		agent:wait_log("link core: connected")
	end)
end)

describe("a script", function()
	local function refuses(text, pattern)
		local agent = tidegate.start {
			config = { links = { core = { url = "mqtt://127.0.0.1:1" } } },
			scripts = { ["good.lua"] = "", ["rules.lua"] = text },
		}
		assert.equal(78, (agent:wait()))
		assert.truthy(agent:log():find(pattern), agent:log())
	end

	it("with a syntax error keeps the agent from starting, and says where", function()
		refuses("local x = 1\nfunction on_message(\n", "rules%.lua:%d: ")
	end)

	it("that fails while it is loaded, too", function()
		refuses("local x = 1\n\nerror('not today')\n", "rules%.lua:3: not today")
	end)

	it("that is bytecode, too", function()
		refuses(string.dump(function() end), "rules%.lua")
	end)

	it("that is not there, too", function()
		local agent = tidegate.start { config = { links = { core = { url = "mqtt://127.0.0.1:1" } },
			scripts = { "nowhere.lua" } } }
		assert.equal(78, (agent:wait()))
		assert.truthy(agent:log():find("nowhere.lua", 1, true), agent:log())
	end)
end)

describe("a database", function()
	local function refuses(path, wrap)
		local agent
		agent = tidegate.new { config = { links = { core = { url = "mqtt://127.0.0.1:1" } }, store = { path = "x" } },
			wrap = wrap }
		path = path:gsub("^DIR", agent.directory)
		agent:configure { links = { core = { url = "mqtt://127.0.0.1:1" } }, store = { path = path } }
		return agent, path
	end

	local function assert_refused(agent, path)
		agent:start()
		local code = agent:wait()
		assert.truthy(code == 1 or code == 78, "status " .. code)
		assert.truthy(agent:log():find(path, 1, true) or agent:log():find(path:match("^(.*)/"), 1, true), agent:log())
		assert.truthy(agent:log():find("^error"), agent:log())
	end

	it("in a directory that does not exist is told", function()
		assert_refused(refuses("DIR/nowhere/queue.db"))
	end)

	it("in a directory that cannot be written is told", function()
		local agent, path = refuses("DIR/locked/queue.db", uv.getuid() == 0 and function(argv)
			return table.move(argv, 1, #argv, 4, { "setpriv", "--reuid=65534", "--clear-groups" })
		end)
		if uv.getuid() == 0 then
			need.program("setpriv")
		end
		assert(uv.fs_mkdir(agent.directory .. "/locked", 365)) -- 0555
		assert(uv.fs_chmod(agent.directory, 493)) -- 0755
		assert_refused(agent, path)
	end)

	it("that is a directory is told", function()
		local agent, path = refuses("DIR/dir")
		assert(uv.fs_mkdir(path, 493))
		assert_refused(agent, path)
	end)
end)
