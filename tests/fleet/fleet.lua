--- `make fleet`: many gateways, one cluster.
--
-- On this machine: three nodes of RabbitMQ, a broker of the sensors, gateways with rules, a
-- load of readings, and two collectors that share one queue of the cluster. The gateways lose
-- the cluster and come back, without jitter and with it; some are killed; and while they
-- deliver what has gathered, so is the node that everything goes through. What every sensor
-- got an acknowledgement for is held against what the collectors have. Prints figures, keeps
-- them as lines of JSON, and holds the simulation's prediction against them. Settings:
--
--	FLEET_AGENTS=50    gateways
--	FLEET_SECONDS=20   of each measurement; the outages last as long
--	FLEET_RATE=2       readings a second and gateway
--	FIGURES=...        the file of figures (build/fleet/figures.jsonl)
--
-- Exit status 1 if a reading that was acknowledged did not arrive, or a prediction is out of
-- its bound.
package.path = "tests/?.lua;" .. package.path

local uv = require "luv"
local file = require "lib.file"
local loop = require "lib.loop"
local agents = require "fleet.agents"
local clusters = require "fleet.cluster"
local collections = require "fleet.collection"
local figures = require "fleet.figures"
local prediction = require "fleet.prediction"
local lab = require "bench.lab"

local AGENTS = math.tointeger(os.getenv("FLEET_AGENTS") or 50)
local SECONDS = tonumber(os.getenv("FLEET_SECONDS") or 20)
local RATE = tonumber(os.getenv("FLEET_RATE") or 2)
local FIGURES = os.getenv("FIGURES") or "build/fleet/figures.jsonl"

-- How fast a gateway's backlog leaves where agent.lua says so: more than comes in.
local DRAIN_RATE = RATE * 2.5
local IN_ORDER = ""
local LIVE_FIRST = ('order = "live-first", rate = %g'):format(DRAIN_RATE)

-- An outage too short for a backlog: what is seen then is connecting, nothing else.
local BLIP_SECONDS = 0.2
local OFF_BEAT_SECONDS = 2
-- A connection counts as stable after five: then the backoff begins anew.
local STABLE_SECONDS = 6
-- Of what has gathered, so much has arrived when the node is killed.
local KILLED_AT = 0.4
-- One gateway in so many is killed.
local KILLED_GATEWAYS = 20
-- For everything to come back.
local PATIENCE = 180

local now = collections.now

local function say(...)
	print((...):format(select(2, ...)))
	io.stdout:flush()
end

-- ---- the scene ----

local function wait_subscribed(scene, n)
	local subscribed = loop.run_until(function()
		lab.sleep(0.2)
		local seen, count = {}, 0
		for gateway in file.read(scene.field.log_path):gmatch("(gw%-%d+)%-field %d field/") do
			count = count + (seen[gateway] and 0 or 1)
			seen[gateway] = true
		end
		return count >= n
	end, PATIENCE)
	if not subscribed then
		lab.fail("not all gateways have subscribed after %d seconds", PATIENCE)
	end
end

-- Starts it all; the gateways without jitter.
local function build()
	local directory = file.directory()
	local scene = { directory = directory, figures = figures.create(FIGURES), cluster = clusters.start(directory),
		field = lab.broker(directory, "field") }
	local mqtt, amqp = {}, {}
	for i, node in ipairs(scene.cluster.nodes) do
		mqtt[i], amqp[i] = node.mqtt_port, node.amqp_port
	end
	scene.collection = collections.start(directory, 2, clusters.queue, amqp)
	if not loop.run_until(function() return scene.collection:ready() end, PATIENCE) then
		lab.fail("the collectors cannot connect")
	end
	local allocated = scene.cluster:allocated()
	scene.fleet = agents.make(directory, AGENTS, scene.field.port, mqtt, IN_ORDER)
	scene.started = now()
	scene.fleet:start({ LD_PRELOAD = lab.program("NO_JITTER", "build/no_jitter.so") })
	scene.fleet:wait_up(scene.started, PATIENCE)
	wait_subscribed(scene, AGENTS)
	scene.connection_bytes = (scene.cluster:allocated() - allocated) / AGENTS
	scene.record = directory .. "/acknowledged"
	scene.load = lab.load("publish", directory, { port = scene.field.port, topic = "field/%/reading", sensors = AGENTS,
		rate = AGENTS * RATE, progress = 100, record = scene.record })
	return scene
end

-- Waits until every reading up to the `n`-th has arrived; raises if that takes too long.
local function await_readings(scene, n)
	local function complete()
		return scene.collection:catch_up() and scene.collection.whole >= n
	end
	if not loop.run_until(complete, PATIENCE) then
		lab.fail("reading %d has not arrived %d seconds later", scene.collection.whole + 1, PATIENCE)
	end
end

-- ---- what is measured ----

-- Seconds from when a reading was sent until a collector had it.
local function ages(readings)
	local list = {}
	for i, reading in ipairs(readings) do
		list[i] = reading.arrived - reading.sent
	end
	return list
end

local function arrivals(readings)
	local list = {}
	for i, reading in ipairs(readings) do
		list[i] = reading.arrived
	end
	return list
end

-- When each gateway delivered something fresh for the first time; sorted, in seconds after `since`.
local function current(readings, since)
	local first, list = {}, {}
	for _, reading in ipairs(readings) do
		local gateway = (reading.n - 1) % AGENTS
		local age = reading.arrived - reading.sent
		if not first[gateway] and age < prediction.current_seconds then
			first[gateway] = true
			list[#list + 1] = reading.arrived - since
		end
	end
	return list
end

local function load_average()
	return (uv.loadavg())
end

-- Everything is well and nothing waits: what does a gateway cost, what the cluster?
local function measure_steady(scene)
	lab.sleep(3)
	local from, usage, cluster = now(), scene.fleet:usage(), scene.cluster:usage()
	lab.sleep(SECONDS)
	local till, after, cluster_after = now(), scene.fleet:usage(), scene.cluster:usage()
	lab.sleep(1)
	scene.collection:catch_up()
	local readings = scene.collection:between(from, till)
	local seconds = till - from
	local cpu = figures.minus(after.cpu, usage.cpu)
	local line = scene.figures:add("steady", {
		agents = AGENTS, seconds = seconds, load = load_average(), rate = #readings / seconds,
		agent_cpu_ms = figures.median(cpu) / seconds * 1000,
		agent_cpu_ms_most = figures.percentile(cpu, 100) / seconds * 1000,
		agent_pss_kb = figures.median(after.pss), agent_rss_kb = figures.median(after.rss),
		agent_rss_kb_most = figures.percentile(after.rss, 100), agent_own_kb = figures.median(after.own),
		agent_written = figures.median(figures.minus(after.written, usage.written)) / seconds,
		latency_ms = figures.median(ages(readings)) * 1000, latency_ms_99 = figures.percentile(ages(readings), 99) * 1000,
		cluster_cpu = (cluster_after.cpu - cluster.cpu) / seconds, cluster_mb = cluster_after.memory / 1e6,
		connection_kb = scene.connection_bytes / 1000,
	})
	say("\nsteady: %d gateways, %.0f readings/s for %.0f s; load average %.1f", AGENTS, line.rate, seconds, line.load)
	say("  a gateway   %.1f ms CPU a second (at most %.1f), %.1f MB resident (at most %.1f), %.1f MB of that shared out, "
		.. "%.1f MB its own; %.0f bytes/s to disk", line.agent_cpu_ms, line.agent_cpu_ms_most, line.agent_rss_kb / 1024,
		line.agent_rss_kb_most / 1024, line.agent_pss_kb / 1024, line.agent_own_kb / 1024, line.agent_written)
	say("  the cluster %.2f of a core, %.0f MB in three nodes, %.0f KB a connection", line.cluster_cpu, line.cluster_mb,
		line.connection_kb)
	say("  a reading   %.0f ms from sensor to collector, 99th percentile %.0f ms", line.latency_ms, line.latency_ms_99)
end

-- At least so many seconds, but not when those without jitter try again: then chance would decide
-- whether they come back at once or a whole backoff later.
local function off_beat(seconds)
	local attempt, rounds = 0, 0
	while attempt < seconds + OFF_BEAT_SECONDS do
		attempt, rounds = attempt + math.min(agents.reconnect.max, agents.reconnect.min * 2 ^ rounds), rounds + 1
		if math.abs(attempt - seconds) < OFF_BEAT_SECONDS then
			return attempt + OFF_BEAT_SECONDS
		end
	end
	return seconds
end

-- The cluster is away. Returns when it was lost.
local function outage(scene, seconds, meanwhile)
	lab.sleep(STABLE_SECONDS)
	local lost = now()
	scene.cluster:close()
	lab.sleep(seconds / 2)
	if meanwhile then
		meanwhile()
	end
	lab.sleep(math.max(0, lost + seconds - now()))
	return lost
end

-- What had gathered when each gateway came up: how many readings, and when the last of them arrived.
local function backlog_of(readings, opened, firsts)
	local count, drained = 0, opened
	for _, reading in ipairs(readings) do
		if reading.sent < firsts[(reading.n - 1) % AGENTS + 1] then
			count, drained = count + 1, math.max(drained, reading.arrived)
		end
	end
	return count, drained
end

-- What came after the cluster was back: connections and readings.
local function tell_storm(scene, name, lost, opened, firsts, ups)
	local readings = scene.collection:between(opened, now())
	local backlog, drained = backlog_of(readings, opened, firsts)
	local fresh = current(readings, opened)
	local usage = scene.fleet:usage()
	local line = scene.figures:add(name, {
		agents = AGENTS, outage = opened - lost, load = load_average(),
		half_up = figures.median(ups) - opened, all_up = ups[#ups] - opened, span = ups[#ups] - ups[1],
		peak = figures.most_within(ups, 1), peak_tenth = figures.most_within(ups, 0.1), connects = figures.pace(ups, 5),
		backlog = backlog, drained = drained - opened, half_current = figures.median(fresh) or 0,
		all_current = fresh[#fresh] or 0,
		-- Until the backlog is away; afterwards there is only what comes in.
		messages = backlog > 0 and figures.pace(arrivals(scene.collection:between(opened, drained)), 10) or 0,
		agent_rss_kb = figures.median(usage.rss), agent_rss_kb_most = figures.percentile(usage.rss, 100),
	})
	say("\n%s: %.1f s without the cluster; load average %.1f", name:gsub("_", " "), line.outage, line.load)
	say("  back        half after %.2f s, all after %.2f s, between the first and the last %.2f s; at most %d within a " ..
		"second, %d within a tenth", line.half_up, line.all_up, line.span, line.peak, line.peak_tenth)
	say("  backlog     %d readings, all arrived after %.2f s, at %.0f a second; half of the gateways fresh after " ..
		"%.2f s, all after %.2f s", line.backlog, line.drained, line.messages, line.half_current, line.all_current)
	return line
end

local function measure_storm(scene, name, seconds)
	local lost = outage(scene, seconds)
	scene.cluster:open()
	local opened = now()
	local firsts, ups = scene.fleet:wait_up(lost, PATIENCE)
	-- What the last one has gathered until then leaves at its own rate.
	await_readings(scene, scene.load:progress().sent)
	lab.sleep(1)
	scene.collection:catch_up()
	tell_storm(scene, name, lost, opened, firsts, ups)
end

-- The longest that collectors got nothing after `since`, in seconds.
local function longest_silence(scene, since)
	local silence, last = 0, since
	for _, reading in ipairs(scene.collection:between(since, now())) do
		silence, last = math.max(silence, reading.arrived - last), reading.arrived
	end
	return silence
end

-- One gateway in twenty is killed while the cluster is away, and the node that leads the queue
-- while the backlog comes in.
local function measure_kill(scene, seconds)
	local victims = math.max(1, AGENTS // KILLED_GATEWAYS)
	local lost = outage(scene, seconds, function()
		for i = 1, victims do
			scene.fleet:kill(i * (AGENTS // victims))
		end
	end)
	local sent, before = scene.load:progress().sent, scene.collection:catch_up()
	local leader = scene.cluster:leader()
	local other = leader % #scene.cluster.nodes + 1
	scene.cluster:open()
	local opened = now()
	loop.run_until(function()
		return scene.collection:catch_up() >= before + (sent - before) * KILLED_AT
	end, PATIENCE)
	local clients, collectors = scene.cluster:clients(leader), scene.collection:on(scene.cluster.nodes[leader].amqp_port)
	local arrived = scene.collection:catch_up() - before
	local killed = now()
	scene.cluster:kill(leader)
	await_readings(scene, sent)
	local firsts, ups = scene.fleet:wait_up(lost, PATIENCE)
	await_readings(scene, scene.load:progress().sent)
	local failovers = scene.fleet:failovers(killed)
	tell_storm(scene, "node_killed", lost, opened, firsts, ups)
	local silence = longest_silence(scene, killed)
	local copies = scene.cluster:copies(other)
	scene.cluster:revive(leader)
	local line = scene.figures:add("kill", {
		gateways = victims, arrived = arrived, waiting = sent - before - arrived, node = leader, clients = clients,
		collectors = collectors, silence = silence, failed_over = #failovers, failover = figures.median(failovers) or 0,
		failover_most = failovers[#failovers] or 0, copies = copies, copies_after = scene.cluster:copies(leader),
	})
	say("  killed      %d gateways; and with %d of the backlog in and %d to come, node %d, which led the queue and had " ..
		"%d gateways and %d of the collectors", victims, line.arrived, line.waiting, leader, clients, collectors)
	say("  then        no reading for %.2f s; %d gateways went to another node, half within %.2f s, all within %.2f s",
		silence, line.failed_over, line.failover, line.failover_most)
	say("  the node    left %d of 3 copies of the queue, started again, and there are %d", line.copies, line.copies_after)
end

-- ---- the verdict ----

-- Holds every acknowledgement against what arrived. Returns whether nothing is missing.
local function judge(scene)
	local result = scene.load:stop()
	loop.run_until(function() return scene.collection:catch_up() and scene.collection.whole >= result.sent end, PATIENCE)
	local acknowledged, lost = 0, 0
	for text in file.read(scene.record):gmatch("[^\n]+") do
		acknowledged = acknowledged + 1
		lost = lost + (scene.collection.arrived[math.tointeger(text)] and 0 or 1)
	end
	local shares = scene.collection:shares()
	local line = scene.figures:add("verdict", { acknowledged = acknowledged, lost = lost, twice = scene.collection.twice,
		received = scene.collection.received, summaries = scene.collection.summaries, first = shares[1], second = shares[2] })
	say("\n%d readings acknowledged to their sensors, %d lost, %d came twice; %d summaries; the collectors took %d and %d",
		acknowledged, lost, line.twice, line.summaries, shares[1], shares[2])
	return lost == 0 and acknowledged > 0 and acknowledged == result.acknowledged
end

lab.main(function()
	local begun = loop.now()
	say("%d gateways, %g readings/s each; %s, %d cores, Linux %s; load average before: %.1f", AGENTS, RATE,
		uv.cpu_info()[1].model, #uv.cpu_info(), uv.os_uname().release, load_average())
	local scene = build()
	scene.figures:add("setting", { agents = AGENTS, rate = RATE, seconds = SECONDS, drain_rate = DRAIN_RATE,
		reconnect_min = agents.reconnect.min, reconnect_max = agents.reconnect.max, urls = #scene.cluster.nodes })
	measure_steady(scene)
	measure_storm(scene, "blip_without_jitter", BLIP_SECONDS)
	measure_storm(scene, "outage_without_jitter", off_beat(SECONDS))
	scene.fleet:stop()
	local restarted = now()
	scene.fleet:start({})
	scene.fleet:wait_up(restarted, PATIENCE)
	await_readings(scene, scene.load:progress().sent)
	measure_storm(scene, "blip_with_jitter", BLIP_SECONDS)
	scene.fleet:reload(LIVE_FIRST)
	measure_storm(scene, "outage_with_jitter", off_beat(SECONDS))
	scene.fleet:reload(IN_ORDER)
	measure_kill(scene, SECONDS)
	local well = judge(scene)
	say("")
	well = prediction.check(figures.load(FIGURES), say) and well
	say("")
	prediction.larger(figures.load(FIGURES), say)
	say("\n%.0f seconds in all; figures in %s", loop.now() - begun, FIGURES)
	return well and 0 or 1
end)
