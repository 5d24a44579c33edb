--- The heart of the matter, watched from outside: no acknowledgement leaves
-- before the bytes it stands for are synced to disk.
local fake_broker = require "lib.fake_broker"
local gateway = require "lib.gateway"
local loop = require "lib.loop"
local need = require "lib.need"
local packet = require "lib.packet"
local tidegate = require "lib.tidegate"
local trace = require "lib.trace"

local N = 300

-- Walks through the calls and returns, for each reading, in which place it was
-- read, written to the database, synced after that, and acknowledged.
local function histories(calls, port)
	local field = "127%.0%.0%.1:" .. port .. "%]$"
	local incoming = packet.decoder { version = 4 }
	local outgoing = packet.decoder { version = 4 }
	local list, by_id = {}, {}
	for place, call in ipairs(calls) do
		local on_field = call.on:find(field)
		if on_field and (call.name == "read" or call.name == "recvfrom") and call.result > 0 then
			for _, p in ipairs(incoming(call.data)) do
				if p.type == "publish" and p.qos == 1 then
					local reading = { payload = p.payload, read = place }
					list[#list + 1], by_id[p.id] = reading, reading
				end
			end
		elseif on_field and call.result > 0 then
			for _, p in ipairs(outgoing(call.data)) do
				if p.type == "puback" then
					local reading = by_id[p.id]
					reading.acknowledged = place
				end
			end
		elseif call.name == "pwrite64" and call.on:find("queue%.db") then
			for _, reading in ipairs(list) do
				if not reading.written and call.data:find(reading.payload, 1, true) then
					reading.written = place
				end
			end
		elseif (call.name == "fdatasync" or call.name == "fsync") and call.on:find("queue%.db") and call.result == 0 then
			for _, reading in ipairs(list) do
				if reading.written and not reading.synced then
					reading.synced = place
				end
			end
		end
	end
	return list
end

describe("the order of a turn:", function()
	for _, uplink in ipairs { "down", "up" } do
		it("read, write, sync, and only then acknowledge; uplink " .. uplink, function()
			need.program("strace")
			local path
			local g = gateway.start {
				idle = true,
				down = uplink == "down",
				agent = {
					env = { ASAN_OPTIONS = "detect_leaks=0" },
					wrap = function(argv)
						return trace.command(path, argv)
					end,
				},
			}
			path = g.agent.directory .. "/trace"
			g:start(uplink == "up")
			g.sensor:publish_many(N, function(i)
				return "sensors/a", ("reading-%05d-"):format(i)
			end)
			g:await_taken()
			assert.equal(0, g.agent:stop())
			local list = histories(trace.calls(path), g.field.port)
			assert.equal(N, #list)
			for _, reading in ipairs(list) do
				assert(reading.acknowledged, reading.payload .. " was never acknowledged")
				assert(reading.written, reading.payload .. " was never written")
				assert(reading.synced, reading.payload .. " was never synced")
				assert(reading.read < reading.written, reading.payload .. " was written before it was read")
				assert(reading.synced < reading.acknowledged, reading.payload .. " was acknowledged before it was synced")
			end
		end)
	end

	it("nothing is acknowledged while the disk fails, and nothing is lost", function()
		need.program("strace")
		local g
		g = gateway.start {
			idle = true,
			down = true,
			agent = {
				env = { ASAN_OPTIONS = "detect_leaks=0" },
				wrap = function(argv)
					return table.move(argv, 1, #argv, 9, { "strace", "-f", "-o", g.agent.directory .. "/trace",
						"-e", "trace=fdatasync,fsync", "-e", "inject=fdatasync:error=EIO:when=20..21" })
				end,
			},
		}
		g:start()
		for i = 1, 40 do
			g:publish_readings(i, i)
			g:await_taken()
		end
		assert.truthy(g.agent:log():find("cannot commit"))
		g.agent:kill()
		g:start()
		g.uplink.restore()
		gateway.assert_in_order(g:wait_readings(40))
	end)

	it("nothing is acknowledged on a link that subscribes while the disk fails", function()
		need.program("strace")
		local field, core = fake_broker.start { connect = function() return false end }, fake_broker.start()
		local agent
		agent = tidegate.new {
			config = { links = {
				core = { url = "mqtt://127.0.0.1:" .. core.port, default = true },
				field = { url = "mqtt://127.0.0.1:" .. field.port },
			} },
			scripts = { ["rule.lua"] = [[
				mqtt.pub("out", "first")
				function on_sent() mqtt.pub("out", "more") end
				function on_connect(link) if link == "field" then mqtt.link("field"):sub("s/#") end end
				function on_message(_, payload) mqtt.pub("out", payload) end
			]] },
			env = { ASAN_OPTIONS = "detect_leaks=0" },
			wrap = function(argv)
				return table.move(argv, 1, #argv, 9, { "strace", "-f", "-o", agent.directory .. "/trace",
					"-e", "trace=fdatasync,fsync", "-e", "inject=fdatasync:error=EIO:when=30+" })
			end,
		}
		agent:start()
		field:wait_for("connect", 1)
		agent:wait_log("cannot commit")
		field:newest():send { type = "connack", code = 0 }
		field:wait_for("subscribe", 1)
		field:newest():publish { topic = "s/1", payload = "precious", qos = 1 }
		loop.consistently(function()
			return #field:received("puback") == 0
		end, "no acknowledgement leaves", 1)
		agent:kill()
	end)
end)
