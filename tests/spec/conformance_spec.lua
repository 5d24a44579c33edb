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
