--- What the standard asks of a client, packet by packet, where no other spec does: acknowledgements and redelivery in
-- order, DUP, what a broker may add to a message, and topics at the edges. docs/interop.md says where the rest is.
local fake_broker = require "lib.fake_broker"
local loop = require "lib.loop"
local tidegate = require "lib.tidegate"

local quick = { min = "10ms", max = "50ms" }

local function link(fake, version, more)
	local keys = { url = "mqtt://127.0.0.1:" .. fake.port, version = version, reconnect = quick }
	for key, value in pairs(more or {}) do
		keys[key] = value
	end
	return keys
end

-- An agent that logs what it receives.
local function listener(fake, version, filters)
	return tidegate.start {
		config = { links = { field = link(fake, version, { subscribe = filters or { "s/#" } }) } },
		scripts = { ["rule.lua"] = [[
			function on_message(topic, payload) log.info("got %s=%s.", topic, payload) end
		]] },
	}
end

-- An agent that publishes.
local function publisher(fake, version, script, more)
	return tidegate.start { config = { links = { core = link(fake, version, more) } },
		scripts = { ["rule.lua"] = script } }
end

local function known()
	return { type = "connack", code = 0, session_present = true }
end

local function ids_of(packets)
	local list = {}
	for i, p in ipairs(packets) do
		list[i] = p.id
	end
	return list
end

-- A broker's answer to CONNECT: it has the session, and messages of QoS 2 in it that it got PUBREC for.
local function resumes_with(...)
	local ids = { ... }
	return function(connection)
		connection:send { type = "connack", code = 0, session_present = true }
		for _, id in ipairs(ids) do
			connection:send { type = "pubrel", id = id }
		end
		return false
	end
end

local function handled(agent)
	local list = {}
	for payload in agent:log():gmatch("got s/x=(%w+)%.") do
		list[#list + 1] = payload
	end
	return list
end

for _, version in ipairs { "3.1", "3.1.1", "5" } do
	describe("conformance, MQTT " .. version .. ":", function()
		it("sends again in order, with the same ids and DUP, what was not acknowledged", function()
			local fake = fake_broker.start { publish = function() return false end }
			tidegate.start { config = { links = { core = link(fake, version) } }, scripts = { ["rule.lua"] = [[
				for i = 1, 5 do mqtt.pub("t", tostring(i)) end
			]] } }
			local first = { table.unpack(fake:wait_for("publish", 5), 1, 5) }
			fake.connect = function() return { type = "connack", code = 0, session_present = true } end
			fake:newest():close()
			local all = fake:wait_for("publish", 10)
			for i, p in ipairs(first) do
				assert.is_false(p.dup)
				assert.is_true(all[5 + i].dup)
				assert.equal(p.id, all[5 + i].id)
				assert.equal(tostring(i), all[5 + i].payload)
			end
		end)

		it("acknowledges in the order in which messages came", function()
			local fake = fake_broker.start()
			listener(fake, version)
			local connection = fake:wait_connected(1, "s/#")
			local ids = { 7, 3, 65535, 1, 12 }
			for _, id in ipairs(ids) do
				connection:publish { topic = "s/x", payload = "x", qos = 1, id = id }
			end
			local seen = {}
			for i, p in ipairs(fake:wait_for("puback", #ids)) do
				seen[i] = p.id
			end
			assert.same(ids, seen)
		end)

		it("handles a message once for each copy that overlapping subscriptions bring", function()
			local fake = fake_broker.start()
			local agent = listener(fake, version, { "s/#", "s/+" })
			local connection = fake:wait_connected()
			fake:wait_for("subscribe", 2)
			connection:publish { topic = "s/x", payload = "twice", qos = 1 }
			connection:publish { topic = "s/x", payload = "twice", qos = 1 }
			fake:wait_for("puback", 2)
			loop.eventually(function()
				return select(2, agent:log():gsub("got s/x=twice%.", "")) == 2
			end, "both copies handled")
		end)

		it("takes topics with empty levels, blanks and letters of any script, and empty payloads", function()
			local fake = fake_broker.start()
			local agent = listener(fake, version)
			local connection = fake:wait_connected(1, "s/#")
			for _, topic in ipairs { "s//", "s/a b", "s/Ünïcödé/温度", "s/" .. ("x"):rep(1000) } do
				connection:publish { topic = topic, payload = "", qos = 1 }
				loop.eventually(function() return agent:log():find("got " .. topic .. "=.", 1, true) end, topic)
			end
		end)

		it("takes up each exchange where it was, in order: PUBLISH again before PUBREC, after it PUBREL", function()
			local fake = fake_broker.start { publish = function() return false end, pubrel = function() return false end }
			publisher(fake, version, [[for i = 1, 6 do mqtt.pub("t", tostring(i), { qos = i % 2 + 1 }) end]])
			local ids = ids_of(fake:wait_for("publish", 6))
			local first = fake:newest()
			first:send { type = "pubrec", id = ids[3] } -- later than 1, but acknowledgements come in any order
			first:send { type = "pubrec", id = ids[1] }
			assert.same({ ids[3], ids[1] }, ids_of(fake:wait_for("pubrel", 2)))
			fake.connect = known
			first:close()
			fake:wait_for("connect", 2)
			loop.eventually(function() return #fake:newest().packets >= 7 end, "all of it comes again")
			local seen = {}
			for i = 2, 7 do
				local p = fake:newest().packets[i]
				seen[i - 1] = ("%s %d%s"):format(p.type, p.id, p.dup and " dup" or "")
			end
			local function again(i)
				return ("publish %d dup"):format(ids[i])
			end
			assert.same({ "pubrel " .. ids[1], again(2), "pubrel " .. ids[3], again(4), again(5), again(6) }, seen)
		end)

		it("sends nothing again while the connection lasts, and has each packet id once", function()
			local fake = fake_broker.start { publish = function() return false end, subscribe = function() return false end }
			publisher(fake, version, [[
				for i = 1, 10 do mqtt.pub("t", tostring(i), { qos = i % 2 + 1 }) end
				function on_connect() for i = 1, 10 do mqtt.sub("s/" .. i) end end
			]])
			fake:wait_for("publish", 10)
			fake:wait_for("subscribe", 10)
			loop.consistently(function() return #fake.packets == 21 end, "nothing comes again", 1)
			local seen = {}
			for i = 2, 21 do
				assert.is_nil(seen[fake.packets[i].id])
				assert.is_falsy(fake.packets[i].dup)
				seen[fake.packets[i].id] = true
			end
		end)

		it("answers each step of QoS 2 in the order of arrival, and handles a message when it is released", function()
			local fake = fake_broker.start { pubrec = function() return false end }
			local agent = listener(fake, version, { { "s/#", qos = 2 } })
			local connection = fake:wait_connected(1, "s/#")
			local ids = { 9, 2, 65535, 4 }
			for i, id in ipairs(ids) do
				connection:publish { topic = "s/x", payload = tostring(i), qos = 2, id = id }
			end
			assert.same(ids, ids_of(fake:wait_for("pubrec", 4)))
			assert.falsy(agent:log():find("got ", 1, true))
			for _, id in ipairs(ids) do
				connection:send { type = "pubrel", id = id }
			end
			assert.same(ids, ids_of(fake:wait_for("pubcomp", 4)))
			local got = {}
			for payload in agent:log():gmatch("got s/x=(%d)") do
				got[#got + 1] = payload
			end
			assert.same({ "1", "2", "3", "4" }, got)
		end)

		it("tells how many messages of QoS 2 were half way when it stopped", function()
			local fake = fake_broker.start { pubrec = function() return false end }
			local agent = listener(fake, version, { { "s/#", qos = 2 } })
			for id = 1, 3 do
				fake:wait_connected(1, "s/#"):publish { topic = "s/x", payload = "x", qos = 2, id = id }
			end
			fake:wait_for("pubrec", 3)
			fake:newest():send { type = "pubrel", id = 1 }
			fake:wait_for("pubcomp", 1)
			agent:stop()
			assert.truthy(agent:log():find("link field: messages of QoS 2 that were half way may be lost: 2\n", 1, true))
		end)

		it("says CONNECT first, DISCONNECT last, and then closes", function()
			local fake = fake_broker.start()
			local agent = listener(fake, version)
			local connection = fake:wait_connected(1, "s/#")
			connection:publish { topic = "s/x", payload = "x", qos = 1 }
			fake:wait_for("puback", 1)
			agent:stop()
			loop.eventually(function() return connection:closed() end, "the connection is closed")
			assert.equal("connect", connection.packets[1].type)
			local last = connection.packets[#connection.packets]
			assert.equal("disconnect", last.type)
			assert.equal(0, last.code)
			assert.same({}, last.properties)
		end)

		it("publishes and subscribes up to the longest topic there is, and messages without a payload", function()
			local fake = fake_broker.start()
			local longest = ("t"):rep(65535)
			publisher(fake, version, [[
				local longest = ("t"):rep(65535)
				mqtt.pub(longest, "", { retain = true })
				mqtt.sub(longest)
				local ok, problem = pcall(mqtt.pub, longest .. "t", "x")
				log.info("one more: %s", problem)
			]]):wait_log("one more: [^\n]*is longer than 65535 bytes")
			local p = fake:wait_for("publish", 1)[1]
			assert.is_true(p.topic == longest)
			assert.equal("", p.payload)
			assert.is_true(p.retain)
			assert.is_true(fake:wait_for("subscribe", 1)[1].filters[1].filter == longest)
		end)

		-- As brokers do that do not wait for acknowledgements for ever, before MQTT 5.
		it("handles a message of QoS 2 once that comes twice on a connection, and then the next with its id", function()
			local fake = fake_broker.start { pubrec = function() return false end }
			local agent = listener(fake, version, { { "s/#", qos = 2 } })
			local connection = fake:wait_connected(1, "s/#")
			connection:publish { topic = "s/x", payload = "first", qos = 2, id = 5 }
			connection:publish { topic = "s/x", payload = "first", qos = 2, id = 5, dup = true }
			fake:wait_for("pubrec", 2)
			fake.connect = function(again)
				again:send { type = "connack", code = 0, session_present = true }
				again:send { type = "pubrel", id = 5 }
				return false
			end
			connection:send { type = "pubrel", id = 5 }
			fake:wait_for("pubcomp", 1)
			fake:newest():publish { topic = "s/x", payload = "second", qos = 2, id = 5 }
			fake:wait_for("pubrec", 3)
			fake:newest():send { type = "pubrel", id = 5 }
			agent:wait_log("got s/x=second%.")
			assert.equal(1, select(2, agent:log():gsub("got s/x=first%.", "")))
		end)

		it("loses none that are half way when one of them is repeated on a resumed connection", function()
			local fake = fake_broker.start { pubrec = function() return false end }
			local agent = listener(fake, version, { { "s/#", qos = 2 } })
			fake:wait_connected(1, "s/#"):publish { topic = "s/x", payload = "one", qos = 2, id = 1 }
			fake:wait_for("pubrec", 1)
			fake.connect = resumes_with(1)
			fake:newest():close()
			fake:wait_for("pubcomp", 1)
			fake:newest():publish { topic = "s/x", payload = "two", qos = 2, id = 2 }
			fake:newest():publish { topic = "s/x", payload = "three", qos = 2, id = 3 }
			fake:wait_for("pubrec", 3)
			fake.connect = resumes_with(2, 3)
			fake:newest():publish { topic = "s/x", payload = "three", qos = 2, id = 3, dup = true }
			loop.eventually(function() return #fake:received("pubrec") == 4 or #fake:received("connect") == 3 end, "an answer")
			fake:newest():send { type = "pubrel", id = 2 }
			fake:newest():send { type = "pubrel", id = 3 }
			agent:wait_log("got s/x=three%.")
			assert.same({ "one", "two", "three" }, handled(agent))
		end)

		-- mosquitto before 2.0.13 sends without end, and counts ids round.
		it("handles all messages of QoS 2 where so many are on their way that ids are used twice", function()
			local fake = fake_broker.start { pubrec = function() return false end }
			local agent = listener(fake, version, { { "s/#", qos = 2 } })
			local connection = fake:wait_connected(1, "s/#")
			for _, payload in ipairs { "one", "two", "three" } do
				connection:publish { topic = "s/x", payload = payload, qos = 2, id = 1 }
			end
			fake:wait_for("pubrec", 3)
			for _ = 1, 3 do
				connection:send { type = "pubrel", id = 1 }
			end
			agent:wait_log("got s/x=three%.")
			assert.same({ "one", "two", "three" }, handled(agent))
			assert.equal(1, #fake:received("connect"))
		end)

		it("takes no message for the one that had its id before the broker forgot", function()
			local fake = fake_broker.start { pubrec = function() return false end }
			local agent = listener(fake, version, { { "s/#", qos = 2 } })
			fake:wait_connected(1, "s/#"):publish { topic = "s/x", payload = "old", qos = 2, id = 1 }
			fake:wait_for("pubrec", 1)
			fake.pubrec = nil
			fake.connect = function(again)
				again:send { type = "connack", code = 0, session_present = true }
				again:publish { topic = "s/x", payload = "new", qos = 2, id = 1, dup = #fake:received("connect") > 2 }
				return false
			end
			fake:newest():close()
			agent:wait_log("got s/x=new%.")
			assert.same({ "new" }, handled(agent))
			assert.truthy(agent:log():find("link field: messages of QoS 2 that were half way may be lost: 1\n", 1, true))
		end)

		it("handles a repeated message of QoS 2 once also where a script subscribed", function()
			local fake = fake_broker.start { pubrec = function() return false end }
			local agent = publisher(fake, version, [[
				every(0.05, function() mqtt.pub("tick", "", { qos = 0 }) end)
				after(0.2, function() mqtt.sub("s/#", { qos = 2 }) end)
				function on_message(topic, payload) log.info("got %s=%s.", topic, payload) end
			]])
			local connection = fake:wait_connected(1, "s/#")
			connection:publish { topic = "s/x", payload = "first", qos = 2, id = 5 }
			connection:publish { topic = "s/x", payload = "first", qos = 2, id = 5, dup = true }
			fake:wait_for("pubrec", 2)
			fake.connect = resumes_with(5)
			connection:send { type = "pubrel", id = 5 }
			agent:wait_log("got s/x=first%.")
			fake:wait_for("pubcomp", 1)
			fake:newest():publish { topic = "s/x", payload = "second", qos = 2, id = 5 }
			fake:wait_for("pubrec", 3)
			fake:newest():send { type = "pubrel", id = 5 }
			agent:wait_log("got s/x=second%.")
			assert.same({ "first", "second" }, handled(agent))
		end)

		it("is not put off by a topic that reads as the library's log does", function()
			local fake = fake_broker.start { publish = function() return false end }
			publisher(fake, version, [[mqtt.pub("received PUBLISH (d1, q2, r0, m1", "x")]])
			fake:wait_for("publish", 1)
			fake.connect = known
			fake:newest():close()
			fake:wait_for("publish", 2)
			loop.consistently(function() return #fake:received("connect") == 2 end, "it stays", 0.5)
		end)

		it("is not put off by acknowledgements of what it never sent", function()
			local fake = fake_broker.start()
			listener(fake, version)
			local connection = fake:wait_connected(1, "s/#")
			connection:send { type = "puback", id = 4711 }
			connection:publish { topic = "s/x", payload = "after", qos = 1 }
			fake:wait_for("puback", 1)
			assert.equal(1, #fake:received("connect"))
		end)
	end)
end

describe("packet ids", function()
	-- libmosquitto counts them round, QoS 0 included, and does not look which are in use.
	it("are not used again while their message is under way, however long that is", function()
		local fake = fake_broker.start { publish = function(_, p)
			if p.payload == "first" then
				return false
			end
		end }
		publisher(fake, "3.1.1", [[
			mqtt.pub("t", "first")
			local left = 66000
			local timer
			timer = every(0.02, function()
				for i = 1, math.min(left, 3000) do mqtt.pub("t", "", { qos = 0 }) end
				left = left - 3000
				if left <= 0 then
					timer:cancel()
					mqtt.pub("t", "last")
				end
			end)
		]], { ack_timeout = "10m" })
		loop.eventually(function() return #fake.packets >= 60000 end, "most of a round", 120)
		loop.consistently(function() return #fake.packets < 65535 end, "it waits", 1)
		fake:newest():send { type = "puback", id = fake:received("publish")[1].id }
		loop.eventually(function() return fake.packets[#fake.packets].payload == "last" end, "all of it", 120)
		assert.equal(66002, #fake:received("publish"))
		assert.equal(1, #fake:received("connect"))
	end)
end)

local function limited(properties)
	return function()
		return { type = "connack", code = 0, session_present = true, properties = properties }
	end
end

describe("MQTT 5 flow control", function()
	it("counts QoS 1 and 2 together; PUBACK, PUBCOMP and a refusing PUBREC make room, PUBREC does not", function()
		local fake = fake_broker.start { connect = limited { receive_maximum = 2 }, publish = function() return false end,
			pubrel = function() return false end }
		publisher(fake, "5", [[for i = 1, 8 do mqtt.pub("t", tostring(i), { qos = i % 2 + 1 }) end]])
		local connection = fake:wait_connected()
		local function expect(n)
			fake:wait_for("publish", n)
			loop.consistently(function() return #fake:received("publish") == n end, n .. " have come", 0.2)
		end
		local function answer(kind, i, code)
			connection:send { type = kind, id = fake:received("publish")[i].id, code = code }
		end
		expect(2)
		answer("pubrec", 1)
		fake:wait_for("pubrel", 1)
		expect(2)
		answer("pubcomp", 1)
		expect(3)
		answer("puback", 2)
		expect(4)
		answer("pubrec", 3, 0x87)
		expect(5)
		answer("puback", 4, 0x87)
		expect(6)
		answer("pubrec", 5, 0x10)
		fake:wait_for("pubrel", 2)
		expect(6)
		answer("pubcomp", 5)
		expect(7)
	end)

	it("holds for what is sent again, too, if the broker has come to take less", function()
		local fake = fake_broker.start { connect = limited { receive_maximum = 10 }, publish = function() return false end }
		publisher(fake, "5", [[for i = 1, 6 do mqtt.pub("t", tostring(i)) end]])
		fake:wait_for("publish", 6)
		fake.connect = limited { receive_maximum = 2 } -- lib/client_rules.lua counts
		fake:newest():close()
		fake:wait_for("publish", 8)
		loop.consistently(function() return #fake:received("publish") == 8 end, "two are under way", 0.3)
		fake.publish = nil
		for _, p in ipairs { table.unpack(fake:received("publish"), 7, 8) } do
			fake:newest():send { type = "puback", id = p.id }
		end
		fake:wait_for("publish", 12)
		assert.same({ "1", "2", "3", "4", "5", "6" }, { table.unpack(fake:payloads(), 7) })
	end)

	it("keeps back messages only: subscriptions and acknowledgements pass", function()
		local fake = fake_broker.start { connect = limited { receive_maximum = 1 }, publish = function() return false end }
		publisher(fake, "5", [[
			mqtt.pub("t", "1")
			mqtt.pub("t", "2")
			function on_message() mqtt.sub("late/#") end
		]], { subscribe = { "s/#" } })
		fake:wait_for("publish", 1)
		fake:wait_connected(1, "s/#"):publish { topic = "s/x", payload = "x", qos = 1 }
		fake:wait_for("puback", 1)
		fake:wait_connected(1, "late/#")
		assert.equal(1, #fake:received("publish"))
	end)
end)

describe("what an MQTT 5 broker says of itself", function()
	it("may be everything there is to say", function()
		local fake = fake_broker.start { connect = limited { session_expiry = 60, receive_maximum = 10, maximum_qos = 1,
			retain_available = 1, maximum_packet_size = 100000, topic_alias_maximum = 5, reason = "welcome",
			user_property = { { "a", "1" }, { "a", "2" } }, wildcards_available = 1, subscription_ids_available = 1,
			shared_available = 1, server_keepalive = 30, response_information = "r", server_reference = "other" } }
		publisher(fake, "5", [[mqtt.pub("t", "x")]])
		fake:wait_for("publish", 1)
		assert.equal(1, #fake:received("connect"))
	end)

	it("is asked for nothing that is not used", function()
		local fake = fake_broker.start()
		publisher(fake, "5", "")
		assert.same({ session_expiry = 0xffffffff, receive_maximum = 500 }, fake:wait_connected().connect.properties)
	end)

	it("may be that it keeps no retained messages: none are sent there, and again where they are kept", function()
		local fake = fake_broker.start { connect = limited { retain_available = 0 }, publish = function() return false end }
		publisher(fake, "5", [[mqtt.pub("t", "x", { retain = true })]])
		assert.is_false(fake:wait_for("publish", 1)[1].retain)
		fake.connect, fake.publish = known, nil
		fake:newest():close()
		loop.eventually(function() return fake:received("publish")[2].retain end, "it is retained")
	end)

	it("may be that a client has a name, which it has already: that is told", function()
		local fake = fake_broker.start { connect = limited { assigned_client_id = "other" } }
		local agent = publisher(fake, "5", [[mqtt.pub("t", "x")]])
		fake:wait_for("connect", 3)
		agent:wait_log("cannot connect to 127%.0%.0%.1:%d+: ")
		fake.connect = nil
		fake:wait_for("publish", 1)
	end)

	for code, name in pairs { [0x9e] = "shared", [0xa1] = "identifier", [0xa2] = "wildcard" } do
		it(("may be that it does not take a subscription: 0x%x, in its answer or hanging up"):format(code), function()
			local fake = fake_broker.start { subscribe = function(_, p)
				return { type = "suback", id = p.id, codes = { code } }
			end }
			local agent = publisher(fake, "5", "", { subscribe = { "$share/g/s/#" } })
			agent:wait_log("error link core: the broker refuses the subscription to %$share/g/s/#")
			fake.subscribe = function(connection)
				connection:send { type = "disconnect", code = code }
				connection:close()
				return false
			end
			fake:newest():close()
			assert.truthy(agent:wait_log("link core: lost [^\n]*(the broker disconnects: [^\n]*)"):lower():find(name, 1, true))
			fake:wait_for("connect", 4)
		end)
	end

	it("may be that another client has taken the session over: that is told", function()
		local fake = fake_broker.start()
		local agent = publisher(fake, "5", "")
		agent:wait_log("link core: connected")
		fake:newest():send { type = "disconnect", code = 0x8e, properties = { reason = "why",
			server_reference = "other", user_property = { { "a", "b" } } } }
		agent:wait_log("lost [^\n]*the broker disconnects: [^\n]*taken over")
		fake:wait_for("connect", 2)
	end)
end)

describe("MQTT 5 request and response", function()
	it("work: what comes with a response topic is answered there, with its correlation data", function()
		local fake = fake_broker.start()
		publisher(fake, "5", [[
			function on_message(_, payload, msg)
				mqtt.pub(msg.properties.response_topic, payload:upper(),
					{ properties = { correlation_data = msg.properties.correlation_data } })
			end
		]], { subscribe = { "ask" } })
		local properties = { response_topic = "answers/7", correlation = "\0\xff\1" }
		fake:wait_connected(1, "ask"):publish { topic = "ask", payload = "what", qos = 1, properties = properties }
		local p = fake:wait_for("publish", 1)[1]
		assert.same({ "answers/7", "WHAT", "\0\xff\1" }, { p.topic, p.payload, p.properties.correlation })
	end)
end)

describe("conformance, MQTT 5:", function()
	it("takes no topic aliases, and uses none", function()
		local fake = fake_broker.start { connect = function()
			return { type = "connack", code = 0, properties = { topic_alias_maximum = 10 } }
		end }
		tidegate.start { config = { links = { core = link(fake, "5") } },
			scripts = { ["rule.lua"] = [[for i = 1, 3 do mqtt.pub("t", tostring(i)) end]] } }
		for _, p in ipairs(fake:wait_for("publish", 3)) do
			assert.equal("t", p.topic)
			assert.is_nil(p.properties.topic_alias)
		end
		assert.is_nil(fake:received("connect")[1].properties.topic_alias_maximum)
	end)

	it("is not put off by subscription identifiers", function()
		local fake = fake_broker.start()
		local agent = listener(fake, "5")
		local connection = fake:wait_connected(1, "s/#")
		connection:publish { topic = "s/x", payload = "one", qos = 1, properties = { subscription_id = 268435455 } }
		agent:wait_log("got s/x=one%.")
		fake:wait_for("puback", 1)
	end)
end)
