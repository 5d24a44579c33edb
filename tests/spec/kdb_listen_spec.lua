--- `tidegate kdb listen`: what it shows, and what it answers.
local cjson = require "cjson"
local cleanup = require "lib.cleanup"
local file = require "lib.file"
local kdb = require "lib.kdb_bytes"
local loop = require "lib.loop"
local proc = require "lib.proc"
local tidegate = require "lib.tidegate"

local BINARY = os.getenv("TIDEGATE") or "build/tidegate"
local GUID = ("\1"):rep(16)

-- Starts one on a free port. Gives :text(), :lines() of JSON, :stop().
local function listen(...)
	local self = { out = file.directory() .. "/out" }
	self.process = proc.spawn({ BINARY, "kdb", "listen", "0", ... }, { stdout = self.out, stderr = self.out .. ".err" })
	function self.text() return file.read(self.out) end
	function self.lines(event)
		local list = {}
		for line in self.text():gmatch("[^\n]+") do
			local decoded = cjson.decode(line)
			if decoded.event == event then
				list[#list + 1] = decoded
			end
		end
		return list
	end
	function self.stop(signal)
		self.process:kill(signal or "sigterm")
		return (self.process:wait())
	end
	cleanup.on_failure(function()
		return "---- kdb listen ----\n" .. self.text() .. file.read(self.out .. ".err")
	end)
	cleanup.defer(function()
		assert(not self.process:running() or self.stop() == 0, "it did not stop well")
		assert(not file.read(self.out .. ".err"):find("Sanitizer"), "a sanitizer complains")
	end)
	self.port = loop.eventually(function()
		return math.tointeger(tonumber(self.text():match("port%D+(%d+)")))
	end, "it listens")
	return self
end

local function rows(n)
	local syms, values = {}, {}
	for i = 1, n do
		syms[i], values[i] = "s" .. i, i + 0.5
	end
	return kdb.vector("s", syms), kdb.vector("f", values)
end

local function usage(...)
	local out = file.directory() .. "/out"
	local process = proc.spawn({ BINARY, "kdb", ... }, { stdout = out })
	return process:wait(), file.read(out)
end

describe("tidegate kdb listen", function()
	it("shows calls as rows, and answers them", function()
		local peer = listen()
		local client = kdb.connect(peer.port, "gw-01:secret")
		assert.equal(3, client.capability)
		assert.equal("::", client:ask(kdb.upd("sensor", kdb.vector("s", { "boiler", "" }),
			kdb.vector("p", { 815270400123456789, math.mininteger }), kdb.vector("f", { 20, -1 / 0 }),
			kdb.list(kdb.vector("c", "x"), kdb.vector("c", "a \27[2Jtext")))))
		assert.equal(0, peer.stop())
		local text = peer.text()
		assert.truthy(text:find("gw%-01: connected, capability 3\n"))
		assert.truthy(text:find("gw%-01: %.u%.upd sensor, 2 rows\n"))
		assert.truthy(text:find("symbol +timestamp +float +list *\n"))
		assert.truthy(text:find('boiler +2025%.11%.01D00:00:00%.123456789 +20 +enlist "x"\n'), text)
		assert.truthy(text:find("0Np +%-0w +"))
		assert.is_nil(text:find("\27", 1, true))
		assert.truthy(text:find("\n1 calls, 2 rows\n$"))
	end)

	it("shows all as JSON", function()
		local peer = listen("--json")
		local client = kdb.connect(peer.port, "gw-01:secret")
		assert.equal("::", client:ask(kdb.message(1, kdb.list(kdb.vector("c", ".u.upd"), kdb.atom("s", "sensor"), kdb.list(
			kdb.vector("j", { 1, math.mininteger }), kdb.vector("f", { 20, 0 / 0 }), kdb.vector("b", { true, false }),
			kdb.vector("s", { "a", "b" }), kdb.list(kdb.vector("c", "x"), kdb.vector("c", "\255")),
			kdb.vector("d", { 0, 1 }), kdb.vector("c", "ab"))))))
		client:send(kdb.message(0, kdb.vector("c", "1+1")))
		assert.equal("::", client:ask(kdb.message(1, kdb.vector("c", ""))))
		client:close()
		loop.eventually(function() return #peer.lines("closed") == 1 end)
		assert.equal("gw-01", peer.lines("connected")[1].client)
		local call = peer.lines("call")[1]
		assert.equal("sensor", call.table)
		assert.equal("::", call.answer)
		assert.same({ "long", "float", "boolean", "symbol", "list", "date", "char" }, call.types)
		assert.same({ 1, 20, true, "a", "x", "2000.01.01", "a" }, call.rows[1])
		assert.same({ cjson.null, cjson.null, false, "b", "\\xff", "2000.01.02", "b" }, call.rows[2])
		local messages = peer.lines("message")
		assert.equal(cjson.null, messages[1].answer)
		assert.equal('"1+1"', messages[1].object)
		assert.equal("::", messages[2].answer)
		peer.stop("sigint")
		assert.equal(2, peer.lines("end")[1].rows)
	end)

	it("answers with an error, all or some of the calls", function()
		local peer = listen("--error", "type", "--error-every", "3")
		local client = kdb.connect(peer.port)
		local answers = {}
		for i = 1, 6 do
			answers[i] = client:ask(kdb.upd("sensor", rows(2)))
		end
		assert.same({ "::", "::", "'type", "::", "::", "'type" }, answers)
		loop.eventually(function() return peer.text():find(".u.upd sensor, 2 rows, answered with 'type\n", 1, true) end)
		peer = listen("--error", "stop")
		assert.equal("'stop", kdb.connect(peer.port):ask(kdb.upd("sensor", rows(1))))
		assert.equal("'length", kdb.connect(listen().port):ask(kdb.upd("sensor", rows(1), (rows(2)))))
	end)

	it("applies each batch once", function()
		local peer = listen("--json")
		local client = kdb.connect(peer.port)
		local function ask(first, last, agent)
			return client:ask(kdb.exactly_once(agent or "gw", GUID, first, last, "sensor", rows(last - first + 1)))
		end
		assert.same({ "::", "::", "'tidegate.overlap", "::", "::" },
			{ ask(1, 3), ask(1, 3), ask(2, 5), ask(7, 8), ask(2, 5, "other") })
		peer.stop()
		assert.equal(9, peer.lines("end")[1].rows)
		local calls = peer.lines("call")
		assert.equal("::, seen before", calls[2].answer)
		assert.equal("gw", calls[1].agent)
		assert.equal(8, calls[4].last)
	end)

	it("lets in whom it is told to", function()
		local peer = listen("--user", "gw", "--password", "se:cret")
		assert.is_nil(kdb.connect(peer.port, "gw:wrong").capability)
		assert.is_nil(kdb.connect(peer.port, "me:se:cret").capability)
		assert.is_nil(kdb.connect(peer.port, "gw").capability)
		assert.equal(3, kdb.connect(peer.port, "gw:se:cret", 6).capability)
		loop.eventually(function() return peer.text():find("refused: wrong user or password", 1, true) end)
	end)

	it("serves many, and hangs up on what is no kdb+", function()
		local peer = listen()
		local good = {}
		for i = 1, 20 do
			good[i] = kdb.connect(peer.port, "gw" .. i .. ":")
		end
		assert.is_nil(kdb.connect(peer.port, ("x"):rep(2000)).capability)
		assert.is_nil(kdb.connect(peer.port, "GET / HTTP/1.1\r\n\r\n", 32).capability)
		for _, bytes in ipairs { "GET / HTTP/1.1\r\n\r\n", "\1\1\0\0\255\255\255\255", "\1\1\0\0\4\0\0\0",
				kdb.message(1, kdb.list(kdb.atom("s", "x")) .. "more"), kdb.message(1, "\98\0\99\7"), kdb.message(1, "\128type\0"),
				string.pack("<BBBBI4", 1, 1, 1, 0, 16) .. "\255\255\255\127\0\1\2\3" } do
			local bad = kdb.connect(peer.port)
			bad:send(bytes)
			loop.eventually(function() return bad.closed end, "hung up")
		end
		for i = 1, 20 do
			good[i]:send(kdb.upd("sensor", rows(i)))
		end
		for i = 1, 20 do
			assert.equal(2, (good[i]:take()))
		end
	end)

	it("takes a call that comes byte by byte, several at once, and a large one", function()
		local peer = listen()
		local client = kdb.connect(peer.port)
		local call = kdb.upd("sensor", rows(2))
		for i = 1, #call do
			client:send(call:sub(i, i))
			loop.turn(0.001)
		end
		assert.equal(2, (client:take()))
		client:send(call:rep(50))
		for _ = 1, 50 do
			assert.equal(2, (client:take()))
		end
		client:send(kdb.upd("sensor", kdb.vector("f", { 1, 2 }),
			kdb.list(kdb.vector("c", ("x"):rep(3000000)), kdb.vector("c", ""))))
		assert.equal(2, (client:take()))
		client:send(kdb.upd("sensor", rows(500)))
		assert.equal(2, (client:take()))
		loop.eventually(function() return peer.text():find("and 480 rows more", 1, true) end)
	end)

	it("is a collector for the agent, which shows where it delivers", function()
		local peer = listen("--json", "--user", "gw", "--password", "secret")
		local agent = tidegate.start {
			config = {
				control = "control.sock",
				links = { hist = {
					url = ("kdb://gw:secret@127.0.0.1:%d"):format(peer.port),
					tables = { sensor = { "sym:symbol", "val:float" } },
					batch = { delay = "50ms" },
					exactly_once = true,
				} },
			},
			scripts = { ["rules.lua"] = 'function on_start() for i = 1, 3 do kdb.upd("sensor", { "s" .. i, i / 2 }) end end' },
		}
		loop.eventually(function() return #peer.lines("call") > 0 end, "a call")
		assert.same({ { "s1", 0.5 }, { "s2", 1 }, { "s3", 1.5 } }, peer.lines("call")[1].rows)
		assert.equal("gw", peer.lines("call")[1].agent)
		assert.equal("kdb://127.0.0.1:" .. peer.port, agent:link_status("hist").url)
	end)

	it("says what is wrong with its arguments", function()
		for _, case in ipairs { { 64, "listen" }, { 64, "listen", "x" }, { 64, "listen", "70000" }, { 64, "nothing", "1" },
				{ 64, "listen", "5010", "--error", "type", "--error-every", "0" }, { 1, "listen", "nowhere:5010" },
				{ 64, "listen", "5010", "--error-every", "2" }, { 64, "decode", "--error", "type" },
				{ 1, "listen", "203.0.113.1:5010" } } do
			local status, text = usage(table.unpack(case, 2))
			assert.equal(case[1], status, table.concat(case, " "))
			assert.truthy(text:find("tidegate kdb", 1, true), text)
		end
	end)
end)
