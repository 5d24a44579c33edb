--- The scene of the interoperability tests, with a broker that is at fault, or slow, or neither: it must know
-- whose turn it was when nothing more comes, and have patience with one that is only slow.
local fake_broker = require "lib.fake_broker"
local loop = require "lib.loop"
local scenes = require "interop.scene"
local uv = require "luv"

-- A broker as far as a scene needs one: whoever subscribed to TAG/in/# or TAG/out/# gets what is published there, and
-- again, last first, when it subscribes again and has not acknowledged it. For each reading from the agent it calls
-- `take(pass)`; pass() passes it on and acknowledges it. What says `lost` it brings to nobody.
local function start_broker(take, lost)
	local subscribers, waiting = {}, { ["in"] = {}, out = {} }
	local function bring(way, message)
		local id = subscribers[way]:publish(message)
		waiting[way][#waiting[way] + 1] = id and message
	end
	local fake = fake_broker.start {
		subscribe = function(conn, p)
			local way = p.filters[1].filter:match("/(%a+)/#$")
			local again = waiting[way]
			subscribers[way], waiting[way] = conn, {}
			for i = #again, 1, -1 do
				bring(way, again[i])
			end
		end,
		puback = function(conn, p)
			for way, list in pairs(waiting) do
				for i, message in ipairs(conn == subscribers[way] and list or {}) do
					if message.id == p.id then
						table.remove(list, i)
						break
					end
				end
			end
		end,
		publish = function(conn, p)
			local way = p.topic:match("^[^/]+/(%a+)/")
			local function pass()
				if subscribers[way] and p.payload ~= lost then
					bring(way, { topic = p.topic, payload = p.payload, qos = p.qos })
				end
				if p.qos == 1 then
					conn:send { type = "puback", id = p.id }
				end
			end
			if p.topic:find("/out/r$") then
				take(pass)
			else
				pass()
			end
			return false
		end,
	}
	return { port = function() return fake.port end }
end

-- Sends 150 readings through such a broker; returns a function that tells what check() says to what then has or has
-- not arrived for so many seconds.
local function start_verdict(take, script, lost)
	local s = scenes.new(start_broker(take, lost), { script = script })
	s:publish(1, 150)
	return function(seconds)
		local ok, err = pcall(s.check, s, 150, { seconds = seconds })
		return ok and "well" or err
	end
end

-- Whoever stands still for a second is taken to be at fault; not any more when he has gone on.
local function assert_verdict(expected, ...)
	local verdict = start_verdict(...)
	loop.eventually(function()
		assert.equal(expected, verdict(1))
		return true
	end)
end

describe("the scene of the interoperability tests:", function()
	it("a broker that acknowledges nothing more is at fault, not the agent that waits for it", function()
		local taken = 0
		assert_verdict("the broker acknowledges none of the 100 that the agent has on their way", function(pass)
			taken = taken + 1
			if taken <= 10 then
				pass()
			end
		end)
	end)

	local KEEPS_ONE = [[
		function on_message(topic, payload, msg)
			if payload ~= "50" then
				mqtt.pub((topic:gsub("/in/", "/out/")), payload, { link = "core", qos = msg.qos })
			end
		end
	]]

	it("an agent that keeps one back is at fault, whatever the broker does", function()
		assert_verdict("THE AGENT did not send 1 of 150", function(pass) pass() end, KEEPS_ONE)
		assert_verdict("THE AGENT did not send 1 of 150", function(pass) pass() end, KEEPS_ONE, "70")
	end)

	it("a broker that brings all but one is at fault", function()
		assert_verdict("the broker did not bring 1 of 150", function(pass) pass() end, nil, "70")
	end)

	it("an agent that sends one twice is at fault", function()
		assert_verdict("THE AGENT sends 50 twice", function(pass) pass() end, [[
			function on_message(topic, payload, msg)
				for _ = 1, payload == "50" and 2 or 1 do
					mqtt.pub((topic:gsub("/in/", "/out/")), payload, { link = "core", qos = msg.qos })
				end
			end
		]])
	end)

	it("an agent that sends at another QoS is at fault", function()
		assert_verdict("THE AGENT sends 50 at QoS 0, it came at 1", function(pass) pass() end, [[
			function on_message(topic, payload, msg)
				mqtt.pub((topic:gsub("/in/", "/out/")), payload, { link = "core", qos = payload == "50" and 0 or msg.qos })
			end
		]])
	end)

	it("an agent that sends two in another order is at fault", function()
		assert_verdict("THE AGENT sends 51 where 50 came", function(pass) pass() end, [[
			local held
			function on_message(topic, payload, msg)
				local function pass()
					mqtt.pub((topic:gsub("/in/", "/out/")), payload, { link = "core", qos = msg.qos })
				end
				if payload == "50" then
					held = pass
				else
					pass()
					if held then held() end
					held = nil
				end
			end
		]])
	end)

	it("an agent that is killed may take the order in which messages come again for theirs", function()
		local s = scenes.new(start_broker(function(pass) pass() end), { idle = true })
		s.config.store = { linger = "10s" } -- it acknowledges nothing meanwhile
		s.agent:configure(s.config)
		s:start()
		s.uplink.cut()
		s:publish(1, 5)
		s.agent:kill()
		s.agent:start()
		s.uplink.restore()
		s:check(5)
		assert.equal("5", s:arrived("r")[1].payload)
	end)

	it("a broker that is slow gets the time that it needs", function()
		local wait_ms = 0
		assert.equal("well", start_verdict(function(pass)
			wait_ms = wait_ms + 30
			local timer = uv.new_timer()
			timer:start(wait_ms, 0, loop.guard(function()
				timer:close()
				pass()
			end))
		end)(3))
		assert.is_true(wait_ms > 3000)
	end)
end)
