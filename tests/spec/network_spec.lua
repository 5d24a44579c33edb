--- Networks as they are: brokers that restart, hotels' networks, satellites, modems,
-- routers that forget. Under load, with the producer's record as the oracle.
local cleanup = require "lib.cleanup"
local client = require "lib.client"
local figures = require "torture.figures"
local loop = require "lib.loop"
local need = require "lib.need"
local net = require "lib.net"
local proc = require "lib.proc"
local scenes = require "torture.scene"

local function nobody()
end

-- Sends what is no reading through a broker, and waits until the collector has got `n` of those: the broker holds
-- nothing any more that it had before.
local function flush(scene, broker, n)
	local sensor = client.connect(broker.port)
	sensor:publish("sensors/last", "x")
	sensor:close()
	loop.eventually(function() return scene.collector:progress().foreign >= n end, "all before it is collected", 30)
end

local quick = { reconnect = { min = "50ms", max = "200ms" } }

-- A pause of the line, which is in this process, is no reason to connect again and to send twice.
local patient = { reconnect = quick.reconnect, keepalive = "60s", ack_timeout = "10s" }

local function start(options)
	options = options or {}
	options.field, options.core = options.field or quick, options.core or quick
	return scenes.start(options)
end

describe("a broker that restarts:", function()
	it("both keep their sessions", function()
		local scene, rounds = start(), figures.sized(1, 20)
		scene:publish { rate = 2000 }
		for _ = 1, rounds do
			scene:wait_progress(500)
			scenes.restart(scene.field)
			scene:wait_progress(500)
			scenes.restart(scene.core)
		end
		scene:wait_progress(500)
		scene:judge("brokers restart, sessions kept", { cases = 2 * rounds })
	end)

	-- What a broker had acknowledged and then forgets is lost by the broker: so there is nothing when it does.
	it("both forget their sessions", function()
		local scene, rounds = start(), figures.sized(1, 20)
		scene:publish { rate = 2000 }
		for round = 1, rounds do
			scene:wait_progress(500)
			scene:pause()
			flush(scene, scene.field, 2 * round - 1)
			scenes.restart(scene.field, true)
			scene:wait_subscribed()
			scene:resume()
			scene:wait_progress(500)
			scene.core_line:cut()
			flush(scene, scene.core, 2 * round)
			scenes.restart(scene.core, true)
			scene.core:wait_subscribed("collector", nobody)
			scene.core_line:restore()
		end
		scene:wait_progress(500)
		scene:judge("brokers restart, sessions forgotten", { cases = 2 * rounds })
	end)
end)

describe("a bad line:", function()
	it("a captive portal, and then not any more", function()
		local scene, rounds = start(), figures.sized(1, 20)
		scene:publish { rate = 2000 }
		for _ = 1, rounds do
			scene:wait_progress(100)
			for _, line in ipairs { scene.core_line, scene.field_line } do
				line:cut()
				line:restore()
				line:portal(true)
			end
			scenes.go_on(1)
			scene.core_line:portal(false)
			scene.field_line:portal(false)
		end
		scene:wait_progress(100)
		scene:judge("captive portal", { cases = rounds })
	end)

	it("500 ms each way", function()
		local scene = start { core = patient }
		scene.core_line:delay(0.5)
		scene:publish { rate = 100 }
		scenes.go_on(figures.sized(2, 60))
		local result = scene:judge("delay of 500 ms, default window")
		assert.equal(0, result.duplicates)
	end)

	it("64 kbit/s", function()
		local scene = start { field = { reconnect = quick.reconnect, keepalive = "60s" }, core = patient }
		scene.core_line:speed(64000)
		scene.field_line:speed(64000)
		scene:publish { rate = 150 }
		scenes.go_on(figures.sized(2, 60))
		local result = scene:judge("64 kbit/s")
		assert.equal(0, result.duplicates)
	end)

	it("cuts in the middle of packets, both ways, again and again", function()
		local scene, cuts = start(), 0
		scene:publish { rate = 3000 }
		for _ = 1, figures.sized(8, 500) do
			for _, line in ipairs { scene.core_line, scene.field_line } do
				local before = line.connections
				local way = math.random() < 0.5 and "up" or "down"
				line:break_after(math.random(way == (line == scene.core_line and "up" or "down") and 20000 or 400), way)
				loop.eventually(function() return line.connections > before end, "the line breaks, and there is a new one")
				cuts = cuts + 1
			end
		end
		scene:wait_progress(100)
		scene:judge("cuts in mid-packet", { cases = cuts })
	end)

	it("resets", function()
		local scene, rounds = start(), figures.sized(5, 200)
		scene:publish { rate = 3000 }
		for _ = 1, rounds do
			scene:wait_progress(200)
			for _, line in ipairs { scene.core_line, scene.field_line } do
				line:reset()
				line:restore()
			end
		end
		scene:judge("connections reset", { cases = 2 * rounds })
	end)

	it("stalls", function()
		local scene, rounds = start { core = { ack_timeout = "500ms", reconnect = quick.reconnect } }, figures.sized(1, 20)
		scene:publish { rate = 2000 }
		for _ = 1, rounds do
			scene:wait_progress(200)
			scene.core_line:stall()
			scenes.go_on(1.5)
			scene.agent:wait_log("ack_timeout")
			scene.core_line:restore()
			scene.field_line:stall()
			scenes.go_on(1.5)
			scene.field_line:restore()
		end
		scene:wait_progress(200)
		scene:judge("stalls", { cases = 2 * rounds })
	end)

	it("forgets its connections, which are half-open then", function()
		local scene, rounds = start { core = { ack_timeout = "500ms", reconnect = quick.reconnect } }, figures.sized(1, 10)
		scene:publish { rate = 500 }
		for _ = 1, rounds do
			scene:wait_progress(200)
			scene.core_line:forget()
			scene:wait_progress(200)
			if figures.long then -- only pings find that: two times the keepalive of 5 s
				scene.field_line:forget()
				scene:wait_progress(1000)
			end
		end
		scene:judge("half-open connections", { cases = figures.sized(1, 2) * rounds })
	end)
end)

-- A network of two: the brokers' end is 10.213.0.1 here, the agent's 10.213.0.2 inside.
local function make_network()
	need.root()
	local name = "tidegate" .. math.random(100000, 999999)
	need.success(("ip netns add %s && ip netns exec %s nft list ruleset"):format(name, name),
		"cannot make a network namespace with a firewall")
	cleanup.defer(function() proc.output("ip netns del " .. name) end)
	need.success(table.concat({
		("ip link add %s type veth peer name agent netns %s"):format(name, name),
		("ip addr add 10.213.0.1/30 dev %s"):format(name),
		("ip link set %s up"):format(name),
		("ip -n %s addr add 10.213.0.2/30 dev agent"):format(name),
		("ip -n %s link set agent up"):format(name),
		("ip -n %s link set lo up"):format(name),
		("ip netns exec %s nft add table inet torture"):format(name),
		("ip netns exec %s nft 'add chain inet torture out { type filter hook output priority 0; }'"):format(name),
		("ip netns exec %s nft 'add chain inet torture in { type filter hook input priority 0; }'"):format(name),
	}, " && "), "cannot make a virtual network")
	local network = {}
	function network.wrap(argv)
		return table.move(argv, 1, #argv, 5, { "ip", "netns", "exec", name })
	end
	function network.drop(port)
		proc.output(("ip netns exec %s nft add rule inet torture out tcp dport %d drop"):format(name, port))
		proc.output(("ip netns exec %s nft add rule inet torture in tcp sport %d drop"):format(name, port))
	end
	function network.pass()
		proc.output(("ip netns exec %s nft flush chain inet torture out"):format(name))
		proc.output(("ip netns exec %s nft flush chain inet torture in"):format(name))
	end
	return network
end

describe("a firewall that drops packets:", function()
	it("nobody is told, and nothing is lost", function()
		local network, rounds = make_network(), figures.sized(1, 10)
		local field, core = net.free_port(), net.free_port()
		local scene = scenes.start {
			field = { url = "mqtt://10.213.0.1:" .. field, reconnect = quick.reconnect },
			core = { url = "mqtt://10.213.0.1:" .. core, ack_timeout = "500ms", reconnect = quick.reconnect },
			field_broker = { "listener " .. field .. " 10.213.0.1" },
			core_broker = { "listener " .. core .. " 10.213.0.1" },
			agent = { wrap = network.wrap },
		}
		scene:publish { rate = 1000 }
		for _ = 1, rounds do
			for _, port in ipairs { core, field } do
				scene:wait_progress(200)
				network.drop(port)
				scenes.go_on(1)
				scene.agent:wait_log("ack_timeout") -- of the core, which is the first
				network.pass()
			end
		end
		scene:wait_progress(200)
		scene:judge("packets dropped by a firewall", { cases = 2 * rounds })
	end)
end)
