--- What is asked of every broker, and of every client as a sensor and as a collector. A scenario passes if it sees what
-- the standard says; otherwise it raises an error whose message says what it saw instead. What it returns, if anything,
-- is a figure for the table.
local loop = require "lib.loop"
local scenes = require "interop.scene"
local watches = require "lib.watch"

local M = {}

-- Each: a key, a title, what runs, of whom it is asked, and with `version = 5` that it is about MQTT 5.
local function add(key, title, roles, run, version)
	local asked = {}
	for role in roles:gmatch("%a+") do
		asked[role] = true
	end
	M[#M + 1] = { key = key, title = title, of = asked, run = run, version = version }
end

--- Those that are asked of the brokers ("broker"), of clients as "sensor" or as "collector".
function M.of(role)
	local list = {}
	for _, scenario in ipairs(M) do
		list[#list + 1] = scenario.of[role] and scenario or nil
	end
	return list
end

local function pass(seconds)
	loop.run_until(function() end, seconds)
end

-- The newest version that the broker speaks.
local function newest(broker)
	return broker.kind.lacks and broker.kind.lacks.v5 and "3.1.1" or "5"
end

for key, version in pairs { connect3 = "3.1", connect4 = "3.1.1", connect5 = "5" } do
	add(key, "connects with MQTT " .. version, "broker sensor collector", function(broker)
		local s = scenes.new(broker, { version = version })
		s:publish(1, 1)
		s:check(1)
	end, version == "5" and 5)
end
table.sort(M, function(a, b) return a.key < b.key end)

for qos = 0, 2 do
	add("qos" .. qos, ("QoS %d, in and out"):format(qos), "broker sensor collector", function(broker)
		local s = scenes.new(broker, { qos = qos })
		s:publish(1, 100, qos)
		s:check(100, { qos = qos })
	end)
end

add("order", "readings arrive in order", "broker sensor collector", function(broker)
	local s = scenes.new(broker)
	s:publish(1, 500)
	s:check(500, { order = true })
end)

add("retained_in", "the agent takes what was retained before it came", "broker sensor", function(broker)
	local s = scenes.new(broker, { idle = true })
	s.sensor:publish(s:topic("in/before"), "old", { retain = true })
	s:start()
	assert(loop.run_until(function() return s:arrived("before")[1] end, 5), "a retained message did not come")
end)

add("retained_out", "publishes retained messages, and clears them", "broker sensor collector", function(broker)
	local s = scenes.new(broker)
	local topic = s:topic("out/kept")
	s.sensor:publish(s:topic("in/kept"), "new")
	s:await_message("kept")
	local late = s:connect("collector"):subscribe(topic, 1)
	assert(loop.run_until(function() return late.messages[1] end, 5), "a retained message did not come")
	assert(late.messages[1].retain, "it came without the retain flag")
	s.sensor:publish(s:topic("in/kept"), "")
	loop.eventually(function() return s:arrived("kept")[2] end, "the message that clears")
	local last = s:connect("collector"):subscribe(topic, 1)
	s.sensor:publish(topic, "fresh")
	loop.eventually(function() return last.messages[1] end, "a fresh message")
	assert(last.messages[1].payload == "fresh", "it was not cleared")
end)

add("will", "the agent leaves its will when it dies, none when it stops", "broker collector", function(broker)
	local s = scenes.new(broker, { idle = true })
	s.config.links.core.will = { topic = s:topic("out/status"), payload = "gone", qos = 1 }
	s.agent:configure(s.config)
	s:start()
	s.agent:kill()
	assert(loop.run_until(function() return s:arrived("status")[1] end, 5), "its will did not come")
	s:start()
	s.agent:stop()
	s.sensor:publish(s:topic("out/end"), "end")
	s:await_message("end")
	assert(#s:arrived("status") == 1, "its will came although it said goodbye")
end)

add("session", "the agent gets what came while it was away", "broker sensor", function(broker)
	local s = scenes.new(broker)
	s.agent:stop()
	s:publish(1, 50)
	s.agent:start()
	s:check(50)
end)

add("session_order", "the agent gets it in order", "broker", function(broker)
	local s = scenes.new(broker)
	s.agent:stop()
	s:publish(1, 200)
	s.agent:start()
	s:check(200, { order = true })
end)

add("restart", "sessions survive a restart of the broker", "broker collector", function(broker)
	local s = scenes.new(broker)
	s.agent:stop()
	s:publish(1, 50)
	s.collector:drop()
	broker:stop()
	broker:start()
	s.agent:start()
	s.collector:reconnect()
	s:check(50)
end)

-- Readings flow, then the broker ends and comes back.
local function goes_on(broker, how)
	local s = scenes.new(broker)
	s:publish(1, 50)
	s:check(50)
	broker[how](broker)
	broker:start()
	s.sensor:reconnect()
	s.collector:reconnect()
	s.collector:subscribe(s:topic("out/#"), 1)
	s:await_flow()
	s:publish(51, 100)
	s:check(100)
end

add("under_way", "everybody goes on when the broker restarts", "broker sensor collector", function(broker)
	goes_on(broker, "stop")
end)

add("killed", "everybody goes on when the broker was killed", "broker sensor collector", function(broker)
	goes_on(broker, "kill")
end)

add("wildcards", "wildcards match what they should", "broker sensor", function(broker)
	local s = scenes.new(broker, { subscribe = { "in/+/temp", "in/more/#" }, idle = true })
	s.agent:start()
	s:await_flow("probe/temp")
	local wanted = { "a/temp", "more", "more/x/y", "/temp" }
	for _, rest in ipairs { "a/temp", "a/b/temp", "temp", "more", "moreover", "more/x/y", "/temp", "end/temp" } do
		s.sensor:publish(s:topic("in/" .. rest), "x")
	end
	s:await_message("end/temp")
	pass(0.2) -- for whoever is not in order
	for _, rest in ipairs(wanted) do
		assert(s:arrived(rest)[1], "nothing came on " .. rest)
	end
	for _, rest in ipairs { "a/b/temp", "temp", "moreover" } do
		assert(not s:arrived(rest)[1], "a message came on " .. rest)
	end
end)

-- Waits until `n` messages have come to one of two, and checks that each has come to one only.
local function check_shares(n, first, second)
	loop.run_until(function() return #first() + #second() >= n end, 10)
	local seen = {}
	for _, list in ipairs { first(), second() } do
		for _, message in ipairs(list) do
			seen[message.payload] = (seen[message.payload] or 0) + 1
		end
	end
	for i = 1, n do
		assert(seen[tostring(i)], "some messages came to nobody")
		assert(seen[tostring(i)] == 1, "some messages came to both")
	end
end

add("shared", "a shared subscription gives each message to the agent or to another", "broker", function(broker)
	local s = scenes.new(broker, { version = newest(broker), subscribe = { "$share/group/in/#" } })
	local other = s:connect("another"):subscribe(s:topic("$share/group/in/#"), 1)
	s:publish(1, 60)
	check_shares(60, function() return other.messages end, function() return s:arrived("r") end)
	return ("%d to the agent, %d to the other"):format(#s:arrived("r"), #other.messages)
end)

add("large", "a payload of 1 MB", "broker sensor collector", function(broker)
	local s = scenes.new(broker)
	local bytes = {}
	for i = 1, 1 << 17 do
		bytes[i] = string.pack("<I8", i * 0x9e3779b97f4a7c15)
	end
	local payload = table.concat(bytes)
	s.sensor:publish(s:topic("in/large"), payload)
	assert(s:await_message("large").payload == payload, "it came with other bytes")
end)

add("tls", "the agent's TLS, and none with a broker that it cannot verify", "broker", function(broker)
	local secure = { url = "mqtts://localhost:" .. broker.tls_port, tls = { ca = broker.certs.ca } }
	local s = scenes.new(broker, { field = secure })
	s:publish(1, 10)
	s:check(10)
	s.agent:stop()
	s = scenes.new(broker, { core = secure })
	s:publish(1, 10)
	s:check(10)
	s.agent:stop()
	s.config.links.core.tls = { ca = broker.certs.other_ca }
	s.agent:configure(s.config)
	s.agent:start()
	s.agent:wait_log("link core: cannot connect[^\n]*certificate")
end)

add("password", "the agent's user name and password, and none with a wrong one", "broker", function(broker)
	local url = "mqtt://127.0.0.1:" .. broker:password_port()
	local keys = { url = url, username = "joe", password = "secret" }
	local s = scenes.new(broker, { field = keys, core = keys })
	s:publish(1, 10)
	s:check(10)
	s.agent:stop()
	s.config.links.core.password = "wrong"
	s.agent:configure(s.config)
	s.agent:start()
	local reason = s.agent:wait_log("link core: cannot connect to [^:]+:%d+: ([^\n]-); retry")
	return "“" .. reason .. "”"
end)

add("properties", "properties pass through", "broker sensor collector", function(broker)
	local s = scenes.new(broker, { version = "5" })
	local properties = { content_type = "text/csv", response_topic = "answers", correlation = "\255\1\2",
		payload_format = 1, user_property = { { "site", "north" }, { "line", "4" }, { "site", "again" } } }
	s.sensor:publish(s:topic("in/p"), "1,2", { properties = properties })
	local got = s:await_message("p").properties
	for _, name in ipairs { "content_type", "response_topic", "correlation", "payload_format" } do
		assert(got[name] == properties[name], name .. " got lost")
	end
	local user = {}
	for i, pair in ipairs(got.user_property or {}) do
		user[i] = pair[1] .. "=" .. pair[2]
	end
	user = table.concat(user, " ")
	assert(user == "site=north line=4 site=again", "user properties come as " .. user)
end, 5)

add("session_expiry", "the agent's session ends when it has expired, not before", "broker", function(broker)
	local s = scenes.new(broker, { version = "5", field = { session_expiry = "1h" } })
	s.agent:stop()
	s:publish(1, 5)
	s.agent:start()
	s:check(5)
	s.agent:stop()
	s.config.links.field.session_expiry = "1s"
	s.agent:configure(s.config)
	s:start()
	s.agent:stop()
	pass(2.5)
	s:publish(6, 10)
	s:start()
	assert(#s:arrived("r") == 5, "what came after the session had expired was kept")
end, 5)

-- What each side has on its way at most while 500 readings pass, of which most wait for a while.
local function most_under_way(broker)
	local s = scenes.new(broker, { version = "5", field = { receive_maximum = 5 }, core = { window = 1000 } })
	s.uplink.cut() -- now acknowledgements wait for a commit
	s:publish(1, 500)
	s.uplink.restore()
	s:check(500)
	local limit = 65535
	for _, connack in ipairs(s.core.of("connack")) do
		limit = connack.properties.receive_maximum or limit
	end
	return s.field.most.down, s.core.most.up, limit
end

add("receive_maximum", "the broker has no more on its way than the agent takes", "broker", function(broker)
	local most = most_under_way(broker)
	assert(most > 1, "it sends one after another")
	assert(most <= 5, ("%d are on their way, of 5"):format(most))
	return ("%d of 5"):format(most)
end, 5)

add("window", "the agent has no more on its way than the broker takes", "broker", function(broker)
	local _, most, limit = most_under_way(broker)
	assert(most > 1, "it sends one after another")
	assert(most <= limit, ("%d are on their way, of %d"):format(most, limit))
	return ("%d of %d"):format(most, limit)
end, 5)

add("message_expiry", "messages expire in the queue; the rest goes on", "broker sensor collector", function(broker)
	local s = scenes.new(broker, { version = "5" })
	s.uplink.cut()
	local taken = #s.field.of("puback", "up")
	s.sensor:publish(s:topic("in/short"), "x", { properties = { message_expiry = 1 } })
	s.sensor:publish(s:topic("in/long"), "x", { properties = { message_expiry = 100 } })
	loop.eventually(function() return #s.field.of("puback", "up") >= taken + 2 end, "the agent takes them")
	pass(2.2)
	s.uplink.restore()
	local left = s:await_message("long").properties.message_expiry
	assert(left, "the time that is left was not passed on")
	assert(left <= 98 and left > 60, ("%d s are left of 100 after 2"):format(left))
	assert(not s:arrived("short")[1], "an expired message came")
end, 5)

-- One message of a hundred is refused.
local REFUSED = [[
function on_message(topic, payload, msg)
	local tag, rest = topic:match("^([^/]+)/in/(.*)$")
	mqtt.pub(payload == "50" and "denied/x" or tag .. "/out/" .. rest, payload, { link = "core", qos = msg.qos })
end
]]

local function refused(broker, version)
	local s = scenes.new(broker, { version = version, script = REFUSED })
	s:publish(1, 100)
	local passed = loop.run_until(function()
		local numbers, left = {}, 99
		for _, message in ipairs(s:arrived("r")) do
			left = left - (numbers[message.payload] and 0 or 1)
			numbers[message.payload] = true
		end
		return left == 0
	end, 30)
	assert(passed, "what is behind the refused message does not get through")
	local log = s.agent:log()
	local hangups = select(2, log:gsub("link core: lost ", ""))
	return log:match("rejected: [^\n\"]+") or hangups > 0 and ("it hangs up %d times"):format(hangups) or
		"it acknowledges, and drops"
end

add("refused4", "a refused publish does not stop the rest, MQTT 3.1.1", "broker", function(broker)
	return refused(broker, "3.1.1")
end)

add("refused5", "a refused publish does not stop the rest, MQTT 5", "broker", function(broker)
	return refused(broker, "5")
end, 5)

add("outage", "an outage with 10,000 readings waiting", "broker sensor", function(broker)
	local s = scenes.new(broker)
	s.uplink.cut()
	s:publish(1, 10000)
	s.agent:kill() -- for good measure
	s.agent:start()
	s.uplink.restore()
	local started = loop.now()
	s:check(10000)
	return ("%.1f s to drain"):format(loop.now() - started)
end)

-- ---- of clients: as a sensor or a collector, with a broker that does what the standard says ----

-- Checks that another one like this does not get in.
local function check_kept_out(s, options)
	local ok, reason = pcall(s.peer, s, options)
	assert(not ok, "it got in")
	assert(reason:find("refused by the broker", 1, true), reason)
end

add("client_tls", "its TLS, and none with a broker that it cannot verify", "sensor collector", function(broker)
	local s = scenes.new(broker)
	s:replace { ca = broker.certs.ca }
	s:publish(1, 10)
	s:check(10)
	check_kept_out(s, { ca = broker.certs.other_ca })
end)

add("client_password", "its user name and password, and none with a wrong one", "sensor collector", function(broker)
	local s = scenes.new(broker)
	s:replace { username = "joe", password = "secret" }
	s:publish(1, 10)
	s:check(10)
	check_kept_out(s, { username = "joe", password = "wrong" })
end)

add("client_will", "its will comes when it dies, not when it says goodbye", "sensor", function(broker)
	local s = scenes.new(broker)
	local will = { topic = s:topic("in/will"), payload = "gone", qos = 1 }
	s:peer({ will = will }):close()
	s:peer({ will = will }):drop()
	assert(s:await_message("will").payload == "gone", "it has another payload")
	s.sensor:publish(s:topic("in/end"), "end")
	s:await_message("end")
	assert(#s:arrived("will") == 1, "its will came although it said goodbye")
end)

add("client_buffers", "what it publishes while the broker is away comes later", "sensor", function(broker)
	local s = scenes.new(broker)
	broker:stop()
	for i = 1, 100 do
		s.sensor:post(s:topic("in/r"), tostring(i))
	end
	broker:start()
	s.sensor:reconnect()
	s.collector:reconnect()
	s:await_flow()
	s:check(100, { order = true })
end)

add("client_window", "it has no more on its way than the broker takes", "sensor", function(broker)
	local s = scenes.new(broker, { version = "5" })
	local watch = watches.start(broker:port(5))
	s:replace { port = watch.port }
	local started = loop.now()
	s:publish(1, 500)
	local seconds = loop.now() - started
	s:check(500)
	local limit = watch.of("connack")[1].properties.receive_maximum or 65535
	assert(watch.most.up <= limit, ("%d are on their way, of %d"):format(watch.most.up, limit))
	return ("%d of %d, 500 in %.1f s"):format(watch.most.up, limit, seconds)
end, 5)

local function client_refused(broker, version)
	local s = scenes.new(broker, { version = version })
	s:publish(1, 50)
	local ok, answer = pcall(s.sensor.publish, s.sensor, "denied/x", "x")
	s.sensor:reconnect()
	s:publish(51, 100)
	s:check(100)
	return ok and answer.code or nil
end

add("client_refused4", "a message of its that is refused does not stop the rest, MQTT 3.1.1", "sensor", function(broker)
	client_refused(broker, "3.1.1")
end)

add("client_refused5", "a message of its that is refused does not stop the rest, and it says so, MQTT 5", "sensor",
	function(broker)
		assert(client_refused(broker, "5") == 135, "it does not say that the message was refused")
	end, 5)

add("client_wildcards", "its wildcards match what they should", "collector", function(broker)
	local s = scenes.new(broker)
	local peer = s:peer():subscribe(s:topic("out/+/temp"), 1):subscribe(s:topic("out/more/#"), 1)
	for _, rest in ipairs { "a/temp", "a/b/temp", "temp", "more", "moreover", "more/x/y", "/temp", "end/temp" } do
		s.sensor:publish(s:topic("in/" .. rest), "x")
	end
	local wanted = s:topic("out/end/temp")
	loop.eventually(function() return #peer.messages > 0 and peer.messages[#peer.messages].topic == wanted end, "the last")
	local seen = {}
	for i, message in ipairs(peer.messages) do
		seen[i] = message.topic:sub(#s:topic("out/") + 1)
	end
	assert(table.concat(seen, " ") == "a/temp more more/x/y /temp end/temp", table.concat(seen, " "))
end)

add("client_shared", "two of them share a subscription", "collector", function(broker)
	local s = scenes.new(broker, { version = "5" })
	local one, two = s:peer(), s:peer()
	one:subscribe(s:topic("$share/group/out/r"), 1)
	two:subscribe(s:topic("$share/group/out/r"), 1)
	s:publish(1, 60)
	check_shares(60, function() return one.messages end, function() return two.messages end)
	return ("%d and %d"):format(#one.messages, #two.messages)
end, 5)

add("client_session_expiry", "its session ends when it has expired, not before", "collector", function(broker)
	local s = scenes.new(broker, { version = "5" })
	s:replace { client_id = "x-" .. s.tag, clean = false, properties = { session_expiry = 3600 } }
	s.collector:drop()
	s:publish(1, 5)
	s.collector:reconnect()
	s:check(5)
	s:replace { client_id = "y-" .. s.tag, clean = false, properties = { session_expiry = 1 } }
	s.collector:drop()
	pass(2.5)
	s:publish(6, 10)
	s.collector:reconnect()
	s.collector:subscribe(s:topic("out/#"), 1)
	s:await_flow()
	assert(#s:arrived("r") == 0, "what came after the session had expired was kept")
end, 5)

add("client_receive_maximum", "it says how many it takes at a time, and gets all", "collector", function(broker)
	local s = scenes.new(broker, { version = "5" })
	local watch = watches.start(broker:port(5))
	s:replace { port = watch.port, properties = { receive_maximum = 5 } }
	s:publish(1, 500)
	s:check(500, { order = true })
	assert(watch.of("connect")[1].properties.receive_maximum == 5, "it says something else")
end, 5)

add("client_outage", "10,000 readings wait for it while it is away", "collector", function(broker)
	local s = scenes.new(broker)
	s.collector:drop()
	s:publish(1, 10000)
	local started = loop.now()
	s.collector:reconnect()
	s:check(10000, { order = true })
	return ("%.1f s to drain"):format(loop.now() - started)
end)

return M
