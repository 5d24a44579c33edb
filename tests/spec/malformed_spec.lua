--- A broker that says what no broker may say. The agent ends the connection by itself, says why, and comes again; what
-- was under way in either direction is not lost. What a client need not refuse does no harm.
local fake_broker = require "lib.fake_broker"
local loop = require "lib.loop"
local packet = require "lib.packet"
local tidegate = require "lib.tidegate"

local numbers = { ["3.1"] = 3, ["3.1.1"] = 4, ["5"] = 5 }

-- Any packet: first byte and what is behind the length.
local function raw(first, body)
	assert(#body < 128)
	return string.char(first, #body) .. body
end

local function publish_to(topic, qos, id, properties, rest)
	return function(version)
		return raw(0x30 | (qos or 0) << 1, string.pack(">s2", topic) .. ((qos or 0) > 0 and string.pack(">I2", id or 9) or "")
			.. (version == 5 and (properties or "\0") or "") .. (rest or "x"))
	end
end

-- What ends the connection in every version. The message under way is of QoS 1 and has the id that is given.
local wrong = {
	["a remaining length of five bytes"] = "\x30\xff\xff\xff\xff\x01",
	["a packet of type 0"] = raw(0x00, ""),
	["PUBLISH of QoS 3"] = raw(0x36, "\0\3a/b\0\9x"),
	["PUBLISH with id 0"] = publish_to("s/x", 1, 0),
	["PUBLISH without a topic"] = publish_to("", 1),
	["PUBLISH shorter than its topic"] = raw(0x32, "\0\x20s/x"),
	["PUBLISH that ends before its id"] = raw(0x32, "\0\3s/x\0"),
	["a topic with a NUL"] = publish_to("s/\0x", 1),
	["a topic with a surrogate"] = publish_to("s/\xed\xa0\x80", 1),
	["a topic with an overlong letter"] = publish_to("s/\xc0\xaf", 1),
	["a topic with a byte of no letter"] = publish_to("s/\xff", 1),
	["a topic that ends inside a letter"] = publish_to("s/\xe6\xb8", 1),
	["a topic with a control character"] = publish_to("s/\1", 1),
	["a topic with a non-character"] = publish_to("s/\xef\xbf\xbf", 1),
	["PUBACK with id 0"] = raw(0x40, "\0\0"),
	["PUBACK without an id"] = raw(0x40, ""),
	["PUBREC for a message of QoS 1"] = function(_, id) return raw(0x50, string.pack(">I2", id)) end,
	["PUBCOMP for a message of QoS 1"] = function(_, id) return raw(0x70, string.pack(">I2", id)) end,
	["PUBREL with id 0"] = raw(0x62, "\0\0"),
	["SUBACK with id 0"] = function(version) return raw(0x90, version == 5 and "\0\0\0\0" or "\0\0\0") end,
	["CONNECT"] = packet.encode({ type = "connect", version = 4 }, 4),
	["SUBSCRIBE"] = raw(0x82, "\0\1\0\1#\0"),
	["a second CONNACK"] = function(version) return packet.encode({ type = "connack" }, version) end,
}

local wrong_before_5 = {
	["DISCONNECT"] = raw(0xe0, ""),
	["AUTH"] = raw(0xf0, ""),
}

local wrong_since_311 = {
	["PUBREL with flags 0"] = raw(0x60, "\0\9"),
}

local wrong_in_5 = {
	["a property of other packets"] = publish_to("s/x", 1, 9, "\3\x21\0\5"),
	["a property twice"] = publish_to("s/x", 1, 9, "\4\1\0\1\0"),
	["properties longer than their packet"] = publish_to("s/x", 1, 9, "\x70\1\0", ""),
	["a property cut off"] = publish_to("s/x", 1, 9, "\2\2\0"),
	["a user property that is not UTF-8"] = publish_to("s/x", 1, 9, "\7\x26\0\1a\0\1\xff"),
	["a topic alias, none having been announced"] = publish_to("", 1, 9, "\3\x23\0\1"),
	["DISCONNECT"] = packet.encode({ type = "disconnect", code = 0x81 }, 5),
}

local function add(list, more)
	for name, bytes in pairs(more) do
		list[#list + 1] = { name = name, bytes = bytes }
	end
end

local function cases(version)
	local list = {}
	add(list, wrong)
	add(list, version < 5 and wrong_before_5 or wrong_in_5)
	add(list, version > 3 and wrong_since_311 or {})
	table.sort(list, function(a, b) return a.name < b.name end)
	return list
end

local function greets(fake)
	return function()
		return { type = "connack", code = 0, session_present = #fake:received("connect") > 1 }
	end
end

-- An agent that answers whatever comes on s/#.
local function start(version, env)
	local fake = fake_broker.start()
	fake.connect = greets(fake)
	local agent = tidegate.start {
		config = { links = { both = { url = "mqtt://127.0.0.1:" .. fake.port, version = version, subscribe = { "s/#" },
			reconnect = { min = "10ms", max = "20ms" } } } },
		scripts = { ["rule.lua"] = [[
			function on_message(_, payload) mqtt.pub("answer", payload) end
		]] },
		env = env,
	}
	fake:wait_connected(1, "s/#")
	return fake, agent
end

local function answers(fake, payload)
	local list = {}
	for _, p in ipairs(fake:received("publish")) do
		if p.payload == payload then
			list[#list + 1] = p
		end
	end
	return list
end

-- Has a message under way that is not acknowledged, sends the bytes, and sees the agent go and come again with it.
local function provoke(fake, case, version, n)
	local connection = fake:newest()
	local payload = "r" .. n
	local silent = true
	fake.publish = function()
		return not silent and nil
	end
	connection:publish { topic = "s/x", payload = payload, qos = 1 }
	loop.eventually(function() return #answers(fake, payload) == 1 end, case.name .. ": the answer")
	local before = #fake:received("connect")
	silent = false
	connection:send_raw(type(case.bytes) == "function" and case.bytes(version, answers(fake, payload)[1].id) or case.bytes)
	loop.eventually(function() return connection:closed() end, case.name .. ": the agent ends the connection")
	fake:wait_for("connect", before + 1)
	loop.eventually(function() return #answers(fake, payload) == 2 end, case.name .. ": the answer again")
	assert.equal(not case.anew, answers(fake, payload)[2].dup, case.name)
	assert.equal(before + 1, #fake:received("connect"), case.name)
end

describe("a broker that breaks the protocol is left, and nothing is lost:", function()
	for _, version in ipairs { "3.1", "3.1.1", "5" } do
		it("MQTT " .. version, function()
			local fake, agent = start(version)
			for n, case in ipairs(cases(numbers[version])) do
				provoke(fake, case, numbers[version], n)
			end
			assert.falsy(agent:log():find("dropped", 1, true))
			assert.truthy(agent:log():find("Malformed UTF-8", 1, true), "the trouble with topics is told")
			assert.truthy(agent:log():find("link both: lost 127%.0%.0%.1:%d+: "))
		end)
	end

	-- libmosquitto 2.0.11 gives up the process over it. What it was reading is then never freed.
	it("MQTT 5, with a property that there is not", function()
		local fake, agent = start("5", { ASAN_OPTIONS = "detect_leaks=0" })
		local unknown = publish_to("s/x", 1, 9, "\2\x7f\0")
		for n = 1, 5 do
			provoke(fake, { name = "time " .. n, bytes = unknown, anew = true }, 5, n)
		end
		agent:wait_log("lost 127%.0%.0%.1:%d+: the broker sends a property that MQTT does not have")
		fake.connect = function(connection)
			connection:send_raw("\x20\5\0\0\2\x7f\0")
			return false
		end
		fake:newest():close()
		fake:wait_for("connect", 9)
		fake.connect = nil
		fake:newest():close()
		agent:wait_log("cannot connect to [^\n]*: the broker sends a property that MQTT does not have")
		agent:wait_log("link both: connected[^\n]*\n[^l]*$")
	end)

	for name, bytes in pairs {
		PUBLISH = publish_to("s/x", 1), PUBACK = raw(0x40, "\0\1"), PUBREC = raw(0x50, "\0\1"), PUBREL = raw(0x62, "\0\1"),
		SUBACK = raw(0x90, "\0\1\0\1"), PINGRESP = raw(0xd0, ""),
	} do
		it(name .. " before CONNACK", function()
			local fake = fake_broker.start()
			local wrong_first = true
			fake.connect = function(connection)
				if wrong_first then
					wrong_first = false
					connection:send_raw(type(bytes) == "function" and bytes(5) or bytes)
					connection:send { type = "connack", code = 0 }
					return false
				end
			end
			tidegate.start { config = { links = { core = { url = "mqtt://127.0.0.1:" .. fake.port, version = "5" } } },
				scripts = { ["rule.lua"] = 'mqtt.pub("t", "precious")' } }
			fake:wait_for("connect", 2)
			assert.equal("precious", fake:wait_for("publish", 1)[1].payload)
			assert.equal(fake:newest(), fake:received("publish")[1].connection)
			assert.is_true(fake.connections[1]:closed())
		end)
	end
end)

describe("a broker that does what it need not", function()
	for _, version in ipairs { "3.1.1", "5" } do
		it("keeps the agent: bytes one at a time, many packets at once, MQTT " .. version, function()
			local fake = start(version)
			local connection = fake:newest()
			local one = publish_to("s/x", 1, 1, nil, "one")(numbers[version])
			for i = 1, #one do
				connection:send_raw(one:sub(i, i))
				loop.turn(0.001)
			end
			connection:send_raw(publish_to("s/x", 1, 2, nil, "two")(numbers[version])
				.. publish_to("s/x", 0, nil, nil, "three")(numbers[version]) .. raw(0xd0, ""))
			loop.eventually(function() return #fake:received("publish") == 3 end, "all are answered")
			assert.same({ "one", "two", "three" }, fake:payloads())
			assert.equal(1, #fake:received("connect"))
		end)
	end

	it("is not left for an AUTH that nobody asked for, nor for a PINGRESP", function()
		local fake = start("5")
		local connection = fake:newest()
		connection:send_raw(raw(0xf0, "\x18\0") .. raw(0xd0, ""))
		connection:publish { topic = "s/x", payload = "after", qos = 1 }
		loop.eventually(function() return #answers(fake, "after") == 1 end, "the answer")
		assert.equal(1, #fake:received("connect"))
	end)
end)
