--- What a collector does not take: for good, for now, or without a word.
local gateway = require "lib.kdb_gateway"
local file = require "lib.file"
local loop = require "lib.loop"
local net = require "lib.net"

local QUICK = { batch = { rows = 8, delay = "50ms" }, reconnect = { min = "20ms", max = "100ms" } }

local function wait_dead(g, n)
	loop.eventually(function()
		return #g:dead() >= n
	end, n .. " dead letters")
	return g:dead()
end

-- Everything from `first` to `last` but what is in `without`.
local function all_but(first, last, without)
	local list = {}
	for n = first, last do
		if not without[n] then
			list[#list + 1] = n
		end
	end
	return list
end

describe("rows that a collector never takes", function()
	it("are found among the others, which go through", function()
		local g = gateway.start { link = QUICK, collector = { faults = {
			{ ["do"] = "error", text = "type", column = 2, value = 3 },
			{ ["do"] = "error", text = "length", column = 2, value = 14 },
		} } }
		g:send_rows(1, 24)
		g.collector:wait_rows(22)
		assert.same(all_but(1, 24, { [3] = true, [14] = true }), g:numbers())
		local dead = wait_dead(g, 2)
		assert.same({ "rejected: 'type", "rejected: 'length" }, { dead[1].reason, dead[2].reason })
		assert.same({ "hist", "sensor", "" }, { dead[1].link, dead[1].topic, dead[1].script })
		g.agent:wait_log("dropped: rejected: 'type")
		g:wait_empty()
	end)

	it("can be sent again when it takes them", function()
		local g = gateway.start { link = QUICK, collector = { faults = {
			{ ["do"] = "error", text = "type", column = 2, value = 3 } } } }
		g:send_rows(1, 8)
		wait_dead(g, 1)
		local code, out = g.agent:command("dead", "list")
		assert.equal(0, code)
		assert.matches("link hist", out)
		code, out = g.agent:command("dead", "show", tostring(g:dead()[1].id))
		assert.equal(0, code)
		assert.matches("that the collector of link hist did not take", out)
		g.collector:set { faults = {} }
		assert.equal(0, (g.agent:command("dead", "retry")))
		g.collector:wait_rows(8)
		assert.same({ 1, 2, 4, 5, 6, 7, 8, 3 }, g:numbers())
		assert.same({}, g:dead())
	end)

	it("are dead letters again if it still does not", function()
		local g = gateway.start { link = QUICK, collector = { faults = { { ["do"] = "error", text = "type" } } } }
		g:send_rows(1, 3)
		wait_dead(g, 3)
		local first = g:dead()[1].id
		assert.equal(0, (g.agent:command("dead", "retry", tostring(first))))
		loop.eventually(function()
			local dead = g:dead()
			return #dead == 3 and dead[3].id > first and dead[1].id ~= first
		end, "it is back, as another letter")
		g:wait_empty()
	end)

	it("drive out no others: a table that is wrong altogether waits", function()
		local letters, rows = 1000, 1200 -- what there is room for: store/dead.h
		local g = gateway.start { link = { batch = { rows = 100, delay = "50ms" }, reconnect = QUICK.reconnect },
			collector = { faults = { { ["do"] = "error", text = "type" } } } }
		g:send_rows(1, rows)
		g.agent:wait_log("no more room among the dead letters", 60)
		assert.equal(letters, #g:dead())
		loop.eventually(function() return g:queued() == rows - letters end, "the others wait")
		g.collector:set { faults = {} } -- the table is mended
		g.collector:wait_rows(rows - letters)
		assert.equal(0, (g.agent:command("dead", "retry")))
		g.collector:wait_rows(rows)
		local numbers = g:numbers()
		table.sort(numbers)
		assert.same(all_but(1, rows, {}), numbers)
	end)

	it("are kept when the agent is killed", function()
		local g = gateway.start { link = QUICK, collector = { faults = {
			{ ["do"] = "error", text = "type", column = 2, value = 3 } } } }
		g:send_rows(1, 8)
		wait_dead(g, 1)
		g:wait_empty()
		g.collector:kill()
		g:send_rows(9, 9)
		g:await_taken() -- that row is on disk, and with it that the others are not
		g.agent:kill()
		g.collector.options.faults = {}
		g.collector:start()
		g:start(true)
		g.collector:wait_rows(8)
		assert.equal(1, #g:dead())
		assert.same({ 1, 2, 4, 5, 6, 7, 8, 9 }, g:numbers())
	end)

	it("are not mixed with those of other types", function()
		local g = gateway.start { link = QUICK }
		g.collector:kill()
		g:send_rows(1, 4)
		loop.eventually(function()
			return g:queued() == 4
		end, "the rows are queued")
		g.agent:stop()
		g.config.links.hist.tables = { sensor = { "sym:symbol", "n:int", "val:float" } } -- declared otherwise now
		g.agent:configure(g.config)
		g:start()
		g.sensor:publish("rows/sensor", '["pump", 5, 1]')
		g.collector:start()
		g.collector:wait_rows(4)
		local dead = wait_dead(g, 1)
		assert.equal("rejected: 'type", dead[1].reason)
		assert.same({ 1, 2, 3, 4 }, g:numbers())
	end)
end)

describe("an error of the moment", function()
	it("is waited out, in place", function()
		local g = gateway.start { link = QUICK, collector = { faults = { { ["do"] = "error", text = "stop", times = 3 } } } }
		g:send_rows(1, 20)
		g:wait_numbers(1, 20)
		g.agent:wait_log("answers 'stop to %d+ rows of sensor: not now")
		assert.same({}, g:dead())
	end)

	it("makes batches smaller if they are too much", function()
		local g = gateway.start { link = QUICK, collector = { faults = { { ["do"] = "error", text = "wsfull", rows = 3 } } } }
		g:send_rows(1, 16)
		g:wait_numbers(1, 16)
		for _, call in ipairs(g.collector:calls()) do
			assert(not call.applied or call.rows <= 2, "it takes two rows at most")
		end
		assert.same({}, g:dead())
	end)

	it("is one when the table is not there yet", function()
		local g = gateway.start { link = QUICK, collector = { tables = { other = { "n:long" } } } }
		g:send_rows(1, 4)
		g.agent:wait_log("it has no such table or function, yet")
		g.collector:set { tables = gateway.tables }
		g:wait_numbers(1, 4)
	end)

	it("is one when permission is denied, which is an alarm", function()
		local g = gateway.start { link = QUICK,
			collector = { faults = { { ["do"] = "error", text = "access", times = 2 } } } }
		g:send_rows(1, 4)
		g.agent:wait_log("error link hist: the collector answers 'access to %d+ rows of sensor: permission is denied")
		g:wait_numbers(1, 4)
	end)

	it("is what agent.lua says", function()
		local g = gateway.start { link = { batch = QUICK.batch, reconnect = QUICK.reconnect, retry_errors = { "^busy" } },
			collector = { faults = { { ["do"] = "error", text = "busy: eod", times = 9 } } } }
		g:send_rows(1, 4)
		g:wait_numbers(1, 4)
		assert.same({}, g:dead())
	end)

	it("is taken to be for good if nobody knows it and it stays", function()
		local g = gateway.start { link = QUICK, collector = { faults = {
			{ ["do"] = "error", text = "pig", column = 2, value = 2 } } } }
		g:send_rows(1, 4)
		local dead = wait_dead(g, 1)
		assert.equal("rejected: 'pig", dead[1].reason)
		g.collector:wait_rows(3)
		assert.same({ 1, 3, 4 }, g:numbers())
	end)
end)

-- What is on the way to a port: sent and not received, received and not read.
local function on_the_way(port)
	local bytes, here = 0, (":%04X"):format(port)
	local established = "%d: %x+(:%x+) %x+(:%x+) 01 (%x+):(%x+)"
	for from, to, sent, received in file.read("/proc/net/tcp"):gmatch(established) do
		bytes = bytes + (to == here and tonumber(sent, 16) or 0) + (from == here and tonumber(received, 16) or 0)
	end
	return bytes
end

describe("a batch that makes the collector hang up", function()
	it("is set aside the third time, and the rest goes through", function()
		local g = gateway.start { link = QUICK, collector = { faults = {
			{ ["do"] = "hang up", column = 2, value = 10 } } } }
		g:send_rows(1, 8)
		g:wait_numbers(1, 8)
		g.sensor:publish_many(8, function(i)
			return "rows/sensor", ('["pump", %d, 0]'):format(i + 8)
		end)
		g.agent:wait_log("the collector hung up on %d+ rows of sensor, the third time")
		g:send_rows(17, 24)
		g:wait_empty()
		local dead = g:dead()
		assert(#dead >= 1 and #dead <= 8, #dead .. " dead letters")
		assert.equal("rejected: the collector hung up on it three times", dead[1].reason)
		assert.equal(24, #dead + #g:numbers())
		assert.equal(3 + 1, #g.collector:events("connected"))
	end)

	it("is not set aside if not all of it had arrived", function()
		local BYTES = 400000
		local current
		local stalls = net.listen(function(socket)
			socket:read_start(loop.guard(function()
				socket:read_stop()
				socket:write("\3")
				current = socket
			end))
		end)
		local g = gateway.start { collector = false, port = stalls.port,
			link = { tables = { sensor = { "text:string" } }, batch = { rows = 4, bytes = "64MB", delay = "1s" },
				reconnect = QUICK.reconnect },
			script = ([[
				function on_message() assert(kdb.upd("sensor", { ("x"):rep(%d) })) end
			]]):format(BYTES // 4) }
		for _ = 1, 4 do
			g:send({})
		end
		for _ = 1, 5 do
			loop.eventually(function()
				return current and on_the_way(stalls.port) >= BYTES
			end, "all of a call has been written")
			net.close(current)
			current = nil
		end
		g.agent:wait_log("lost")
		assert.same({}, g:dead())
		assert.equal(4, g:queued())
	end)

	it("is not set aside if it is the network that fails", function()
		local g = gateway.start { link = QUICK, collector = { faults = {
			{ ["do"] = "hang up", times = 2 }, { ["do"] = "say nothing", times = 1 }, { ["do"] = "hang up", times = 1 } } },
			}
		g:send_rows(1, 8)
		loop.eventually(function()
			return #g.collector:calls() >= 3
		end, "a call without a reply")
		g.collector:kill()
		g.collector.options.faults = {} -- they would happen once more
		g.collector:start()
		loop.eventually(function()
			return g:queued() == 0
		end, "all is told of", 20)
		assert.equal(8, #g:numbers() + #g:dead())
	end)
end)
