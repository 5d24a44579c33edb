--- kdb+ IPC between Tidegate and a third party's library, npm's node-q: what one writes
-- the other reads. A codec that only talks to itself agrees with its own mistakes.
local cjson = require "cjson"
local collector = require "lib.collector"
local file = require "lib.file"
local need = require "lib.need"
local proc = require "lib.proc"
local tidegate = require "lib.tidegate"

local BINARY = os.getenv("TIDEGATE") or "build/tidegate"
local NULL = cjson.null
local INF = 1 / 0

local function lines_of(text)
	local list = {}
	for line in text:gmatch("[^\n]+") do
		list[#list + 1] = cjson.decode(line)
	end
	return list
end

-- Asks node-q about each of the requests (see tests/collector/peer.js).
local function ask_peer(requests)
	local modules = need.collector()
	local path, lines = file.directory() .. "/requests", {}
	for i, request in ipairs(requests) do
		lines[i] = cjson.encode(request)
	end
	file.write(path, table.concat(lines, "\n") .. "\n")
	return lines_of(proc.output(("NODE_PATH=%s node --no-deprecation tests/collector/peer.js < %s"):format(
		file.quote(modules), path)))
end

-- Runs a script, which may say(text), on messages { topic, payload }; returns what it said.
local function run_script(text, messages)
	local directory, lines = file.directory(), {}
	for i, message in ipairs(messages) do
		lines[i] = cjson.encode { topic = message[1], payload = message[2] }
	end
	file.write(directory .. "/input", table.concat(lines, "\n") .. "\n")
	file.write(directory .. "/script.lua", [[
		local function say(text) mqtt.pub("said", text) end
		local function hex(bytes) return (bytes:gsub(".", function(c) return ("%02x"):format(c:byte()) end)) end
		local function unhex(text) return (text:gsub("..", function(h) return string.char(tonumber(h, 16)) end)) end
	]] .. text)
	local said = {}
	for _, line in ipairs(lines_of(proc.output(("%s test %s/script.lua --input %s/input --json"):format(BINARY, directory,
			directory)))) do
		assert(line.event ~= "error", line.text or line.message)
		if line.event == "publish" then
			said[#said + 1] = line.payload
		end
	end
	return said
end

-- A Lua expression for kdb.encode, the type node-q finds, the value with temporal ones as
-- integers, and, if it is another, node-q's own view of it; false where that is off by its rounding.
local WRITTEN = {
	{ "true", -1, true }, { "false", -1, false },
	{ "kdb.guid '01020304-0506-0708-090a-0b0c0d0e0f10'", -2, "01020304-0506-0708-090a-0b0c0d0e0f10" },
	{ "kdb.null.guid", -2, NULL },
	{ "kdb.byte(200)", -4, 200 },
	{ "kdb.short(-234)", -5, -234 }, { "kdb.null.short", -5, NULL }, { "kdb.inf.short", -5, INF },
	{ "kdb.ninf.short", -5, -INF },
	{ "kdb.int(2147483646)", -6, 2147483646 }, { "kdb.null.int", -6, NULL }, { "kdb.ninf.int", -6, -INF },
	{ "9007199254740993", -7, "9007199254740993" }, { "-1", -7, -1 }, { "kdb.null.long", -7, NULL },
	{ "kdb.inf.long", -7, INF }, { "kdb.ninf.long", -7, -INF }, { "math.mininteger + 2", -7, "-9223372036854775806" },
	{ "kdb.real(1.5)", -8, 1.5 }, { "kdb.null.real", -8, NULL }, { "kdb.ninf.real", -8, -INF },
	{ "0.1", -9, 0.1 }, { "20.0", -9, 20 }, { "kdb.null.float", -9, NULL }, { "1 / 0", -9, INF },
	{ "kdb.char 'x'", -10, "x" },
	{ "kdb.symbol 'abc'", -11, "abc" }, { "kdb.symbol ''", -11, NULL }, { "kdb.symbol 'grüße'", -11, "grüße" },
	{ "kdb.timestamp(1763719200, 123456789)", -12, "817034400123456789", "2025-11-21T10:00:00.123Z" },
	{ "kdb.null.timestamp", -12, NULL },
	{ "kdb.raw('month', 310)", -13, 310, "2025-11-01T00:00:00.000Z" },
	{ "kdb.raw('date', 9456)", -14, 9456, "2025-11-21T00:00:00.000Z" },
	{ "kdb.raw('date', -1)", -14, -1, "1999-12-31T00:00:00.000Z" },
	{ "kdb.timespan(36000.5)", -16, 36000500000000, "2000-01-01T10:00:00.500Z" },
	{ "kdb.minute(36000)", -17, 600, "2000-01-01T10:00:00.000Z" },
	{ "kdb.second(36061)", -18, 36061, "2000-01-01T10:01:01.000Z" },
	{ "kdb.time(36000.25)", -19, 36000250, "2000-01-01T10:00:00.250Z" }, { "kdb.null.time", -19, NULL },
	{ "''", 10, "" }, { "'x'", 10, "x" }, { "'grüße'", 10, "grüße" },
	{ "kdb.null.generic", 101, NULL },
	{ "{}", 0, {} }, { "{ 'a', 1, kdb.symbol 'b', { 2.5 } }", 0, { "a", 1, "b", { 2.5 } } },
	{ "kdb.boolean { true, false }", 1, { true, false } },
	{ "kdb.guid { '01020304-0506-0708-090a-0b0c0d0e0f10' }", 2, { "01020304-0506-0708-090a-0b0c0d0e0f10" } },
	{ "kdb.byte { 0, 255 }", 4, { 0, 255 } }, { "kdb.short { 1, -1 }", 5, { 1, -1 } }, { "kdb.int { 7 }", 6, { 7 } },
	{ "kdb.long { 1, math.maxinteger - 1 }", 7, { 1, "9223372036854775806" } },
	{ "kdb.real { 0.5, 2 }", 8, { 0.5, 2 } }, { "kdb.float { 1, 0.1 }", 9, { 1, 0.1 } },
	{ "kdb.symbol { 'a', '', 'c' }", 11, { "a", NULL, "c" } }, { "kdb.symbol {}", 11, {} },
	{ "kdb.timestamp { 946684801, 946684802 }", 12, { 1000000000, 2000000000 },
		{ "2000-01-01T00:00:01.000Z", "2000-01-01T00:00:02.000Z" } },
	{ "kdb.timestamp { 946684799 }", 12, { -1000000000 }, false },
	{ "kdb.date { 1763719200 }", 14, { 9456 }, { "2025-11-21T00:00:00.000Z" } },
	{ "kdb.time { 1, 2 }", 19, { 1000, 2000 }, { "2000-01-01T00:00:01.000Z", "2000-01-01T00:00:02.000Z" } },
	{ "{ 'one', '2' }", 0, { "one", "2" } },
	{ "kdb.dictionary(kdb.symbol { 'a', 'b' }, kdb.long { 1, 2 })", 99, { a = 1, b = 2 } },
	{ "kdb.table({ 'sym', 'val' }, { kdb.symbol { 'x', 'y' }, kdb.float { 1, 2.5 } })", 98,
		{ sym = { "x", "y" }, val = { 1, 2.5 } } },
}

-- node-q's type and value, and what `tidegate kdb decode` makes of that. node-q computes timestamps with
-- doubles: those near 2000 are exact.
local READ = {
	{ "boolean", true, "1b" }, { "guid", "01020304-0506-0708-090a-0b0c0d0e0f10", "01020304-0506-0708-090a-0b0c0d0e0f10" },
	{ "byte", 42, "0x2a" }, { "short", -234, "-234h" }, { "short", NULL, "0Nh" }, { "short", "-inf", "-0Wh" },
	{ "int", 5, "5i" }, { "int", "inf", "0Wi" }, { "long", "9007199254740993", "9007199254740993" },
	{ "long", NULL, "0N" }, { "long", "-inf", "-0W" }, { "real", 1.5, "1.5e" }, { "float", 0.1, "0.1" },
	{ "float", "inf", "0w" }, { "char", "x", '"x"' }, { "symbol", "abc", "`abc" }, { "symbol", "", "`" },
	{ "timestamp", "2000-01-02T00:00:01.500Z", "2000.01.02D00:00:01.500000000" }, { "timestamp", NULL, "0Np" },
	{ "month", "2025-11-01T00:00:00Z", "2025.11m" }, { "month", "1999-12-01T00:00:00Z", "1999.12m" },
	{ "date", "2025-11-21T00:00:00Z", "2025.11.21" },
	{ "date", "1999-12-31T00:00:00Z", "1999.12.31" }, { "datetime", "2025-11-21T12:00:00Z", "2025.11.21T12:00:00.000" },
	{ "timespan", "2000-01-01T10:00:00.5Z", "0D10:00:00.500000000" }, { "minute", "2000-01-01T10:01:00Z", "10:01" },
	{ "second", "2000-01-01T10:01:02Z", "10:01:02" }, { "time", "2000-01-01T10:01:02.345Z", "10:01:02.345" },
	{ "string", "grüße", false }, { "string", "", '""' }, { "null", NULL, "::" },
	{ "booleans", { true, false }, "10b" }, { "ints", { 1, 2 }, "1 2i" }, { "longs", { "1", "2" }, "1 2" },
	{ "floats", { 1.5, 2 }, "1.5 2" }, { "symbols", { "a", "b" }, "`a`b" },
	{ "dates", { "2025-11-21T00:00:00Z", "2000-01-01T00:00:00Z" }, "2025.11.21 2000.01.01" },
	{ "mixedlist", { { "symbol", ".u.upd" }, { "int", 3 } }, "(`.u.upd;3i)" },
	{ "dict", { a = 1 }, false },
}

local function exact(value)
	if type(value) == "string" and value:find("^%-?%d+$") then
		return math.tointeger(tonumber(value))
	elseif type(value) == "table" then
		local copy = {}
		for key, item in pairs(value) do
			copy[key] = exact(item)
		end
		return copy
	end
	return value
end

describe("beside node-q", function()
	it("what kdb.encode writes is read as what it was", function()
		local script, messages, requests = { "local cases = {\n" }, {}, {}
		for i, case in ipairs(WRITTEN) do
			script[#script + 1] = ("function() return %s end,\n"):format(case[1])
			messages[i] = { "case", tostring(i) }
		end
		script[#script + 1] = "}\nfunction on_message(_, n) say(hex(kdb.encode(cases[tonumber(n)]()))) end\n"
		for i, bytes in ipairs(run_script(table.concat(script), messages)) do
			requests[i] = { decode = bytes }
		end
		assert.equal(#WRITTEN, #requests)
		for i, answer in ipairs(ask_peer(requests)) do
			local expression, kind, value, plain = table.unpack(WRITTEN[i])
			assert.is_nil(answer.error, expression)
			assert.equal(kind, answer.type, expression)
			assert.same(exact(value), exact(answer.exact), expression)
			if plain ~= false then
				assert.same(plain or exact(value), exact(answer.plain), expression)
			end
		end
	end)

	it("what it writes is read, and written again byte for byte", function()
		local requests, messages, bytes = {}, {}, {}
		for i, case in ipairs(READ) do
			requests[i] = { encode = case[1], value = case[2] }
		end
		for i, answer in ipairs(ask_peer(requests)) do
			bytes[i] = assert(answer.hex, answer.error)
			messages[i] = { "case", answer.hex }
		end
		local again = run_script([[
			function on_message(_, payload) say(hex(kdb.encode(assert(kdb.decode(unhex(payload)))))) end
		]], messages)
		assert.same(bytes, again)
		local path = file.write(file.directory() .. "/bytes", (table.concat(bytes):gsub("..", function(h)
			return string.char(tonumber(h, 16))
		end)))
		local texts = {}
		for text in proc.output(("%s kdb decode %s"):format(BINARY, path)):gmatch("\n  ([^\n]+)") do
			texts[#texts + 1] = text
		end
		assert.equal(#READ, #texts)
		for i, case in ipairs(READ) do
			if case[3] then
				assert.equal(case[3], texts[i], case[1])
			end
		end
	end)

	it("what is compressed is read, too", function()
		local bytes = run_script([[
			local list = {}
			for i = 1, 3000 do list[i] = i % 7 end
			function on_message() say(hex(kdb.encode(kdb.long(list), { compress = true }))) end
		]], { { "case", "" } })
		assert.equal("0100" .. "01", bytes[1]:sub(1, 6))
		assert.truthy(#bytes[1] < 24000)
		local values = ask_peer({ { decode = bytes[1] } })[1].exact
		assert.equal(3000, #values)
		for i, value in ipairs(values) do
			assert.equal(i % 7, value)
		end
	end)

	-- A column of each type: what a script gives, what the collector has.
	local COLUMNS = {
		{ "boolean", "true", true },
		{ "guid", "'01020304-0506-0708-090a-0b0c0d0e0f10'", "01020304-0506-0708-090a-0b0c0d0e0f10" },
		{ "byte", "200", 200 }, { "short", "-5", -5 }, { "int", "nil", NULL },
		{ "long", "9007199254740993", 9007199254740993 },
		{ "real", "0.5", 0.5 }, { "float", "20", 20 }, { "char", "'x'", "x" }, { "symbol", "'grüße'", "grüße" },
		{ "timestamp", "kdb.timestamp(1763719200, 123456789)", 817034400123456789 }, { "month", "1763719200", 310 },
		{ "date", "1763719200", 9456 }, { "timespan", "1.5", 1500000000 }, { "minute", "36000", 600 },
		{ "second", "36061", 36061 }, { "time", "0.25", 250 }, { "string", "'one, two'", "one, two" },
	}

	it("rows on a link are what they were, for each type, one or many", function()
		local columns, values, expected = {}, {}, {}
		for i, column in ipairs(COLUMNS) do
			columns[i] = ("c%d:%s"):format(i, column[1])
			values[i] = column[2]
			expected[i] = column[3]
		end
		local peer = collector.start { tables = { every = columns }, user = "gw", password = "secret" }
		local row = ("kdb.upd('every', { %s })"):format(table.concat(values, ", "):gsub("nil", "kdb.null.int"))
		tidegate.start {
			config = { links = { hist = {
				url = ("kdb://gw:secret@127.0.0.1:%d"):format(peer.port),
				tables = { every = columns },
				batch = { delay = "20ms" },
				check_meta = true,
			} } },
			scripts = { ["rules.lua"] = ([[
				local first = true
				function on_start() %s end
				function on_sent()
					for _ = 1, first and 50 or 0 do %s end
					first = false
				end
			]]):format(row, row) },
		}
		local rows = peer:wait_rows(51)
		for _, one in ipairs(rows) do
			assert.same(expected, { table.unpack(one) })
		end
		local calls = peer:wait_calls(2, ".u.upd")
		assert.equal("bgxhijefcspmdnuvtC", calls[1].types)
		assert.same({ 1, 50 }, { calls[1].rows, calls[2].rows })
		assert.equal("meta", peer:calls()[1].expression and "meta" or peer:calls()[1].call)
	end)
end)
