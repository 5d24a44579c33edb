--- An uplink behind a SOCKS5 proxy.
local broker = require "lib.broker"
local net = require "lib.net"
local tidegate = require "lib.tidegate"

local function start_agent(server, socks5)
	return tidegate.start {
		config = { links = { core = { url = "mqtt://localhost:" .. server.port, socks5 = socks5 } } },
		scripts = { ["rules.lua"] = [[
			function on_start()
				mqtt.pub("hello", "there")
			end
		]] },
	}
end

describe("SOCKS5:", function()
	it("connects through the proxy, which looks the name up", function()
		local server = broker.start()
		local proxy = net.socks5()
		local collector = server:client()
		collector:subscribe("hello", 1)
		start_agent(server, "127.0.0.1:" .. proxy.port)
		collector:wait_topic("hello")
		assert.equal("localhost", proxy.requests[1].host)
		assert.equal(server.port, proxy.requests[1].port)
	end)

	it("gives user name and password", function()
		local server = broker.start()
		local proxy = net.socks5 { username = "joe", password = "secret" }
		local collector = server:client()
		collector:subscribe("hello", 1)
		start_agent(server, "socks5://joe:secret@127.0.0.1:" .. proxy.port)
		collector:wait_topic("hello")
		assert.equal("joe", proxy.requests[1].username)
	end)

	it("says so when the proxy refuses it", function()
		local server = broker.start()
		local proxy = net.socks5 { username = "joe", password = "secret" }
		local agent = start_agent(server, "joe:wrong@127.0.0.1:" .. proxy.port)
		agent:wait_log("link core: cannot connect")
		assert.equal(0, server:connections("gw-core"))
	end)
end)
