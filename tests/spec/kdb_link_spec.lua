--- Rows on their way to a kdb+ collector: as columns, in batches, over whatever happens to the
-- connection. The collector is another process with somebody else's codec.
local bytes = require "lib.kdb_bytes"
local file = require "lib.file"
local gateway = require "lib.kdb_gateway"
local loop = require "lib.loop"
local net = require "lib.net"
local uv = require "luv"

local EVERYTHING = {
	all = { "b:boolean", "g:guid", "x:byte", "h:short", "i:int", "j:long", "e:real", "f:float", "c:char", "s:symbol",
		"p:timestamp", "m:month", "d:date", "n:timespan", "u:minute", "v:second", "t:time", "str:string" },
}

local function total(calls)
	local rows = 0
	for _, call in ipairs(calls) do
		rows = rows + call.rows
	end
	return rows
end

describe("rows arrive", function()
	it("with the declared types, as columns of one call", function()
		local g = gateway.start {
			collector = { tables = EVERYTHING },
			link = { tables = EVERYTHING },
			script = [[
				function on_message()
					for i = 1, 2 do
						assert(kdb.upd("all", { i == 1, "01234567-89ab-cdef-0123-456789abcdef", 255, -7, i, 1 << 53, 1.5, 20,
							"c", "pump", 1700000000.5, kdb.month(1700000000), kdb.date(1700000000), -5, 60, 2, 3, "x" }))
					end
				end
			]],
		}
		g:send({})
		local rows = g.collector:wait_rows(2)
		assert.same({ true, "01234567-89ab-cdef-0123-456789abcdef", 255, -7, 1, 1 << 53, 1.5, 20, "c", "pump",
			753315200500000000, 286, 8718, -5000000000, 1, 2, 3000, "x" }, { table.unpack(rows[1]) })
		assert.equal(false, rows[2][1])
		local call = g.collector:wait_calls(1)[1]
		assert.same({ ".u.upd", "symbol", "all", "bgxhijefcspmdnuvtC", 2 },
			{ call.call, call.call_as, call.table, call.types, call.rows })
	end)

	it("in batches by count", function()
		local g = gateway.start { link = { batch = { rows = 10, delay = "1h" } } }
		g:send_rows(1, 30)
		g:wait_numbers(1, 30)
		assert.equal(3, #g.collector:wait_calls(3))
	end)

	it("in batches by bytes", function()
		local g = gateway.start { collector = { tables = { note = { "text:string" } } },
			link = { tables = { note = { "text:string" } }, batch = { bytes = 4096, delay = "1h" } } }
		for _ = 1, 13 do
			g:send({ ("x"):rep(994) }, "note") -- 1000 bytes with its head
		end
		g.collector:wait_rows(12)
		for _, call in ipairs(g.collector:wait_calls(3)) do
			assert.equal(4, call.rows)
		end
	end)

	it("when they have waited for the delay", function()
		local g = gateway.start { link = { batch = { delay = "300ms" } }, script = [[
			function on_message()
				for n = 1, 5 do assert(kdb.upd("sensor", { "pump", n, n / 4 })) end
			end
		]] }
		local began = loop.now()
		g:send({})
		g:wait_numbers(1, 5)
		assert(loop.now() - began >= 0.3, "they wait")
		assert.equal(1, #g.collector:wait_calls(1))
	end)

	it("each table by itself, and many tables do not wait for each other", function()
		local tables = {}
		for i = 1, 12 do
			tables["t" .. i] = { "sym:symbol", "n:long", "val:float" }
		end
		local g = gateway.start { collector = { tables = tables },
			link = { tables = tables, batch = { rows = 4, delay = "1h" } } } -- there is room for 8
		for n = 1, 5 do
			for i = 1, 12 do
				g.sensor:post("rows/t" .. i, ('["a", %d, 1]'):format(n), { qos = 1 })
			end
		end
		g.collector:wait_rows(52)
		for i = 1, 12 do
			for n, row in ipairs(g.collector:rows("t" .. i)) do
				assert.equal(n, row[2])
			end
		end
	end)

	it("by the function that is named, as a string if that is wanted", function()
		local g = gateway.start { link = { call = ".my.upd", call_as = "string" } }
		g:send_rows(1, 1)
		g:wait_numbers(1, 1)
		local call = g.collector:wait_calls(1)[1]
		assert.same({ ".my.upd", "string" }, { call.call, call.call_as })
	end)

	it("with a time in front, for those who want it", function()
		for _, column in ipairs { "timespan", "timestamp" } do
			local g = gateway.start { collector = { tables = false }, link = { time_column = column } }
			local before = os.time()
			g:send_rows(1, 1)
			local row = g.collector:wait_rows(1)[1]
			local elapsed = row[1] // 1000000000 - (before - 946684800)
			assert.equal(column == "timespan" and "nsjf" or "psjf", g.collector:wait_calls(1)[1].types)
			assert.equal(column == "timespan", row[1] < 86400 * 1000000000)
			elapsed = column == "timespan" and elapsed % 86400 or elapsed
			assert(elapsed >= 0 and elapsed <= os.time() + 1 - before, "the time of day, or of all days")
			assert.same({ "pump", 1 }, { row[2], row[3] })
		end
	end)

	it("at another function when they are late", function()
		local g = gateway.start { link = { late_after = "1s", late_call = ".late.upd" } }
		g.collector:kill()
		g:send_rows(1, 3)
		loop.consistently(function() return true end, "time passes", 1.2)
		g.collector:start()
		g.collector:wait_rows(3)
		g:wait_empty() -- now nothing waits for anything
		g:send_rows(4, 4)
		g.collector:wait_rows(4)
		g.collector:wait_calls(2)
		assert.same({ 3, 1 }, { total(g.collector:calls(".late.upd")), total(g.collector:calls(".u.upd")) })
	end)

	it("compressed if that is wanted and worth it, but not on one machine", function()
		local g = gateway.start { link = { compress = true } }
		g:send_rows(1, 200)
		g:wait_numbers(1, 200)
		for _, call in ipairs(g.collector:calls()) do
			assert(not call.compressed)
		end
	end)

	it("although a reply is compressed, or long", function()
		local g = gateway.start { collector = { faults = { { compressed = true, long_reply = true, times = 1 },
			{ long_reply = true, times = 1 } } }, link = { batch = { rows = 1 } } }
		g:send_rows(1, 3)
		g:wait_numbers(1, 3)
		g:wait_empty()
		assert.equal(1, #g.collector:events("connected"))
	end)

	it("with several batches under way, in order", function()
		local g = gateway.start { collector = { faults = { { wait = 20 } } }, link = { window = 4, batch = { rows = 5 } } }
		g:send_rows(1, 200)
		g:wait_numbers(1, 200)
		g:wait_empty()
	end)

	it("over the unix socket of a q process, abstract or not", function()
		local port = net.free_port()
		local directory = file.directory()
		for _, unix in ipairs { "@" .. directory .. "/kx." .. port, directory .. "/kx." .. port } do
			local g = gateway.start { collector = { unix = unix }, url = "kdb+unix:" .. port,
				agent = { env = { QUDSPATH = directory } } }
			g:send_rows(1, 3)
			g:wait_numbers(1, 3)
			g.collector:kill() -- it was looked for first
		end
	end)
end)

describe("a kdb+ link", function()
	it("keeps rows, in order, while the collector is away", function()
		local g = gateway.start()
		g:send_rows(1, 50)
		g:wait_numbers(1, 50)
		g:wait_empty()
		g.collector:kill()
		g:send_rows(51, 300)
		g.collector:start()
		g:wait_numbers(1, 300)
		g:wait_empty()
	end)

	it("keeps them through a kill of the agent", function()
		local g = gateway.start()
		g.collector:kill()
		g:send_rows(1, 200)
		loop.eventually(function()
			return g:queued() == 200
		end, "all are queued")
		g:await_taken()
		g.agent:kill()
		g.collector:start()
		g:start(true)
		g:wait_numbers(1, 200)
	end)

	it("connects again when it was disconnected, and loses nothing", function()
		local g = gateway.start { link = { batch = { rows = 7, delay = "20ms" } } }
		for round = 1, 5 do
			g:send_rows(round * 20 - 19, round * 20)
			g.collector:disconnect()
		end
		loop.eventually(function()
			return g:numbers()[#g:numbers()] == 100
		end, "the last row")
		local seen = {}
		for _, n in ipairs(g:numbers()) do
			seen[n] = true
		end
		assert.equal(100, #seen)
	end)

	it("tells of refused credentials, and tries again slowly", function()
		local began = loop.now()
		local g = gateway.start { collector = { user = "gw", password = "right" }, apart = true,
			link = { username = "gw", password = "wrong", reconnect = { min = "10ms", max = "2s" } } }
		g.agent:wait_log("user or password is refused, or it is no kdb%+ process")
		loop.consistently(function()
			return #g.collector:events("refused") <= 1 + (loop.now() - began) -- half of `max` is between them
		end, "it does not insist", 1)
		g:relink { password = "right" }
		g:send_rows(1, 1)
		g:wait_numbers(1, 1)
		assert.equal("gw", g.collector:events("connected")[1].user)
		assert.equal(3, g.collector:events("connected")[1].capability)
	end)

	it("says what answers instead of a kdb+ process", function()
		for answer, words in pairs { http = "not a kdb%+ process, but a web server", tls = "a TLS port",
			[0] = "before version 2%.6", [99] = "byte 0x63" } do
			local g = gateway.start { collector = { handshake = answer }, apart = true }
			g.agent:wait_log(words)
		end
	end)

	it("gives up on a handshake that nobody answers", function()
		local g = gateway.start { collector = { handshake = "silence" }, apart = true }
		g.agent:wait_log("no answer to the connection request", 25)
	end)

	it("reads what comes right behind the handshake", function()
		local g = gateway.start { collector = { handshake = "chatty" } }
		g:send_rows(1, 2)
		g:wait_numbers(1, 2)
	end)

	it("ignores what a collector says of itself, and refuses to be asked", function()
		local g = gateway.start { collector = { faults = { { ["do"] = "tell first", times = 1 },
			{ ["do"] = "ask first", times = 1 } } }, link = { batch = { rows = 1 } } }
		g:send_rows(1, 3)
		g:wait_numbers(1, 3)
		loop.eventually(function()
			return #g.collector:events("answer") == 1
		end, "the collector is answered")
		assert.equal("tidegate: takes no requests", g.collector:events("answer")[1].error)
		assert.equal(1, #g.collector:events("connected"))
	end)

	it("leaves a collector that stalls, and comes back", function()
		local g = gateway.start { link = { timeout = "300ms" } }
		g.collector:pause()
		g:send_rows(1, 3)
		g.agent:wait_log("no reply within 0%.3 s")
		g.collector:resume()
		loop.eventually(function()
			return #g:numbers() >= 3
		end, "the rows, perhaps twice")
		g:wait_empty()
		assert(g.agent:link_status("hist").stalls >= 1)
	end)

	it("does not wait for a reply before a slow line has taken the call", function()
		local size, got = nil, 0
		local slow = net.listen(function(socket)
			local timer, greeted = uv.new_timer(), false
			uv.recv_buffer_size(socket, 32768) -- what the kernel has taken is soon read
			timer:start(36, 36, loop.guard(function()
				if socket:is_closing() then
					return net.close(timer)
				end
				socket:read_start(loop.guard(function(_, data)
					socket:read_stop()
					if not data then
						return net.close(socket)
					end
					if not greeted then
						greeted = true
						socket:write("\3")
						return
					end
					size, got = size or string.unpack("<I4", data, 5), got + #data
					if got == size then
						socket:write(bytes.message(2, bytes.null))
					end
				end))
			end))
		end)
		local g = gateway.start { collector = false, port = slow.port,
			link = { timeout = "4s", tables = { sensor = { "text:string" } }, -- it takes longer to read all of it
				batch = { rows = 12, bytes = "64MB", delay = "1h" } },
			script = [[
				function on_message()
					for _ = 1, 4 do assert(kdb.upd("sensor", { ("x"):rep(1000000) })) end
				end
			]] }
		for _ = 1, 3 do
			g:send({})
		end
		loop.eventually(function()
			return got == size
		end, "all of a call", 30)
		g:wait_empty()
		assert.equal(0, g.agent:link_status("hist").stalls)
	end)

	it("leaves one who asks and asks and does not read the answers", function()
		local greeted
		local asks = net.listen(function(socket)
			socket:read_start(loop.guard(function(_, data)
				if data and not greeted then
					greeted = true
					socket:read_stop()
					socket:write("\3" .. bytes.message(1, bytes.null):rep(1000000))
				end
			end))
		end)
		local g = gateway.start { collector = false, port = asks.port }
		g.agent:wait_log("lost .*: the collector asks and asks, and does not read the answers")
	end)

	it("sleeps while it awaits a reply and a table does not fit", function()
		local g = gateway.start { collector = { faults = { { ["do"] = "say nothing", call = ".u.upd" } } },
			link = { check_meta = true, tables = { sensor = gateway.tables.sensor, other = { "n:long" } } } }
		g.agent:wait_log("table other does not fit")
		g:send_rows(1, 3)
		loop.eventually(function()
			return #g.collector:calls(".u.upd") == 1
		end, "the call is under way")
		loop.consistently(function() return true end, "time for another question comes", 0.3)
		local before = g.agent:cpu_seconds()
		loop.consistently(function() return true end, "it waits", 1)
		assert(g.agent:cpu_seconds() - before <= 0.1, "it is busy")
	end)

	it("survives half a reply, and garbage", function()
		local g = gateway.start { collector = { faults = { { ["do"] = "half a reply", times = 1 },
			{ ["do"] = "garbage", times = 1 } } }, link = { timeout = "2s" } }
		g:send_rows(1, 1)
		loop.eventually(function()
			return #g:numbers() >= 3 -- it was applied each time
		end, "a reply in the end")
		g:wait_empty()
	end)

	it("checks the collector's tables before it sends", function()
		local g = gateway.start { collector = { tables = { sensor = { "sym:symbol", "n:int", "val:float" } } },
			link = { check_meta = true } }
		g.agent:wait_log("table sensor does not fit: column 2 is n with type i there, and n with type j here")
		g:send_rows(1, 5)
		loop.consistently(function()
			return #g.collector:rows() == 0
		end, "nothing goes there", 0.5)
		g.collector:set { tables = gateway.tables }
		g.agent:wait_log("table sensor fits now")
		g:wait_numbers(1, 5)
	end)

	it("accepts the time column that a tickerplant puts in front", function()
		local g = gateway.start { collector = { tables = { sensor = { "time:timespan", "sym:symbol", "n:long",
			"val:float" } } }, link = { check_meta = true, time_column = "timespan" } }
		g:send_rows(1, 2)
		local rows = g.collector:wait_rows(2)
		assert.equal(2, rows[2][3])
	end)

	it("says when a table is not there", function()
		local g = gateway.start { collector = { tables = { other = { "n:long" } } }, link = { check_meta = true } }
		g.agent:wait_log("table sensor does not fit: meta answers 'sensor")
	end)

	it("leaves when the agent stops, with what was under way", function()
		local g = gateway.start { collector = { faults = { { wait = 200 } } }, link = { batch = { rows = 3, delay = "1h" } } }
		g:send_rows(1, 3)
		loop.eventually(function()
			return #g.collector:calls() == 1
		end, "the call is under way")
		assert.equal(0, g.agent:stop())
		assert.same({ 1, 2, 3 }, g:numbers())
		g:start(true)
		g:wait_empty()
		assert.same({ 1, 2, 3 }, g:numbers())
	end)

	it("tells scripts what was delivered", function()
		local g = gateway.start { script = [[
			function on_message(topic, payload)
				log.info("token %d", assert(kdb.upd("sensor", json.decode(payload))))
			end
			function on_sent(token, link) log.info("sent %d on %s", token, link) end
			function on_connect(link) log.info("up %s", link) end
		]] }
		g:send_rows(1, 1)
		local token = g.agent:wait_log("token (%d+)")
		g.agent:wait_log("sent " .. token .. " on hist")
		g.agent:wait_log("up hist")
	end)
end)

