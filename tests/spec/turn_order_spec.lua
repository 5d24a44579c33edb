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

local function is_read(call)
	return (call.name == "read" or call.name == "recvfrom") and call.result > 0
end

-- When the collector's broker acknowledged each payload that was sent to it.
local function deliveries(calls, port)
	local core = "127%.0%.0%.1:" .. port .. "%]$"
	local incoming = packet.decoder { version = 4 }
	local outgoing = packet.decoder { version = 4 }
	local delivered, by_id = {}, {}
	for place, call in ipairs(calls) do
		local on_core = call.on:find(core) and call.result > 0
		for _, p in ipairs(on_core and (is_read(call) and incoming or outgoing)(call.data) or {}) do
			if p.type == "publish" then
				by_id[p.id] = p.payload
			elseif p.type == "puback" then
				delivered[by_id[p.id]] = place
			end
		end
	end
	return delivered
end

-- Walks through the calls and returns, for each reading, in which place it was
-- read, written to the database, synced after that, and acknowledged.
local function histories(calls, port)
	local field = "127%.0%.0%.1:" .. port .. "%]$"
	local incoming = packet.decoder { version = 4 }
	local outgoing = packet.decoder { version = 4 }
	local list, by_id = {}, {}
	for place, call in ipairs(calls) do
		local on_field = call.on:find(field)
		if on_field and is_read(call) then
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

-- The agent under strace takes N readings; returns the calls it made, and the ports
-- of the field broker and of the line to the core broker.
local function trace_readings(options)
	need.program("strace")
	local path
	options.idle = true
	options.agent = {
		env = { ASAN_OPTIONS = "detect_leaks=0" },
		wrap = function(argv)
			return trace.command(path, argv)
		end,
	}
	local g = gateway.start(options)
	path = g.agent.directory .. "/trace"
	g:start(not options.down)
	g.sensor:publish_many(N, function(i)
		return "sensors/a", ("reading-%05d-"):format(i)
	end)
	g:await_taken()
	assert.equal(0, g.agent:stop())
	return trace.calls(path), g.field.port, g.uplink.port
end

describe("the order of a turn:", function()
	for _, uplink in ipairs { "down", "up" } do
		it("with linger 0 read, write, sync, and only then acknowledge; uplink " .. uplink, function()
			local calls, field = trace_readings { down = uplink == "down", config = { store = { linger = 0 } } }
			local list = histories(calls, field)
			assert.equal(N, #list)
			for _, reading in ipairs(list) do
				assert(reading.acknowledged, reading.payload .. " was never acknowledged")
				assert(reading.written, reading.payload .. " was never written")
				assert(reading.synced, reading.payload .. " was never synced")
				assert(reading.read < reading.written, reading.payload .. " was written before it was read")
				assert(reading.synced < reading.acknowledged, reading.payload .. " was acknowledged before it was synced")
			end
		end)

		it("nothing is acknowledged that is neither synced nor delivered; uplink " .. uplink, function()
			local calls, field, core = trace_readings { down = uplink == "down" }
			local list, delivered = histories(calls, field), deliveries(calls, core)
			assert.equal(N, #list)
			for _, reading in ipairs(list) do
				local safe = math.min(reading.synced or math.huge, delivered[reading.payload] or math.huge)
				assert(reading.acknowledged, reading.payload .. " was never acknowledged")
				assert(safe < reading.acknowledged, reading.payload .. " was acknowledged before it was safe")
			end
		end)
	end

	it("nothing is acknowledged while the disk fails, and nothing is lost", function()
		need.program("strace")
		local g
		g = gateway.start {
			idle = true,
			down = true,
			config = { store = { linger = 0 } },
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
			}, store = { linger = 0 } },
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
		field:newest():publish { topic = "s/1", payload = "precious", qos = 1 }
		loop.consistently(function()
			return #field:received("puback") == 0 and #field:received("subscribe") == 0
		end, "no subscription and no acknowledgement leaves", 1)
		agent:kill()
	end)
end)
