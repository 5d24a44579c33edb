--- The agent as it is built for other machines, emulated, between brokers of this one:
-- tests/cross.sh builds it. What a router has written must be readable on a desk.
local cjson = require "cjson"
local file = require "lib.file"
local gateway = require "lib.gateway"
local http = require "lib.http"
local kdb_gateway = require "lib.kdb_gateway"
local net = require "lib.net"
local proc = require "lib.proc"

local machines = {}
for machine in (os.getenv("MACHINES") or "armhf s390x"):gmatch("%S+") do
	machines[#machines + 1] = machine
end

-- Counts in `state`, beside values of all kinds; what says "bad" is a dead letter.
local KEEPER = [[
local kept = { n = 0, float = -0.1, huge = math.maxinteger - 1, least = math.mininteger, bytes = "\0\x80\xff" }
function on_start()
	for name, value in pairs(state.kept and kept or {}) do
		assert(name == "n" or state.kept[name] == value and math.type(state.kept[name]) == math.type(value), name)
	end
	log.info("kept %d", state.kept and state.kept.n or 0)
end
function on_message(topic, payload)
	if payload == "bad" then error("bad indeed") end
	state.kept = state.kept or kept
	state.kept.n = state.kept.n + 1
	mqtt.pub(topic, payload, { ttl = 3600, properties = { user = { { "n", tostring(state.kept.n) } } } })
end
]]

local function lines_of(text)
	local list = {}
	for line in text:gmatch("[^\n]+") do
		list[#list + 1] = cjson.decode(line)
	end
	return list
end

local ROWS = { tables = { sensor = { "sym:symbol", "n:long", "val:float", "at:timestamp", "i:int", "h:short", "r:real",
	"id:guid", "day:date", "text:string", "ok:boolean", "none:long" } } }
local ROW = [[
function on_message(topic, payload)
	local n = tonumber(payload)
	assert(kdb.upd("sensor", { "pump" .. n, n * 1000000007, n / 3, 2346217689.5, -n,
		n * 100, n / 4, "0a369037-75d3-b24d-6721-5a1d44d4bed5", 2346217689, "a\0" .. n, n % 2 == 0, kdb.null.long }))
end
]]

-- Rows first to last into the agent's queue, the collector being away.
local function queue_rows(g, first, last)
	g.sensor:publish_many(last - first + 1, function(i)
		return "rows/sensor", tostring(first + i - 1)
	end)
	g.field:wait_acknowledged("gw-field", g.sensor)
end

local function each_machine(machine)
	it("is the machine it is said to be", function()
		local text = proc.output(("readelf --file-header build/%s/tidegate"):format(machine))
		local about = { armhf = { "ELF32", "little endian" }, mipsel = { "ELF32", "little endian" },
			s390x = { "ELF64", "big endian" } }
		for _, words in ipairs(about[machine]) do
			assert.truthy(text:find(words, 1, true), text)
		end
	end)

	it("carries readings through an outage and kill -9", function()
		local g = gateway.start { agent = { machine = machine } }
		g:publish_readings(1, 100)
		g:wait_readings(100)
		g.uplink.cut()
		g:publish_readings(101, 300)
		g:await_taken()
		g.agent:kill()
		g:publish_readings(301, 400)
		g:start()
		g.uplink.restore()
		gateway.assert_in_order(g:wait_readings(400))
	end)

	it("shares a database with this one, queue, state and dead letters, whoever was killed", function()
		local g = gateway.start { down = true, idle = true, script = KEEPER, core = { version = "5" } }
		local places = { false, machine, false, machine, false }
		for i, place in ipairs(places) do
			g.agent:move(place or nil)
			g:start()
			g.agent:wait_log(("kept %d\n"):format((i - 1) * 50))
			g:publish_readings(i * 50 - 49, i * 50)
			g.sensor:publish("sensors/a", "bad")
			g:await_taken()
			if i < #places then
				g.agent:kill()
			end
		end
		g.uplink.restore()
		assert.equal(0, gateway.assert_in_order(g:wait_readings(250)))
		assert.equal(0, g.agent:stop())
		local instances = {}
		for instance in g.agent:log():gmatch("instance=(%x+)") do
			instances[instance] = true
		end
		assert.truthy(next(instances) and not next(instances, next(instances)))
		for _, place in ipairs { false, machine } do
			g.agent:move(place or nil)
			local code, out, err = g.agent:command("dead", "list", "--json")
			assert.equal(0, code, err)
			assert.equal(5, #lines_of(out))
		end
	end)

	it("gives a kdb+ collector the rows that this one gives it, also those of the other's queue", function()
		local expected
		for _, places in ipairs { { false, false }, { machine, machine }, { machine, false }, { false, machine } } do
			local g = kdb_gateway.start { collector = { tables = ROWS.tables }, link = ROWS, script = ROW, idle = true }
			g.collector:kill()
			g.agent:move(places[1] or nil)
			g:start()
			queue_rows(g, 1, 20)
			g.agent:kill()
			g.agent:move(places[2] or nil)
			g.collector:start()
			g:start(true)
			local rows = g.collector:wait_rows(20)
			for _, row in ipairs(rows) do
				row.instance = nil
			end
			expected = expected or rows
			assert.same(expected, rows)
			assert.same({ "pump3", 3000000021, 1.0, -3, 300, 0.75 }, { rows[3][1], rows[3][2], rows[3][3], rows[3][5],
				rows[3][6], rows[3][7] })
			g.agent:stop()
		end
	end)

	it("tells how it does, over the control socket and over HTTP", function()
		local port = net.free_port()
		local g = gateway.start { agent = { machine = machine },
			config = { control = "control.sock", http = "127.0.0.1:" .. port } }
		g:publish_readings(1, 10)
		g:wait_readings(10)
		assert.is_true(g.agent:link_status("core").up)
		local answer = http.get(port, "/metrics")
		assert.equal(200, answer.status)
		assert.truthy(answer.body:find('tidegate_received_total{link="field"} 10\n', 1, true), answer.body)
	end)
end

-- What the program takes from libraries: names with their declarations, those of the C library by itself.
local function imports(triplet, build, sysroot)
	local declared, ours, libc = {}, {}, {}
	local directory = file.directory()
	proc.output(("grep -h '^#include <' agent/*.[ch] store/*.[ch] | sort -u >%s/all.c"):format(directory))
	proc.output(("%s-gcc --sysroot=%s -I%s/usr/include -I%s/usr/include/lua5.4 -D_GNU_SOURCE -D_FILE_OFFSET_BITS=64 " ..
		"-D_TIME_BITS=64 -fsyntax-only -aux-info %s/declared %s/all.c"):format(triplet, sysroot, sysroot, sysroot, directory,
		directory))
	for line in file.read(directory .. "/declared"):gmatch("%*/ ([^\n]+)") do
		for name in line:gmatch("([%w_]+) %(") do
			declared[name] = (declared[name] or "") .. line
		end
	end
	local symbols = proc.output(("%s-nm --dynamic --undefined-only %s"):format(triplet, build))
	for name, of in (symbols .. file.read("agent/http_library.c"):gsub('"(MHD_[%w_]+)"', "U %1\n"))
			:gmatch("%f[%w]U ([%w_]+)([^\n]*)") do
		(of:find("GLIBC", 1, true) and libc or ours)[name] = declared[name] or ""
	end
	return ours, libc
end

local function naming(list, ...)
	local found = {}
	for name, declaration in pairs(list) do
		for _, word in ipairs { ... } do
			found[name] = found[name] or declaration:find("%f[%w_]" .. word .. "%f[^%w_]") and true
		end
	end
	return found
end

-- Debian's libraries for 32 bits have times of 32 bits, the agent has 64.
local TRIPLETS = { armhf = "arm-linux-gnueabihf", mipsel = "mipsel-linux-gnu" }

local function times_apart(machine)
	it("has times of 64 bits and passes none to a library", function()
		local ours, libc = imports(TRIPLETS[machine], "build/" .. machine .. "/tidegate", "build/sysroot-" .. machine)
		assert.is_true(naming(ours, "size_t").lua_pushlstring) -- it looks where it should
		assert.is_true(naming(ours, "MHD_Response").MHD_destroy_response)
		for name, declaration in pairs(ours) do
			assert(declaration ~= "" or name:find("^_"), "no declaration of " .. name)
		end
		assert.same({}, naming(ours, "time_t", "timeval", "timespec", "stat", "off_t", "off64_t", "tm"))
		assert.same({}, naming(libc, "time_t", "timeval", "timespec", "stat"))
		assert.truthy(libc.__clock_gettime64 and libc.__stat64_time64 and libc.ftruncate64)
	end)
end

for _, machine in ipairs(machines) do
	describe(machine .. ":", function()
		each_machine(machine)
		if TRIPLETS[machine] then
			times_apart(machine)
		end
	end)
end
