--- The tests' own tools, against mosquitto alone: if these fail, look here
-- before looking at the agent.
local broker = require "lib.broker"
local cleanup = require "lib.cleanup"
local client = require "lib.client"
local client_rules = require "lib.client_rules"
local fake_broker = require "lib.fake_broker"
local file = require "lib.file"
local gateway = require "lib.gateway"
local loop = require "lib.loop"
local net = require "lib.net"
local packet = require "lib.packet"
local proc = require "lib.proc"
local trace = require "lib.trace"

describe("the tests' tools:", function()
	it("eventually raises the last error when time is up", function()
		local tries = 0
		local ok, err = pcall(loop.eventually, function()
			tries = tries + 1
			error("try " .. tries, 0)
		end, "never", 0.1)
		assert.is_false(ok)
		assert.equal("try " .. tries, err)
	end)

	it("an error in a callback reaches the spec", function()
		local timer = require "luv".new_timer()
		timer:start(1, 0, loop.guard(function()
			error("oops")
		end))
		local ok, err = pcall(loop.eventually, function() end, "never")
		assert.is_false(ok)
		assert.matches("in a callback: .*oops", err)
		timer:close()
	end)

	it("processes end with the spec, and have exit statuses", function()
		local sleeper = proc.spawn { "sleep", "100" }
		local other = proc.spawn { "sh", "-c", "exit 3" }
		assert.equal(3, (other:wait()))
		assert.is_true(sleeper:running())
		cleanup.run()
		assert.is_false(sleeper:running())
		assert.equal(9, sleeper.signal)
	end)

	for _, version in ipairs { 3, 4, 5 } do
		it("client and mosquitto speak MQTT version " .. version, function()
			local server = broker.start()
			local collector = server:client { version = version, client_id = "c", clean = false,
				properties = { session_expiry = 60 } }
			collector:subscribe("a/#", 2)
			local sensor = server:client { version = version }
			for qos = 0, 2 do
				sensor:publish("a/" .. qos, "x\0y" .. qos, { qos = qos })
			end
			collector:wait_for(3)
			assert.same({ "x\0y0", "x\0y1", "x\0y2" }, collector:payloads())
			assert.equal(2, collector.messages[3].qos)
			collector:close()
			sensor:publish("a/later", "z")
			collector:reconnect()
			assert.equal(version > 3, collector.connack.session_present)
			assert.equal("z", collector:wait_topic("a/later").payload)
		end)
	end

	it("mosquitto keeps a session over a restart with persistence", function()
		local server = broker.start { persistence = true }
		local collector = server:client { client_id = "keeper", clean = false }
		collector:subscribe("#", 1)
		collector:close()
		server:client():publish("t", "kept")
		server:stop()
		server:start()
		collector:reconnect()
		assert.equal("kept", collector:wait_topic("t").payload)
	end)

	it("packets survive encoding and decoding", function()
		local samples = {
			{ type = "connect", version = 5, client_id = "id", clean = true, keepalive = 7, username = "u", password = "p",
				will = { topic = "w", payload = "gone", qos = 1, retain = true, properties = { will_delay = 3 } },
				properties = { session_expiry = 9, receive_maximum = 5 } },
			{ type = "connack", session_present = true, code = 0, properties = { maximum_packet_size = 100, maximum_qos = 1 } },
			{ type = "publish", topic = "t", payload = ("p"):rep(300), qos = 2, retain = true, dup = true, id = 77,
				properties = { user_property = { { "a", "1" }, { "a", "2" } }, message_expiry = 5 } },
			{ type = "puback", id = 3, code = 0x97, properties = { reason = "quota" } },
			{ type = "subscribe", id = 4, properties = {}, filters = { { filter = "f/+", qos = 1, no_local = true,
				retain_as_published = false, retain_handling = 2 } } },
			{ type = "suback", id = 4, codes = { 1, 0x80 }, properties = {} },
			{ type = "unsubscribe", id = 5, filters = { "f" }, properties = {} },
			{ type = "disconnect", code = 0x8b, properties = { reason = "bye" } },
		}
		local options = { version = 5 }
		local feed = packet.decoder(options)
		for _, sample in ipairs(samples) do
			local bytes = packet.encode(sample, 5)
			assert.same({}, feed(bytes:sub(1, 3)))
			local back = feed(bytes:sub(4))[1]
			for key, value in pairs(sample) do
				assert.same(value, back[key], sample.type .. "." .. key)
			end
		end
	end)

	it("a free port is given to nobody else, although nothing listens there", function()
		local port = net.free_port()
		local other = proc.output(("lua5.4 -e 'package.path = \"tests/?.lua;\" .. package.path " ..
			"print(require(\"lib.net\").free_port(%d)) require(\"lib.loop\").close()'"):format(port - 1))
		assert.not_equal(port, tonumber(other))
		assert(tonumber(other) > 0)
	end)

	it("the proxy cuts, stalls, and breaks in the middle", function()
		local server = broker.start()
		local proxy = net.proxy(server.port)
		local sensor = client.connect(proxy.port)
		sensor:publish("t", "1")
		proxy.stall()
		sensor:post("t", "2")
		loop.consistently(function()
			return not sensor.answers[2]
		end, "nothing passes", 0.1)
		proxy.restore()
		loop.eventually(function()
			return sensor.answers[2]
		end, "the rest passes")
		proxy.cut()
		loop.eventually(function()
			return sensor.closed
		end, "the client notices")
		assert.has_error(function()
			sensor:reconnect()
		end)
		proxy.restore()
		sensor:reconnect()
		proxy.cut_after(10)
		sensor:post("t", ("x"):rep(100))
		loop.eventually(function()
			return sensor.closed
		end, "cut in the middle")
	end)

	it("mosquitto checks passwords and certificates", function()
		local certificates = require "lib.certs".get()
		local server = broker.start { users = { joe = "secret" }, tls = { ca = certificates.ca,
			cert = certificates.server.cert, key = certificates.server.key, require_certificate = true } }
		assert.has_error(function()
			server:client()
		end)
		server:client { username = "joe", password = "secret" }
		local command = "mosquitto_pub -h localhost -p %d -u joe -P secret -t t -m x --cafile %s --cert %s --key %s"
		proc.output(command:format(server.tls_port, certificates.ca, certificates.client.cert, certificates.client.key))
		assert.has_error(function()
			proc.output(command:format(server.tls_port, certificates.other_ca, certificates.client.cert,
				certificates.client.key))
		end)
	end)

	it("the SOCKS5 server connects", function()
		local server = broker.start()
		local proxy = net.socks5 { username = "u", password = "p" }
		local publisher = proc.spawn { "mosquitto_pub", "-h", "localhost", "-p", tostring(server.port), "-t", "t",
			"-m", "x", "--proxy", "socks5h://u:p@127.0.0.1:" .. proxy.port }
		assert.equal(0, (publisher:wait()))
		assert.same({ { host = "localhost", port = server.port, username = "u", password = "p" } }, proxy.requests)
	end)

	it("the fake broker answers as told", function()
		local fake = fake_broker.start {
			connect = function()
				return { type = "connack", code = 0, session_present = true, properties = { receive_maximum = 3 } }
			end,
			publish = function(_, p)
				return p.payload == "no" and 0x87 or p.payload == "silent" and false or nil
			end,
		}
		local sensor = client.connect(fake.port, { version = 5 })
		assert.is_true(sensor.connack.session_present)
		assert.equal(3, sensor.connack.properties.receive_maximum)
		assert.equal(0x87, sensor:publish("t", "no").code)
		assert.equal(0, sensor:publish("t", "yes").code)
		sensor:subscribe("f", 1)
		fake:newest():publish { topic = "f", payload = "hello", qos = 1 }
		sensor:wait_for(1)
		fake:wait_for("puback", 1)
		fake:newest():send { type = "disconnect", code = 0x8b }
		fake:newest():close()
		loop.eventually(function()
			return sensor.closed and sensor.disconnected.code == 0x8b
		end, "DISCONNECT arrives")
	end)

	-- What a client does and a broker answers; the last of the client's packets is the one that is wrong.
	local function exchange(version, steps)
		local rules, options = client_rules.new(), { version = version }
		local feed = packet.decoder(options, function(p, flags, body) rules:received(p, flags, body, version) end)
		for _, step in ipairs(steps) do
			if type(step) == "string" then
				feed(step)
			elseif step.from_broker then
				rules:sent(step)
			else
				feed(packet.encode(step, version))
			end
		end
	end
	local function hello(more)
		local p = { type = "connect", version = 5, client_id = "c" }
		for key, value in pairs(more or {}) do
			p[key] = value
		end
		return p
	end
	local function publish(id, more)
		local p = { type = "publish", topic = "t", qos = 1, id = id }
		for key, value in pairs(more or {}) do
			p[key] = value
		end
		return p
	end
	local function broker_says(kind, id, more)
		local p = { from_broker = true, type = kind, id = id }
		for key, value in pairs(more or {}) do
			p[key] = value
		end
		return p
	end

	it("the rules for clients let pass what is right", function()
		exchange(5, { hello { will = { topic = "w", payload = "x", qos = 2, retain = true } },
			broker_says("connack", nil, { properties = { receive_maximum = 2 } }),
			{ type = "subscribe", id = 1, filters = { { filter = "#", qos = 2, no_local = true } } },
			publish(2), publish(3, { qos = 2 }), broker_says("suback", 1), broker_says("puback", 2), publish(1),
			broker_says("pubrec", 3), { type = "pubrel", id = 3 }, broker_says("pubcomp", 3), publish(3, { dup = true }),
			{ type = "pubrel", id = 70 }, broker_says("pubcomp", 70), broker_says("puback", 3),
			publish(4, { qos = 2 }), broker_says("pubrec", 4, { code = 0x87 }), publish(4),
			broker_says("publish", 9, { qos = 1 }), broker_says("publish", 8, { qos = 2 }), { type = "pubrec", id = 8 },
			{ type = "puback", id = 9 }, broker_says("pubrel", 8), { type = "pubcomp", id = 8 }, { type = "pingreq" },
			{ type = "disconnect" } })
	end)

	local filter = { filter = "f", qos = 1 }
	local wrong = {
		["protocol name"] = { 5, "\x10\x0e\0\4MQIs\5\2\0\0\0\0\1c" },
		["reserved flag of CONNECT"] = { 5, "\x10\x0e\0\4MQTT\5\3\0\0\0\0\1c" },
		["a will of QoS 3"] = { 5, hello { will = { topic = "w", qos = 3 } } },
		["flags of a will"] = { 5, "\x10\x0e\0\4MQTT\5\x22\0\0\0\0\1c" },
		["a password without"] = { 4, hello { version = 4, password = "p" } },
		["client id is not UTF%-8"] = { 5, hello { client_id = "\xff" } },
		["topic of the will is empty"] = { 5, hello { will = { topic = "w/#" } } },
		["CONNECT comes first, and once; this is publish"] = { 5, publish(1) },
		["CONNECT comes first, and once; this is connect"] = { 5, hello(), hello() },
		["after DISCONNECT"] = { 5, hello(), { type = "disconnect" }, { type = "pingreq" } },
		["suback comes from brokers"] = { 5, hello(), { type = "suback", id = 1, codes = { 0 } } },
		["pubrel with flags 0"] = { 5, hello(), "\x60\2\0\1" },
		["with id 0"] = { 5, hello(), publish(0) },
		["PUBLISH with QoS 3"] = { 5, hello(), publish(1, { qos = 3 }) },
		["QoS 0 and DUP"] = { 5, hello(), publish(nil, { qos = 0, dup = true }) },
		["topic is empty or has a wildcard"] = { 5, hello(), publish(1, { topic = "a/+" }) },
		["topic is not UTF%-8 or holds a NUL"] = { 5, hello(), publish(1, { topic = "a\0" }) },
		["response_topic is empty"] = { 5, hello(), publish(1, { properties = { response_topic = "#" } }) },
		["user_property is not UTF%-8"] = { 5, hello(), publish(1, { properties = { user_property =
			{ { "a", "\xff" } } } }) },
		["content_type is not UTF%-8"] = { 5, hello(), publish(1, { properties = { content_type = "\xed\xa0\x80" } }) },
		["SUBSCRIBE without"] = { 5, hello(), { type = "subscribe", id = 1, filters = {} } },
		["UNSUBSCRIBE without"] = { 5, hello(), { type = "unsubscribe", id = 1, filters = {} } },
		["SUBSCRIBE with option 3"] = { 5, hello(), { type = "subscribe", id = 1, filters = { { filter = "f", qos = 3 } } } },
		["options before MQTT 5"] = { 4, hello { version = 4 }, { type = "subscribe", id = 1,
			filters = { { filter = "f", qos = 1, no_local = true } } } },
		["shared subscription with no_local"] = { 5, hello(), { type = "subscribe", id = 1,
			filters = { { filter = "$share/g/f", qos = 1, no_local = true } } } },
		["reserved bits of a subscription"] = { 5, hello(), "\x82\7\0\1\0\0\1f\x41" },
		["a length has a byte too many"] = { 5, hello(), "\xc0\x80\0" },
		["publish with id 1, which is under way"] = { 5, hello(), publish(1, { qos = 2 }),
			publish(1, { qos = 2, dup = true }) },
		["subscribe with id 1, which is under way"] = { 5, hello(), publish(1), { type = "subscribe", id = 1,
			filters = { filter } } },
		["more than 1 messages under way"] = { 5, hello(), broker_says("connack", nil, { properties =
			{ receive_maximum = 1 } }), publish(1), publish(2, { qos = 2 }) },
		["PUBREL with id 1, whose message"] = { 5, hello(), publish(1), { type = "pubrel", id = 1 } },
		["pubrel with id 1, expected none"] = { 5, hello(), publish(1, { qos = 2 }), { type = "pubrel", id = 1 } },
		["pubrel with id 1, expected 2"] = { 5, hello(), publish(1, { qos = 2 }), publish(2, { qos = 2 }),
			broker_says("pubrec", 2), broker_says("pubrec", 1), { type = "pubrel", id = 1 } },
		["puback with id 2, expected 1"] = { 5, hello(), broker_says("publish", 1, { qos = 1 }),
			broker_says("publish", 2, { qos = 1 }), { type = "puback", id = 2 } },
		["puback with id 1, expected none"] = { 5, hello(), broker_says("publish", 1, { qos = 2 }),
			{ type = "puback", id = 1 } },
		["pubcomp with id 1, expected none"] = { 5, hello(), { type = "pubcomp", id = 1 } },
	}
	it("the rules for clients find what is wrong", function()
		for text, steps in pairs(wrong) do
			local last = table.remove(steps)
			local version = table.remove(steps, 1)
			exchange(version, steps)
			table.insert(steps, last)
			local ok, problem = pcall(exchange, version, steps)
			assert.is_false(ok, text)
			assert.truthy(problem:find(text), text .. ": " .. problem)
		end
	end)

	it("a trace tells writes and syncs in order", function()
		require "lib.need".program("strace")
		local directory = file.directory()
		local script = file.write(directory .. "/x.sh", "printf 'abc' >out; sync -d out; printf def >out\n")
		local process = proc.spawn(trace.command(directory .. "/trace", { "sh", script }), { cwd = directory })
		assert.equal(0, (process:wait()))
		local seen = {}
		for _, call in ipairs(trace.calls(directory .. "/trace")) do
			if call.on:find("/out$") then
				seen[#seen + 1] = call.name .. " " .. call.data
			end
		end
		assert.same({ "write abc", "fdatasync ", "write def" }, seen)
	end)

	it("order is checked", function()
		assert.equal(1, gateway.assert_in_order { 1, 2, 3, 2, 4 })
		assert.has_error(function()
			gateway.assert_in_order { 1, 3, 2 }
		end)
	end)
end)
