--- `tidegate kdb decode`: what passed over a connection to a kdb+ collector, as text.
local cjson = require "cjson"
local file = require "lib.file"
local proc = require "lib.proc"
local uv = require "luv"

local binary = assert(uv.fs_realpath(os.getenv("TIDEGATE") or "build/tidegate"), "run make first")

-- The bytes of messages by hand, in hex; blanks are for the reader.
local CALL = "01 01 0000 30000000  00 00 03000000  f5 2e752e75706400  f5 74616e6b00"
	.. "  00 00 01000000  07 00 01000000 0500000000000000"
local REPLY = "01 02 0000 0a000000  65 00"
local ERROR = "01 02 0000 0e000000  80 7479706500"
local BIG = "00 00 0000 0000000d  fa 00000102"
local ZIP = "01 00 01 00 18000000  1a000000  00  04 00 0c000000 4141  01 00 08"
local DAMAGED = "01 00 0000 0e000000  07 00 02000000" -- two longs, of which there is none

local function bytes(...)
	return (table.concat { ... }:gsub("%s", ""):gsub("%x%x", function(digits)
		return string.char(tonumber(digits, 16))
	end))
end

-- Returns exit status, stdout, stderr of decoding `input`, a file's contents.
local function decode(input, ...)
	local directory = file.directory()
	file.write(directory .. "/capture", input)
	local process = proc.spawn({ binary, "kdb", "decode", "capture", ... },
		{ cwd = directory, stdout = directory .. "/out", stderr = directory .. "/err" })
	local code = process:wait()
	return code, file.read(directory .. "/out"), file.read(directory .. "/err")
end

describe("kdb decode", function()
	it("prints the messages of a file one behind the other", function()
		local code, out, err = decode(bytes(CALL, REPLY, ERROR, BIG, ZIP))
		assert.are.equal("", err)
		assert.are.equal(table.concat({
			"byte 0: sync, little-endian, 48 bytes",
			"  (`.u.upd;`tank;enlist enlist 5)",
			"byte 48: response, little-endian, 10 bytes",
			"  ::",
			"byte 58: response, little-endian, 14 bytes",
			"  'type",
			"byte 72: async, big-endian, 13 bytes",
			"  258i",
			"byte 85: async, little-endian, 24 bytes, 26 uncompressed",
			"  0x414141414141414141414141",
			"",
		}, "\n"), out)
		assert.are.equal(0, code)
	end)

	it("reads hexadecimal text", function()
		for _, text in ipairs { CALL, "0x" .. CALL:gsub("%s", ""):upper(), CALL:gsub("  ", "\n") .. "\n" } do
			local code, out, err = decode(text)
			assert.are.equal("", err)
			assert.matches("(`.u.upd;`tank;enlist enlist 5)", out, 1, true)
			assert.are.equal(0, code)
		end
	end)

	it("reads standard input", function()
		local command = ("printf '%s' | %s kdb decode"):format(REPLY, file.quote(binary))
		assert.are.equal("byte 0: response, little-endian, 10 bytes\n  ::\n", proc.output(command))
	end)

	it("recognises a handshake, and keeps the password to itself", function()
		local code, out = decode("edge-1:hu:sh\3\0" .. bytes(CALL))
		assert.are.equal(0, code)
		assert.matches('^byte 0: handshake, user "edge%-1", with a password, capability 3\nbyte 14: sync,', out)
		assert.is_nil(out:find("hu:sh", 1, true))
		assert.matches('user "edge", no password, capability 1', select(2, decode("edge\1\0")), 1, true)
		assert.matches('user "", no password, capability 3', select(2, decode("\3\0" .. bytes(CALL))), 1, true)
	end)

	it("recognises the answer to a handshake", function()
		for _, first in ipairs { REPLY, BIG } do
			local code, out = decode("\3" .. bytes(first))
			assert.are.equal(0, code)
			assert.matches("^byte 0: handshake accepted, capability 3\nbyte 1: ", out)
		end
	end)

	it("gives one JSON object a line", function()
		local code, out = decode("gw:hush\3\0" .. bytes(CALL, ZIP), "--json")
		local lines = {}
		for line in out:gmatch("[^\n]+") do
			lines[#lines + 1] = cjson.decode(line)
		end
		assert.are.equal(0, code)
		assert.are.same({
			{ at = 0, kind = "handshake", user = "gw", password = true, capability = 3 },
			{ at = 9, kind = "sync", order = "little", size = 48, compressed = false, plain_size = 48,
				object = "(`.u.upd;`tank;enlist enlist 5)" },
			{ at = 57, kind = "async", order = "little", size = 24, compressed = true, plain_size = 26,
				object = "0x414141414141414141414141" },
		}, lines)
	end)

	it("says what is wrong where, and goes on with the next message", function()
		local code, out, err = decode(bytes(REPLY, DAMAGED, REPLY))
		assert.are.equal(1, code)
		assert.are.equal("tidegate kdb decode: capture: message at byte 10: byte 10: "
			.. "a count of 2 does not fit into the 0 bytes that are left\n", err)
		assert.matches("byte 24: response", out, 1, true)
	end)

	it("ends where nothing tells how long a message is", function()
		for input, problem in pairs {
			[bytes(REPLY) .. "\1\2\0"] = "message at byte 10: a head has 8 bytes, and there are 3",
			[bytes(REPLY, REPLY):sub(1, -2)] = "message at byte 10: says that it has 10 bytes, and there are 9",
			["HTTP/1.1 400 Bad Request\r\n\r\n"] = "message at byte 0: byte 0: a message begins with its byte order, "
				.. "0 or 1, and not with 0x48",
			[""] = "message at byte 0: there is none",
			[REPLY .. "0"] = "message at byte 0: byte 0: a message begins with its byte order, 0 or 1, and not with 0x30",
		} do
			local code, _, err = decode(input)
			assert.are.equal(1, code)
			assert.are.equal("tidegate kdb decode: capture: " .. problem .. "\n", err)
		end
	end)

	it("shows at most 64 KB of an object", function()
		local n = 200000
		local code, out = decode(("<i1i1i2i4i1i1i4"):pack(1, 0, 0, 14 + n, 10, 0, n) .. ("a"):rep(n))
		assert.are.equal(0, code)
		assert.is_true(#out > 60000 and #out < 70000)
		assert.are.equal("..\n", out:sub(-3))
	end)

	it("names a file that it cannot read", function()
		local code, _, err = decode("", "extra")
		assert.are.equal(64, code)
		assert.matches("unexpected extra", err, 1, true)
		local process = proc.spawn({ binary, "kdb", "decode", "/nowhere" }, { stderr = "/dev/null" })
		assert.are.equal(1, process:wait())
	end)
end)
