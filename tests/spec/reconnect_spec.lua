--- Connecting: where, how often, and that nothing else waits for it.
local broker = require "lib.broker"
local fake_broker = require "lib.fake_broker"
local file = require "lib.file"
local gateway = require "lib.gateway"
local loop = require "lib.loop"
local need = require "lib.need"
local net = require "lib.net"
local tidegate = require "lib.tidegate"

local function url(port)
	return "mqtt://127.0.0.1:" .. port
end

-- A listener that notes when it is connected to, and closes at once.
local function slammer()
	local times = {}
	local listener = net.listen(function(socket)
		times[#times + 1] = loop.now()
		net.close(socket)
	end)
	return listener, times
end

describe("fail-over:", function()
	it("takes the next of urls when the first is dead", function()
		local fake = fake_broker.start()
		tidegate.start { config = { links = { core = { urls = { url(net.free_port()), url(fake.port) } } } } }
		fake:wait_connected()
	end)

	it("takes the next when the first accepts and then hangs up", function()
		local listener, times = slammer()
		local fake = fake_broker.start()
		tidegate.start { config = { links = { core = { urls = { url(listener.port), url(fake.port) } } } } }
		fake:wait_connected()
		assert.equal(1, #times)
	end)

	it("goes to the next when the first is lost, and back when that is lost", function()
		local first, second = fake_broker.start(), fake_broker.start()
		tidegate.start { config = { links = { core = { urls = { url(first.port), url(second.port) } } } } }
		first:wait_connected()
		assert.equal(0, #second.connections)
		first.listener:close()
		second:wait_connected()
		first.listener:resume()
		second.listener:close()
		first:wait_connected(2)
	end)

	it("goes to the next at once when the first is lost soon after it came", function()
		local first, second = fake_broker.start(), fake_broker.start()
		local agent = tidegate.start { config = { links = { core = { urls = { url(first.port), url(second.port) },
			reconnect = { min = "60s", max = "60s" } } } } }
		agent:wait_log("link core: connected")
		first.listener:close()
		second:wait_connected()
	end)

	it("readings go to whichever is up, once each", function()
		local g = gateway.start { idle = true }
		g.config.links.core = { urls = { url(net.free_port()), url(g.uplink.port) }, default = true,
			reconnect = { min = "50ms", max = "300ms" } }
		g.agent:configure(g.config)
		g:start(true)
		g:publish_readings(1, 20)
		assert.equal(0, gateway.assert_in_order(g:wait_readings(20)))
	end)
end)

describe("subscriptions", function()
	it("are made at whichever broker the link comes to", function()
		local g = gateway.start { idle = true, down = true }
		local second = broker.start()
		local line = net.proxy(g.field.port)
		g.config.links.field = { urls = { url(line.port), url(second.port) }, subscribe = { "sensors/#" } }
		g.agent:configure(g.config)
		g:start()
		g:publish_readings(1, 3)
		g:await_taken()
		line.cut()
		second:wait_subscribed("gw-field", "sensors/#")
		local first_sensor = g.sensor
		g.sensor = second:client()
		g:publish_readings(4, 6)
		second:stop()
		line.restore()
		g.field:wait_connected("gw-field", 2)
		g.sensor = first_sensor
		g:publish_readings(7, 9)
		g.uplink.restore()
		g:wait_readings(9)
	end)

	-- Brokers that always know the session, as real ones do after the first time.
	local function keeper()
		local fake
		fake = fake_broker.start {
			connect = function()
				return { type = "connack", code = 0, session_present = #fake:received("connect") > 1 }
			end,
		}
		return fake
	end

	local function filters(fake, kind)
		local list = {}
		for _, p in ipairs(fake:received(kind)) do
			for _, f in ipairs(p.filters) do
				list[#list + 1] = f.filter or f
			end
		end
		return list
	end

	local function is_in(list, wanted)
		for _, value in ipairs(list) do
			if value == wanted then
				return true
			end
		end
	end

	it("made at one broker are made at the other too, though that knows the session", function()
		local first, second = keeper(), keeper()
		tidegate.start {
			config = { links = { core = { urls = { url(first.port), url(second.port) }, subscribe = { "go" } } } },
			scripts = { ["rules.lua"] = 'function on_message() mqtt.sub("late/#") end' },
		}
		first:wait_connected(1, "go")
		first.listener:close()
		second:wait_connected(1, "go")
		first.listener:resume()
		second.listener:close()
		first:wait_connected(2)
		first:newest():publish { topic = "go", payload = "", qos = 1 }
		loop.eventually(function()
			return is_in(filters(first, "subscribe"), "late/#")
		end, "the first broker hears of it")
		second.listener:resume()
		first.listener:close()
		second:wait_for("connect", 2)
		loop.eventually(function()
			return is_in(filters(second, "subscribe"), "late/#")
		end, "the second broker hears of it")
	end)

	it("asked for just before kill -9 are remembered, and given back if no longer wanted", function()
		local fake = keeper()
		fake.subscribe = function()
			return false
		end
		local links = { core = { url = url(fake.port), subscribe = { "old/#" } } }
		local agent = tidegate.start { config = { links = links } }
		fake:wait_connected(1, "old/#")
		agent:kill()
		links.core.subscribe = { "new/#" }
		agent:configure { links = links }
		agent:start()
		fake:wait_connected(2, "new/#")
		loop.eventually(function()
			return is_in(filters(fake, "unsubscribe"), "old/#")
		end, "old/# is unsubscribed")
	end)

	it("whose end the broker did not confirm are ended again", function()
		local fake = keeper()
		fake.unsubscribe = function(conn)
			conn:close()
			return false
		end
		tidegate.start {
			config = { links = { core = { url = url(fake.port), subscribe = { "go", "old/#" } } } },
			scripts = { ["rules.lua"] = 'function on_message() mqtt.unsub("old/#") end' },
		}
		fake:wait_connected(1, "old/#"):publish { topic = "go", payload = "", qos = 1 }
		fake:wait_for("unsubscribe", 1)
		fake.unsubscribe = nil
		fake:wait_for("connect", 2)
		fake:wait_for("unsubscribe", 2)
	end)
end)

describe("keepalive:", function()
	it("a broker that does not answer pings is left", function()
		local fake = fake_broker.start {
			pingreq = function()
				return false
			end,
		}
		tidegate.start { config = { links = { core = { url = url(fake.port), keepalive = "5s" } } } }
		fake:wait_for("connect", 2, 20)
		assert.equal(1, #fake:received("pingreq"))
	end)

	it("the interval that the broker asks for is kept", function()
		local fake = fake_broker.start {
			connect = function()
				return { type = "connack", code = 0, properties = { server_keepalive = 3 } }
			end,
		}
		tidegate.start { config = { links = { core = { url = url(fake.port), version = "5" } } } }
		local since, shortest = loop.now(), math.huge
		fake.pingreq = function()
			since, shortest = loop.now(), math.min(shortest, loop.now() - since)
		end
		fake:wait_connected()
		fake:wait_for("pingreq", 2)
		-- The broker may hang up after one and a half times that; one ping may be late if something stands still.
		assert(shortest < 4.5, ("a ping after %.1f s"):format(shortest))
	end)
end)

describe("backoff:", function()
	it("grows, with jitter, up to its limit", function()
		local listener, times = slammer()
		local started = loop.now()
		local agent = tidegate.start { config = { log = { level = "debug" }, links = { core = { url = url(listener.port),
			reconnect = { min = "100ms", max = "800ms" } } } } }
		loop.eventually(function()
			return #times >= 7
		end, "seven attempts")
		local waits = {}
		for seconds in agent:log():gmatch("cannot connect [^\n]*; retry in ([%d.]+) s") do
			waits[#waits + 1] = tonumber(seconds)
		end
		-- Waits before attempts 2 to 7: half to whole of 100, 200, 400, 800, 800, 800 ms.
		local sum, excess = 0, math.huge
		for i, most in ipairs { 0.1, 0.2, 0.4, 0.8, 0.8, 0.8 } do
			assert(waits[i] > most / 2 - 0.06 and waits[i] < most + 0.06, table.concat(waits, " "))
			sum = sum + waits[i]
			excess = i > 3 and math.min(times[i + 1] - times[i] - waits[i], excess) or excess
		end
		-- It waits as long as it says; longer only if something stands still meanwhile.
		assert(times[7] - started > sum - 0.3, ("%.1f s instead of %.1f s"):format(times[7] - started, sum))
		assert(excess < 0.5, ("each attempt came %.1f s late"):format(excess))
	end)

	it("also applies to a broker that says it is busy", function()
		local fake = fake_broker.start {
			connect = function()
				return 0x89
			end,
		}
		local agent = tidegate.start { config = { links = { core = { url = url(fake.port), version = "5" } } } }
		fake:wait_for("connect", 3)
		assert.truthy(agent:log():lower():find("busy"))
		fake.connect = nil
		agent:wait_log("link core: connected")
	end)

	it("repeats the same complaint ever more seldom", function()
		local listener, times = slammer()
		local agent = tidegate.start { config = { links = { core = { url = url(listener.port),
			reconnect = { min = "10ms", max = "10ms" } } } } }
		loop.eventually(function()
			return #times >= 40
		end, "forty attempts")
		local _, lines = agent:log():gsub("warn link core", "")
		assert(lines >= 1 and lines <= 8, lines .. " lines about forty attempts")
	end)
end)

describe("a connection that hangs", function()
	it("in the greeting is given up, and the next url tried", function()
		local silent = net.listen(function() end)
		local fake = fake_broker.start()
		local agent = tidegate.start { config = { links = { core = { urls = { url(silent.port), url(fake.port) } } } } }
		fake:wait_for("connect", 1, 25)
		assert.truthy(agent:log():find("no answer"))
	end)

	it("while a name is looked up holds up neither other links nor the end", function()
		need.root()
		need.success("unshare -m true", "mount namespaces are not allowed here")
		local sink = net.udp_sink("127.66.66.66", 53)
		local server = broker.start()
		local collector = server:client()
		collector:subscribe("out", 1)
		local agent
		agent = tidegate.new {
			config = { links = {
				field = { url = url(server.port), subscribe = { "in" } },
				other = { url = url(server.port), default = true },
				core = { url = "mqtt://broker.tidegate.test:1883" },
			} },
			scripts = { ["rules.lua"] = [[
				function on_message(topic, payload)
					mqtt.pub("out", payload)
				end
			]] },
			wrap = function(argv)
				local resolv = file.write(agent.directory .. "/resolv.conf",
					"nameserver 127.66.66.66\noptions timeout:30 attempts:1\n")
				local script = ("mount --bind %s $(readlink -f /etc/resolv.conf) && exec \"$@\""):format(resolv)
				return table.move(argv, 1, #argv, 7, { "unshare", "-m", "sh", "-c", script, "sh" })
			end,
		}
		agent:start()
		server:wait_subscribed("gw-field", "in")
		loop.eventually(function()
			return sink.received > 0
		end, "the resolver is asked")
		local started = loop.now()
		for i = 1, 20 do
			collector:publish("in", "r" .. i)
			loop.eventually(function()
				return #collector.messages == i
			end, "a reading passes while the resolver hangs")
		end
		assert.equal(0, agent:stop())
		assert(loop.now() - started < 25, "the resolver was waited for, which takes 30 s")
	end)
end)
