-- The acknowledgement of the collector itself, over a broker: what it has not told to hold is kept, and
-- sent again, whoever is killed; and what else comes on its topic changes nothing.
local cjson = require "cjson"
local figures = require "torture.figures"
local gateway = require "lib.gateway"
local lab = require "bench.lab"
local loop = require "lib.loop"
local mqtt_collector = require "lib.mqtt_collector"

local ACKS = "tidegate/gw/ack"

local function with_ack(more)
	local link = { ack_topic = ACKS, ack_timeout = "500ms" }
	for key, value in pairs(more or {}) do
		link[key] = value
	end
	return link
end

local function start(options)
	options.config = { control = "control.sock" }
	return gateway.start(options)
end

local function line_of(g, kind, link)
	local code, out, err = g.agent:command("status", "--json")
	assert(code == 0, err)
	for text in out:gmatch("[^\n]+") do
		local line = cjson.decode(text)
		if line.kind == kind and (not link or line.link == link) then
			return line
		end
	end
end

local function queue_of(g)
	return line_of(g, "queue", "core")
end

-- What arrived on a client of the core broker: { seq, after, payload, instance }.
local function envelopes(messages)
	local list = {}
	for _, message in ipairs(messages) do
		local instance, seq, after, payload =
			message.payload:match('^{"instance":"(%x+)","seq":(%d+),"after":(%d+)}\n(.*)$')
		if instance then
			list[#list + 1] = { instance = instance, seq = math.tointeger(seq), after = math.tointeger(after),
				payload = payload }
		end
	end
	return list
end

local function wait_envelopes(g, n)
	return loop.eventually(function()
		local list = envelopes(g.collector.messages)
		return #list >= n and list
	end, n .. " messages in envelopes")
end

local function acknowledge(g, instance, seq)
	g.collector:publish(ACKS, ('{"instance":"%s","seq":%s}'):format(instance, seq), { qos = 0 })
end

local function wait_empty(g)
	loop.eventually(function()
		return queue_of(g).messages == 0
	end, "the queue is empty")
end

-- Kills the collector `times` while readings flow, and says what it holds in the end.
local function murder(g, collector, n, times, meanwhile)
	for i = 1, n do
		g.sensor:post("sensors/a", "r" .. i, { qos = 1 })
	end
	for i = 1, times do
		local goal = #collector:held() + math.random(50, n // (2 * times))
		loop.run_until(function()
			return #collector:held() >= goal
		end, 3)
		collector:kill()
		if meanwhile then
			meanwhile(i)
		end
		collector:start()
	end
end

local function judge(test, collector, n, times, more)
	local readings, again, too_soon = collector:held()
	local seen, result = {}, { test = test, cases = times, acknowledged = n, delivered = 0, duplicates = 0,
		out_of_order = 0, more = more or ("%d came again, %d too soon, none of which it took"):format(again, too_soon) }
	local highest = 0
	for _, reading in ipairs(readings) do
		if seen[reading] then
			result.duplicates = result.duplicates + 1
		else
			seen[reading] = true
			result.delivered = result.delivered + 1
			result.out_of_order = result.out_of_order + (reading < highest and 1 or 0)
			highest = math.max(highest, reading)
		end
	end
	result.lost = n - result.delivered
	figures.print(result)
	return result
end

describe("a collector behind a broker", function()
	local READINGS, KILLS = figures.sized(3000, 30000), figures.sized(4, 40)

	setup(function()
		math.randomseed(figures.seed)
	end)

	it("that is killed at random loses readings that the broker's acknowledgement had let go", function()
		local g = start { core_broker = { persistence = true } }
		local collector = mqtt_collector.start { port = g.core.port, each_turn = 1 }
		g.core:wait_subscribed("collector", "sensors/#")
		murder(g, collector, READINGS, KILLS)
		collector:wait_held(READINGS, 3)
		local result = judge("collector killed, PUBACK only", collector, READINGS, KILLS, "")
		assert.is_true(result.lost > 0)
	end)

	for _, version in ipairs { "3.1.1", "5" } do
		it("that is killed at random loses none with ack_topic (MQTT " .. version .. ")", function()
			local g = start { core_broker = { persistence = true }, core = with_ack { version = version } }
			local collector = mqtt_collector.start { port = g.core.port, each_turn = 1, ack_topic = ACKS }
			g.core:wait_subscribed("collector", "sensors/#")
			murder(g, collector, READINGS, KILLS)
			assert.is_true(collector:wait_held(READINGS, 15))
			local result = judge("collector killed, ack_topic", collector, READINGS, KILLS)
			assert.equal(0, result.lost + result.duplicates + result.out_of_order)
			wait_empty(g)
		end)
	end

	it("loses readings all the same if it acknowledges past a gap", function()
		local g = start { core_broker = { persistence = true }, core = with_ack() }
		local collector = mqtt_collector.start { port = g.core.port, each_turn = 1, ack_topic = ACKS, naive = true }
		g.core:wait_subscribed("collector", "sensors/#")
		murder(g, collector, READINGS, KILLS)
		collector:wait_held(READINGS, 3)
		local result = judge("collector killed, ack_topic, gaps ignored", collector, READINGS, KILLS, "")
		assert.is_true(result.lost > 0)
		wait_empty(g)
	end)

	it("loses none either when its broker and the agent are killed, too", function()
		local g = start { core_broker = { persistence = true }, core = with_ack() }
		local collector = mqtt_collector.start { port = g.core.port, each_turn = 1, ack_topic = ACKS }
		g.core:wait_subscribed("collector", "sensors/#")
		murder(g, collector, READINGS, KILLS, function(i)
			if i % 4 == 1 then
				g.agent:kill()
				g.agent:start()
			elseif i % 4 == 2 then
				g.core:kill() -- and what it had not saved is gone
				g.core:start()
			elseif i % 4 == 3 then
				g.core:stop()
				g.core:start()
			else
				g.agent:restart()
			end
		end)
		assert.is_true(collector:wait_held(READINGS, 15))
		local result = judge("collector, broker and agent killed", collector, READINGS, KILLS)
		assert.equal(0, result.lost + result.out_of_order)
		wait_empty(g)
	end)
end)

describe("a link with ack_topic", function()
	it("keeps a message until the collector acknowledges it, over a restart", function()
		local g = start { core = with_ack { ack_timeout = "30s" }, script = [[
			function on_message(topic, payload)
				assert(mqtt.pub(topic, payload, { ctx = payload }))
			end
			function on_sent(token, link, ctx)
				log.info("sent: %s", ctx)
			end
		]] }
		g:publish_readings(1, 3)
		local list = wait_envelopes(g, 3)
		assert.equal("r3", list[3].payload)
		assert.equal(0, list[1].after)
		assert.equal(list[2].seq, list[3].after)
		assert.equal(line_of(g, "agent").instance, list[1].instance)
		loop.eventually(function()
			local queue = queue_of(g)
			return queue.in_flight == 0 and queue.awaiting == 3 and queue.messages == 3
		end, "the broker has them")
		assert.is_nil(g.agent:log():find("sent: r"))
		acknowledge(g, list[1].instance, list[2].seq)
		g.agent:wait_log("sent: r1\n.*sent: r2\n")
		assert.equal(1, queue_of(g).messages)
		assert.equal(0, g.agent:stop())
		g:start(true)
		list = wait_envelopes(g, 4)
		assert.equal("r3", list[4].payload)
		assert.equal(list[3].seq, list[4].seq)
		acknowledge(g, list[4].instance, ('"%d"'):format(list[4].seq))
		g.agent:wait_log("sent: r3\n")
		wait_empty(g)
	end)

	it("is not taken for one that brings readings", function()
		local g = start { core = with_ack { ack_timeout = "30s" }, script = gateway.forward .. [[
			on("#", function(topic)
				log.info("got %s", topic)
			end)
		]] }
		g:publish_readings(1, 1)
		local list = wait_envelopes(g, 1)
		acknowledge(g, list[1].instance, list[1].seq)
		wait_empty(g)
		assert.equal(0, line_of(g, "link", "core").received)
		assert.is_nil(g.agent:log():find("got tidegate", 1, true))
	end)

	it("ignores acknowledgements that are none of its", function()
		local g = start { core = with_ack { ack_timeout = "30s" }, idle = true }
		g.collector:publish(ACKS, '{"instance":"old","seq":1}', { retain = true })
		g:start(true)
		g.agent:wait_log("ack_topic is ignored: it is retained")
		g:publish_readings(1, 3)
		local list = wait_envelopes(g, 3)
		acknowledge(g, "another", list[3].seq)
		g.agent:wait_log("ack_topic is ignored: it is about another instance")
		acknowledge(g, list[1].instance, list[3].seq + 1)
		g.agent:wait_log(("ack_topic is ignored: message %d was never sent"):format(list[3].seq + 1))
		acknowledge(g, list[1].instance, list[3].seq .. ".0")
		g.agent:wait_log("ack_topic is ignored: `seq` is a floating%-point number")
		g.collector:publish(ACKS, "", { qos = 0 })
		for _ = 1, 100 do
			g.collector:post(ACKS, "no JSON\0{", { qos = 0 })
		end
		g.collector:publish(ACKS, ("x"):rep(5000), { qos = 1 })
		loop.eventually(function()
			return queue_of(g).awaiting == 3 and queue_of(g).messages == 3
		end, "nothing is taken for acknowledged")
		local _, lines = g.agent:log():gsub("is ignored", "")
		assert.is_true(lines <= 12, lines .. " lines")
		acknowledge(g, list[1].instance, list[3].seq)
		wait_empty(g)
	end)

	it("sends a silent collector no more than the window, and then one message more and more seldom", function()
		local g = start { core = with_ack { ack_window = 100, ack_timeout = "30s" }, down = true }
		g:publish_readings(1, 3000)
		g:await_taken(60)
		g.uplink.restore()
		loop.eventually(function()
			return queue_of(g).awaiting == 100 and queue_of(g).in_flight == 0
		end, "the window is full")
		local began = loop.now()
		g.config.links.core.ack_timeout = "500ms"
		g.agent:configure(g.config)
		assert.equal(0, (g.agent:command("reload")))
		g.agent:wait_log("the collector has acknowledged nothing for 0.5 s, and 100 messages await it")
		loop.eventually(function()
			return queue_of(g).sent_again >= 3
		end, "the oldest is sent again")
		local queue, list = queue_of(g), envelopes(g.collector.messages)
		assert.equal(100, queue.awaiting)
		assert.equal(3000, queue.messages)
		-- after 0.5, 1, 2, ... seconds
		local most = math.ceil(math.log((loop.now() - began) / 0.5 + 1, 2))
		most = most + g.core:connections("gw-core") - 1 -- a broker that stands still for so long is left
		assert.is_true(#list <= 100 + most, ("%d messages, at most %d probes"):format(#list, most))
		for i = 101, #list do
			assert.equal("r1", list[i].payload)
			assert.equal(0, list[i].after)
		end
		assert.is_truthy(select(2, g.agent:command("status")):find("the collector is silent", 1, true))
		-- Once it answers, the rest follows.
		acknowledge(g, list[1].instance, list[50].seq)
		g.agent:wait_log("the collector acknowledges again")
		loop.eventually(function()
			return envelopes(g.collector.messages)[#list + 51]
		end, "what it had not and what is new")
	end)

	it("needs no more memory for a window of a thousand", function()
		local g = start { core = with_ack { ack_window = 1000, ack_timeout = "30s" }, agent = { release = true } }
		g:publish_readings(1, 200)
		local before = g.agent:memory()
		g:publish_readings(201, 20000)
		g:await_taken(60)
		loop.eventually(function()
			return queue_of(g).awaiting == 1000
		end, "the window is full")
		local _, peak = g.agent:memory()
		figures.print { test = "ack_window 1000, silent collector", cases = 20000,
			more = ("%.1f MB at most, %.1f MB before"):format(peak / 2 ^ 20, before / 2 ^ 20) }
		assert.is_true(peak < before + 3 * 2 ^ 20, ("%d bytes, %d before"):format(peak, before))
	end)

	it("costs not much more than one without", function()
		local N = figures.sized(30000, 200000)
		local function rate(link)
			local g = start { core = link, agent = { release = true }, collector = { client_id = "idle" } }
			local collector = mqtt_collector.start { port = g.core.port, each_turn = 1000, ack_topic = link.ack_topic }
			g.core:wait_subscribed("collector", "sensors/#")
			local began = loop.now()
			lab.load("publish", g.agent.directory, { port = g.field.port, topic = "sensors/%", sensors = 5, count = N,
				window = 200 })
			loop.eventually(function()
				return line_of(g, "link", "field").received >= N and queue_of(g).messages == 0
			end, "all are through", 60)
			local seconds, cpu = loop.now() - began, g.agent:cpu_seconds()
			g.agent:stop()
			collector:kill()
			return N / seconds, cpu / N * 1e6
		end
		local plain, plain_cpu = rate { ack_timeout = "30s" }
		local acknowledged, cpu = rate(with_ack { ack_timeout = "30s" })
		figures.print { test = "throughput with ack_topic", cases = N,
			more = ("%.0f/s, %.0f us of CPU each; without it %.0f/s, %.0f us"):format(acknowledged, cpu, plain, plain_cpu) }
		assert.is_true(cpu < plain_cpu * 2) -- CPU time: how busy the machine is hardly matters
	end)

	it("is turned on and off by a reload; what awaited is sent again without an envelope", function()
		local g = start { core = { ack_timeout = "30s" } }
		g:publish_readings(1, 1)
		g.collector:wait_for(1)
		local plain = g.config.links.core
		g.config.links.core = with_ack { url = plain.url, default = true, ack_timeout = "30s" }
		g.agent:configure(g.config)
		assert.equal(0, (g.agent:command("reload")))
		g.core:wait_subscribed("gw-core", ACKS)
		g:publish_readings(2, 3)
		local list = wait_envelopes(g, 2)
		acknowledge(g, list[1].instance, list[1].seq)
		loop.eventually(function()
			return queue_of(g).messages == 1
		end, "one of them is acknowledged")
		g.config.links.core = plain
		g.agent:configure(g.config)
		assert.equal(0, (g.agent:command("reload")))
		loop.eventually(function()
			local messages = g.collector.messages
			return messages[#messages].payload == "r3"
		end, "the other goes out once more")
		wait_empty(g)
		assert.equal(1, g.core:connections("gw-core"))
	end)
end)
