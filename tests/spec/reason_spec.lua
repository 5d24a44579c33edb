--- What a broker says about single messages (MQTT 5 reason codes, limits) is
-- honoured: refused for good means dropped with the reason, refused for now
-- means again later.
local broker = require "lib.broker"
local fake_broker = require "lib.fake_broker"
local loop = require "lib.loop"
local tidegate = require "lib.tidegate"

local script = [[
function on_message(topic, payload)
	mqtt.pub(topic, payload, { qos = payload:match("^qos(%d)") and tonumber(payload:match("^qos(%d)")) or 1,
		ctx = { note = payload:sub(1, 20) } })
end
function on_sent(token, link, ctx)
	log.info("sent=%s token=%d link=%s", ctx.note, token, link)
end
function on_drop(token, link, reason, ctx)
	log.info("dropped=%s token=%d link=%s reason=%s.", ctx.note, token, link, reason)
end
]]

-- A field broker, and a fake one for the uplink.
local function scene(behaviour, keys)
	local self = { field = broker.start(), fake = fake_broker.start(behaviour) }
	self.sensor = self.field:client()
	local core = { url = "mqtt://127.0.0.1:" .. self.fake.port, version = "5", default = true }
	for key, value in pairs(keys or {}) do
		core[key] = value
	end
	self.agent = tidegate.start {
		config = { links = {
			field = { url = "mqtt://127.0.0.1:" .. self.field.port, subscribe = { "sensors/#" } },
			core = core,
		} },
		scripts = { ["rules.lua"] = script },
	}
	self.fake:wait_connected()
	self.field:wait_subscribed("gw-field", "sensors/#")
	return self
end

-- Each message's fate in the agent's log.
local function fate(s, payload)
	return s.agent:wait_log("(%a+)=" .. payload .. " token=%d+ link=core([^\n]*)")
end

describe("a message refused", function()
	for code, name in pairs { [0x87] = "not authori[sz]ed", [0x90] = "topic name invalid", [0x95] = "packet too large",
		[0x99] = "payload format invalid" } do
		for qos = 1, 2 do
			it(("with 0x%x at QoS %d is dropped with that reason"):format(code, qos), function()
				local s = scene {
					publish = function(_, p)
						return p.payload:find("bad") and code or nil
					end,
				}
				s.sensor:publish("sensors/a", "qos" .. qos .. "bad")
				s.sensor:publish("sensors/a", "qos" .. qos .. "good")
				local kind, rest = fate(s, "qos" .. qos .. "bad")
				assert.equal("dropped", kind)
				assert.truthy(rest:find("rejected: "), rest)
				assert.truthy(rest:lower():find(name), rest)
				assert.equal("sent", (fate(s, "qos" .. qos .. "good")))
				s.agent:restart()
				s.fake:wait_connected(2)
				s.sensor:publish("sensors/a", "last")
				assert.equal("sent", (fate(s, "last")))
				local topics = {}
				for i, p in ipairs(s.fake:received("publish")) do
					topics[i] = p.topic == "sensors/a" and p.payload or p.topic
				end
				assert.same({ "qos" .. qos .. "bad", "qos" .. qos .. "good", "tidegate/gw/loss", "last" }, topics)
			end)
		end
	end

	it("for quota is sent again later, with backoff, and then delivered", function()
		local refusals, times = 2, {}
		local s = scene {
			publish = function(_, p)
				if p.payload == "much" then
					times[#times + 1] = loop.now()
					if #times <= refusals then
						return 0x97
					end
				end
			end,
		}
		s.sensor:publish("sensors/a", "much")
		assert.equal("sent", (fate(s, "much")))
		assert.equal(3, #times)
		-- 0.75 s and 1.5 s, or more if something stands still meanwhile.
		assert(times[2] - times[1] > 0.7, "the second try came at once")
		assert(times[3] - times[2] > 1.4, "the backoff did not grow")
		assert.is_nil(s.agent:log():find("dropped"))
	end)

	it("for quota survives kill -9", function()
		local refuse = true
		local s = scene {
			publish = function()
				return refuse and 0x97 or nil
			end,
		}
		s.sensor:publish("sensors/a", "much")
		s.fake:wait_for("publish", 1)
		s.agent:kill()
		refuse = false
		s.agent:start()
		assert.equal("sent", (fate(s, "much")))
	end)

	it("by nobody (no subscribers) is delivered", function()
		local s = scene {
			publish = function()
				return 0x10
			end,
		}
		s.sensor:publish("sensors/a", "x")
		assert.equal("sent", (fate(s, "x")))
	end)
end)

describe("a broker's", function()
	it("Receive Maximum is respected", function()
		local s = scene({
			connect = function()
				return { type = "connack", code = 0, properties = { receive_maximum = 3 } }
			end,
			publish = function()
				return false
			end,
		}, { window = 50 })
		for i = 1, 20 do
			s.sensor:publish("sensors/a", "m" .. i)
		end
		s.fake:wait_for("publish", 3)
		loop.consistently(function()
			return #s.fake:received("publish") == 3
		end, "three in flight", 0.3)
		-- One acknowledgement lets one more pass.
		local conn = s.fake:newest()
		for i = 1, 17 do
			conn:send { type = "puback", id = s.fake:received("publish")[i].id }
			assert.equal(3 + i, #s.fake:wait_for("publish", 3 + i))
		end
		for i = 18, 20 do
			conn:send { type = "puback", id = s.fake:received("publish")[i].id }
		end
		assert.equal("sent", (fate(s, "m20")))
		local expected = {}
		for i = 1, 20 do
			expected[i] = "m" .. i
		end
		assert.same(expected, s.fake:payloads())
	end)

	it("silence leaves no more than the window in flight", function()
		local s = scene({
			publish = function()
				return false
			end,
		}, { window = 5, version = "3.1.1" })
		for i = 1, 20 do
			s.sensor:publish("sensors/a", "m" .. i)
		end
		s.fake:wait_for("publish", 5)
		loop.consistently(function()
			return #s.fake:received("publish") == 5
		end, "five in flight", 0.3)
	end)

	it("Maximum Packet Size makes larger messages drop with a reason", function()
		local s = scene {
			connect = function()
				return { type = "connack", code = 0, properties = { maximum_packet_size = 200 } }
			end,
		}
		s.sensor:publish("sensors/a", "large" .. ("x"):rep(300))
		s.sensor:publish("sensors/a", "small")
		local kind, rest = s.agent:wait_log("(%a+)=large[^\n]*reason=([^\n]*)")
		assert.equal("dropped", kind)
		assert.truthy(rest:find("rejected: .*too large"), rest)
		assert.equal("sent", (fate(s, "small")))
		assert.same({ "small" }, s.fake:payloads())
	end)

	it("Maximum QoS lowers what is sent", function()
		local s = scene {
			connect = function()
				return { type = "connack", code = 0, properties = { maximum_qos = 1 } }
			end,
		}
		s.sensor:publish("sensors/a", "qos2")
		assert.equal("sent", (fate(s, "qos2")))
		assert.equal(1, s.fake:received("publish")[1].qos)
	end)

	it("DISCONNECT with a reason is told, and the link comes back", function()
		local s = scene()
		s.fake:newest():send { type = "disconnect", code = 0x8b }
		s.fake:newest():close()
		s.fake:wait_connected(2)
		assert.truthy(s.agent:log():lower():find("shutting down"))
		s.sensor:publish("sensors/a", "after")
		assert.equal("sent", (fate(s, "after")))
	end)
end)

describe("what was in flight when the line broke", function()
	it("is sent again, marked DUP, before anything newer", function()
		local answer = false
		local s = scene({
			connect = function()
				return { type = "connack", code = 0, session_present = answer }
			end,
			publish = function()
				if not answer then
					return false
				end
			end,
		}, { window = 4 })
		for i = 1, 10 do
			s.sensor:publish("sensors/a", "m" .. i)
		end
		s.fake:wait_for("publish", 4)
		answer = true
		s.fake:newest():close()
		assert.equal("sent", (fate(s, "m10")))
		local seen = {}
		for i, p in ipairs(s.fake:received("publish")) do
			seen[i] = p.payload .. (p.dup and " dup" or "")
		end
		assert.same({ "m1", "m2", "m3", "m4", "m1 dup", "m2 dup", "m3 dup", "m4 dup", "m5", "m6", "m7", "m8", "m9", "m10" },
			seen)
	end)
end)
