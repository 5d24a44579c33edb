--- The tests' own kdb+ collector, with bytes made by hand: if this fails, look here before
-- looking at the agent.
local collector = require "lib.collector"
local kdb = require "lib.kdb_bytes"
local loop = require "lib.loop"
local uv = require "luv"

local INSTANCE = ("\1"):rep(16)

local function two_rows(first)
	return kdb.vector("s", { "a", "b" }), kdb.vector("p", { first, first + 1 }), kdb.vector("f", { 20, 21.5 })
end

local function batch(first, last)
	local numbers = {}
	for i = first, last do
		numbers[#numbers + 1] = i
	end
	return kdb.exactly_once("gw", INSTANCE, first, last, "sensor", kdb.vector("j", numbers))
end

local function numbers(rows)
	local list = {}
	for i, row in ipairs(rows) do
		list[i] = row[1]
	end
	return list
end

describe("the tests' kdb+ collector", function()
	it("applies calls, with whole numbers", function()
		local peer = collector.start()
		local client = kdb.connect(peer.port)
		assert.equal(3, client.capability)
		assert.equal("::", client:ask(kdb.upd("sensor", two_rows(815270400123456789))))
		assert.equal("::", client:ask(kdb.upd("other", kdb.vector("j", { math.mininteger, math.maxinteger - 1 }),
			kdb.list(kdb.vector("c", "x"), kdb.vector("c", "")))))
		local rows = peer:wait_rows(4)
		assert.same({ "a", 815270400123456789, 20.0 }, { table.unpack(rows[1]) })
		assert.same({ "b", 815270400123456790, 21.5 }, { table.unpack(rows[2]) })
		assert.same({ collector.null, "x" }, { table.unpack(peer:rows("other")[1]) })
		assert.same({ math.maxinteger - 1, "" }, { table.unpack(peer:rows("other")[2]) })
		assert.equal("spf", peer:calls(".u.upd")[1].types)
		assert.equal("jC", peer:calls()[2].types)
	end)

	it("lets in whom it is to let in, and answers handshakes as told", function()
		local peer = collector.start { user = "gw", password = "se:cret" }
		assert.is_nil(kdb.connect(peer.port, "gw:other").capability)
		assert.equal(3, kdb.connect(peer.port, "gw:se:cret", 6).capability)
		assert.equal("gw", peer:events("refused")[1].user)
		peer:set { refuse = true }
		assert.is_nil(kdb.connect(peer.port, "gw:se:cret").capability)
		peer:set { refuse = false, handshake = "http" }
		assert.equal(("H"):byte(), kdb.connect(peer.port, "gw:se:cret").capability)
	end)

	it("checks tables and types, and answers meta", function()
		local peer = collector.start { tables = { sensor = { "sym:symbol", "ts:timestamp", "val:float" } } }
		local client = kdb.connect(peer.port)
		assert.equal("::", client:ask(kdb.upd("sensor", two_rows(1))))
		assert.equal("'nothere", client:ask(kdb.upd("nothere", two_rows(1))))
		assert.equal("'type", client:ask(kdb.upd("sensor", two_rows(1), kdb.vector("p", { 1, 2 }),
			kdb.vector("j", { 1, 2 }))))
		assert.equal("'length", client:ask(kdb.upd("sensor", (two_rows(1)))))
		local meta = client:ask(kdb.message(1, kdb.list(kdb.atom("s", "meta"), kdb.atom("s", "sensor"))))
		assert.equal(99, meta:byte())
		assert.truthy(meta:find("spf", 1, true))
		assert.equal(meta, client:ask(kdb.message(1, kdb.vector("c", "meta sensor"))))
		assert.equal(2, #peer:rows())
	end)

	it("does what it is told to a call", function()
		local peer = collector.start { faults = {
			{ ["do"] = "error", text = "type", column = 3, value = 13 },
			{ ["do"] = "apply, hang up", table = "dropped", times = 1 },
			{ ["do"] = "error", text = "stop", table = "moment", after = 1, times = 1, compressed = true },
		} }
		local client = kdb.connect(peer.port)
		assert.equal("::", client:ask(kdb.upd("moment", two_rows(1))))
		client:send(kdb.upd("moment", two_rows(1)))
		local _, _, message = client:take()
		assert.equal(1, message:byte(3))
		assert.equal("'type", client:ask(kdb.upd("sensor", kdb.vector("s", { "a" }), kdb.vector("p", { 1 }),
			kdb.vector("f", { 13 }))))
		client:send(kdb.upd("dropped", two_rows(1)))
		assert.is_nil(client:take())
		assert.equal(4, #peer:rows())
		peer:set { faults = {} }
		assert.equal("::", kdb.connect(peer.port):ask(kdb.upd("dropped", two_rows(1))))
	end)

	it("asks and tells before it answers", function()
		local peer = collector.start { faults = {
			{ ["do"] = "ask first", times = 1 },
			{ ["do"] = "tell first", times = 1 },
		} }
		local client = kdb.connect(peer.port)
		client:send(kdb.upd("sensor", two_rows(1)))
		assert.equal(1, (client:take()))
		client:send(kdb.message(2, "\x80no\0"))
		assert.equal(2, (client:take()))
		assert.equal("no", peer:events("answer")[1].error)
		client:send(kdb.upd("sensor", two_rows(1)))
		assert.equal(0, (client:take()))
		assert.equal(2, (client:take()))
	end)

	it("applies each batch once, through its own death", function()
		local peer = collector.start()
		local client = kdb.connect(peer.port)
		assert.equal("::", client:ask(batch(1, 3)))
		assert.equal("::", client:ask(batch(1, 3)))
		assert.same({ 1, 2, 3 }, numbers(peer:rows()))
		peer:set { faults = { { ["do"] = "die" } } }
		client:send(batch(5, 6))
		assert.is_nil(client:take())
		peer.process:wait()
		peer.options.faults = {}
		peer:start()
		client = kdb.connect(peer.port)
		assert.equal("::", client:ask(batch(5, 6)))
		assert.equal("'tidegate.overlap", client:ask(batch(6, 7)))
		assert.equal("::", client:ask(batch(7, 7)))
		assert.same({ 1, 2, 3, 5, 6, 7 }, numbers(peer:rows()))
		assert.equal(5, peer:rows()[4].first)
	end)

	it("hangs up on what is no message, and takes others", function()
		local peer = collector.start()
		local client = kdb.connect(peer.port)
		client:send("GET / HTTP/1.1\r\n\r\n")
		assert.is_nil(client:take())
		client = kdb.connect(peer.port)
		client:send(kdb.message(1, kdb.list(kdb.atom("s", "x")) .. "more"))
		assert.is_nil(client:take())
		assert.equal(2, #peer:events("badmsg"))
		assert.equal("::", kdb.connect(peer.port):ask(kdb.upd("sensor", two_rows(1))))
	end)

	it("listens on a socket without a port", function()
		local peer = collector.start { unix = "@tidegate-test-" .. uv.os_getpid() }
		local path = peer.directory .. "/kx.5010"
		peer:stop()
		peer.options.unix = path
		peer:start()
		assert.equal("socket", uv.fs_stat(path).type)
	end)

	it("stalls, and goes on", function()
		local peer = collector.start()
		local client = kdb.connect(peer.port)
		peer:pause()
		client:send(kdb.upd("sensor", two_rows(1)))
		loop.consistently(function() return #client.received == 0 end, "silence", 0.2)
		peer:resume()
		assert.equal(2, (client:take()))
	end)
end)
