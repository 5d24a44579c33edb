--- Connections that are up and do nothing: a broker that answers pings but takes no
-- messages, a peer that is gone without a word, a link that was held for long.
local fake_broker = require "lib.fake_broker"
local gateway = require "lib.gateway"
local loop = require "lib.loop"
local need = require "lib.need"
local net = require "lib.net"
local proxy = require "lib.proxy"
local tidegate = require "lib.tidegate"

local TICK = 0.5 -- the watchdog looks that often

local function silence()
	return false
end

-- Publishes five messages at the start, at `qos`.
local function five(qos)
	return { ["rules.lua"] = ([[
		function on_start()
			for i = 1, 5 do mqtt.pubx("out", "m" .. i, %d, false) end
		end
	]]):format(qos) }
end

local function start(fake, qos, more)
	local link = { url = "mqtt://127.0.0.1:" .. fake.port, keepalive = "5s", ack_timeout = "1s",
		reconnect = { min = "50ms", max = "100ms" } }
	for key, value in pairs(more or {}) do
		link[key] = value
	end
	return tidegate.start { config = { control = "control.sock", links = { core = link } }, scripts = five(qos) }
end

-- The agent has been left by whatever stalled, and by nothing else. Once, if this process does not stand still itself.
local function assert_stalls_told(fake, agent)
	assert.equal(#fake:received("connect") - 1, agent:link_status("core").stalls)
end

-- Remembers when each packet of a kind came.
local function times_of(fake, kind, answer)
	local times = {}
	fake[kind] = function(...)
		times[#times + 1] = loop.now()
		return answer and answer(...)
	end
	return times
end

local function session_present(fake)
	return function()
		return { type = "connack", code = 0, session_present = #fake:received("connect") > 1 }
	end
end

describe("a broker that answers pings and nothing else", function()
	for qos = 1, 2 do
		it("is left within ack_timeout, and all is sent again, QoS " .. qos, function()
			local fake = fake_broker.start { publish = silence }
			local times = times_of(fake, "connect", session_present(fake))
			fake.publish = function()
				return #fake:received("connect") > 1 and nil
			end
			local agent = start(fake, qos)
			fake:wait_for("connect", 2)
			local took = times[2] - times[1]
			assert(took > 0.9, "left too early: " .. took)
			assert(took < 1 + TICK + 0.1 + 3, "left too late: " .. took) -- reconnecting, and something stands still
			loop.eventually(function()
				return agent:link_status("core").acknowledged == 5
			end)
			assert_stalls_told(fake, agent)
			local again = {}
			for _, p in ipairs(fake.connections[2].packets) do
				if p.type == "publish" then
					again[#again + 1] = p.payload
					assert.equal(true, p.dup)
				end
			end
			assert.same({ "m1", "m2", "m3", "m4", "m5" }, again)
		end)
	end

	it("is left also with a window full of QoS 2 half way through", function()
		local fake = fake_broker.start { pubrec = silence }
		fake.pubrel = function()
			return #fake:received("connect") > 1 and nil
		end
		fake.connect = session_present(fake)
		local agent = start(fake, 2, { window = 3 })
		fake:wait_for("connect", 2)
		loop.eventually(function()
			return agent:link_status("core").acknowledged == 5
		end)
		assert_stalls_told(fake, agent)
		local payloads = {}
		for _, p in ipairs(fake:received("publish")) do
			payloads[p.payload] = (payloads[p.payload] or 0) + (p.dup and 0 or 1)
		end
		assert.same({ m1 = 1, m2 = 1, m3 = 1, m4 = 1, m5 = 1 }, payloads)
	end)

	it("is not left as long as acknowledgements trickle in", function()
		local fake = fake_broker.start { publish = silence }
		local agent = start(fake, 1, { ack_timeout = "3s" })
		fake:wait_for("publish", 5)
		for _, p in ipairs(fake:received("publish")) do
			local answer_at = loop.now() + 0.9
			loop.eventually(function()
				return loop.now() >= answer_at
			end)
			fake:newest():send { type = "puback", id = p.id }
		end
		loop.eventually(function()
			return agent:link_status("core").acknowledged == 5
		end)
		assert.equal(0, agent:link_status("core").stalls)
		assert.equal(1, #fake:received("connect"))
	end)

	it("is not left when nothing is in flight", function()
		local fake = fake_broker.start()
		local agent = start(fake, 1)
		loop.eventually(function()
			return agent:link_status("core").acknowledged == 5
		end)
		fake.publish = silence
		local before = #fake:received("connect")
		loop.consistently(function()
			return #fake:received("connect") == before
		end, "the connection stays", 2.5)
		assert.equal(before - 1, agent:link_status("core").stalls)
	end)
end)

describe("a connection whose other end is gone", function()
	it("is found out by what is not acknowledged", function()
		local g = gateway.start { idle = true }
		local line = proxy.start(g.core.port)
		g.config.links.core.url = "mqtt://127.0.0.1:" .. line.port
		g.config.links.core.ack_timeout = "1s"
		g.agent:configure(g.config)
		g:start(true)
		g:publish_readings(1, 5)
		g:wait_readings(5)
		line:forget()
		g:publish_readings(6, 10)
		g.core:wait_connected("gw-core", 2)
		gateway.assert_in_order(g:wait_readings(10))
		g.agent:wait_log("link core: lost .*no acknowledgement within ack_timeout")
	end)

	it("is found out by pings when nothing is under way", function()
		local g = gateway.start { idle = true }
		local line = proxy.start(g.field.port)
		g.config.links.field.url = "mqtt://127.0.0.1:" .. line.port
		g.config.links.field.keepalive = "5s"
		g.agent:configure(g.config)
		g:start(true)
		g:publish_readings(1, 5)
		g:wait_readings(5)
		line:forget()
		g:publish_readings(6, 10)
		loop.eventually(function()
			return g.field:connections("gw-field") >= 2
		end, "a ping after 5 s, as long for its answer, and a new connection", 16)
		gateway.assert_in_order(g:wait_readings(10))
	end)
end)

describe("a link held for long because the store fails", function()
	it("comes back cleanly when its broker has thrown it out meanwhile", function()
		need.program("strace")
		local unacknowledged = {}
		local field = fake_broker.start {
			puback = function(_, p)
				unacknowledged[p.id] = nil
			end,
		}
		field.connect = session_present(field)
		local agent
		agent = tidegate.new {
			config = {
				links = {
					field = { url = "mqtt://127.0.0.1:" .. field.port, subscribe = { "sensors/#" }, keepalive = "5s" },
					core = { url = "mqtt://127.0.0.1:" .. net.free_port(), default = true },
				},
			},
			scripts = { ["rules.lua"] = gateway.forward },
			env = { ASAN_OPTIONS = "detect_leaks=0" },
			wrap = function(argv)
				return table.move(argv, 1, #argv, 9, { "strace", "-f", "-o", agent.directory .. "/trace",
					"-e", "trace=fdatasync", "-e", "inject=fdatasync:error=EIO:when=20..26" })
			end,
		}
		agent:start()
		field:wait_connected(1, "sensors/#")
		local n, failing = 0, nil
		while not failing do
			n = n + 1
			unacknowledged[n] = true
			field:newest():publish { topic = "sensors/a", payload = "r" .. n, qos = 1, id = n }
			loop.eventually(function()
				failing = agent:log():find("cannot commit")
				return failing or not unacknowledged[n]
			end)
		end
		assert(unacknowledged[n])
		field:newest():close() -- it has heard nothing for too long
		loop.consistently(function()
			return #field:received("connect") == 1
		end, "a held link does not connect", 2)
		agent:wait_log("the store can be written again")
		field:wait_connected(2)
		for id in pairs(unacknowledged) do
			field:newest():publish { topic = "sensors/a", payload = "r" .. id, qos = 1, id = id, dup = true }
		end
		loop.eventually(function()
			return next(unacknowledged) == nil
		end, "all is acknowledged")
		assert.equal(0, agent:stop())
		local have = {}
		for _, row in ipairs(agent:sql("select payload from queue_1 union all select payload from queue_2")) do
			have[row[1]] = true
		end
		for i = 1, n do
			assert(have["r" .. i], "reading " .. i .. " is lost")
		end
		assert.equal(2, #field:received("connect"))
	end)
end)
