--- `tidegate dead`: dead letters listed, shown, retried and purged, of an agent that
-- runs and of one that does not.
local cjson = require "cjson"
local gateway = require "lib.gateway"
local loop = require "lib.loop"
local net = require "lib.net"
local tidegate = require "lib.tidegate"

-- Fails until it is told to do better.
local moody = [[
local healed = false
function on_message(topic, payload)
	if payload == "heal" then healed = true return end
	if not healed then error("not now") end
	mqtt.pub("out/" .. topic, payload)
end
]]

-- A gateway whose messages with these payloads are dead letters.
local function start(payloads, options)
	options = options or {}
	options.script = options.script or moody
	options.config = options.config or { control = "control.sock" }
	local g = gateway.start(options)
	for _, payload in ipairs(payloads) do
		g.sensor:publish("sensors/a", payload)
	end
	g:await_taken()
	return g
end

-- Runs `dead ... --json`; returns the lines as objects, the exit status and stderr.
local function dead(g, ...)
	local code, out, err = g.agent:command("dead", "--json", ...)
	local lines = {}
	for text in out:gmatch("[^\n]+") do
		lines[#lines + 1] = cjson.decode(text)
	end
	return lines, code, err
end

local function ids(g)
	local list = {}
	for i, letter in ipairs((dead(g, "list"))) do
		list[i] = ("%d"):format(letter.id)
	end
	return list
end

local function heal(g)
	g.sensor:publish("sensors/a", "heal")
	g:await_taken()
end

-- base64 as the tests' own program has it.
local function from_base64(text)
	local alphabet, bits, bytes = {}, 0, {}
	for i, c in ("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"):gmatch("()(.)") do
		alphabet[c:byte()] = i - 1
	end
	local n = 0
	for c in text:gmatch("[^=]") do
		bits, n = bits << 6 | alphabet[c:byte()], n + 6
		if n >= 8 then
			n = n - 8
			bytes[#bytes + 1] = string.char(bits >> n & 255)
			bits = bits & (1 << n) - 1
		end
	end
	return table.concat(bytes)
end

for _, running in ipairs { true, false } do
	local function stop(g)
		if not running then
			g.agent:stop()
		end
		return g
	end

	describe(running and "dead, while the agent runs:" or "dead, while it does not run:", function()
		it("lists and shows the letters", function()
			local before = os.time()
			local g = stop(start { "one", "zw\xc3\xb6lf", "\0\xff\27[31m", "" })
			local lines, code = dead(g, "list")
			assert.equal(0, code)
			assert.equal(4, #lines)
			assert.equal("dead_letter", lines[1].kind)
			assert.same({ "field", "rules.lua", "sensors/a", 3, 1, false, 1, false },
				{ lines[1].link, lines[1].script, lines[1].topic, lines[1].bytes, lines[1].qos, lines[1].retain,
				lines[1].tries, lines[1].retry })
			assert.truthy(lines[1].reason:find("rules.lua:4: not now$"))
			assert(lines[1].id < lines[2].id and lines[3].id < lines[4].id)
			assert(lines[1].time >= before - 1 and lines[1].time < before + 60)
			assert.is_nil(lines[1].payload)
			local shown = {}
			for i, id in ipairs(ids(g)) do
				shown[i] = dead(g, "show", id)[1]
			end
			assert.equal("one", shown[1].payload)
			assert.equal("zw\xc3\xb6lf", shown[2].payload)
			assert.is_nil(shown[3].payload)
			assert.equal("\0\xff\27[31m", from_base64(shown[3].payload_base64))
			assert.equal("", shown[4].payload)
			assert.equal(lines[1].reason, shown[4].reason)

			local _, text = g.agent:command("dead", "list")
			assert.truthy(text:match("%d+  %d+%-%d%d%-%d%d %d%d:%d%d:%d%d  rules.lua  sensors/a  %S*rules.lua:4: not now\n"))
			assert.truthy(text:find("4 dead letters\n", 1, true))
			_, text = g.agent:command("dead", "show", ids(g)[3])
			assert.truthy(text:find("\ntopic        sensors/a\npayload      7 bytes\n\\x00\\xff\\x1b[31m\n", 1, true), text)
		end)

		it("shows a large payload whole", function()
			local payload = {}
			for i = 1, 300000 do
				payload[i] = string.char(i * i % 256)
			end
			payload = table.concat(payload)
			local g = stop(start { payload })
			local letter = dead(g, "show", ids(g)[1])[1]
			assert.equal(#payload, letter.bytes)
			assert.truthy(from_base64(letter.payload_base64) == payload)
		end)

		it("purges one, or all", function()
			local g = stop(start { "1", "2", "3" })
			local lines, code = dead(g, "purge", ids(g)[2])
			assert.same({ { kind = "purged", count = 1 } }, lines)
			assert.equal(0, code)
			assert.equal("3", dead(g, "show", ids(g)[2])[1].payload)
			local _, text = g.agent:command("dead", "purge")
			assert.equal("2 dead letters purged\n", text)
			assert.same({}, ids(g))
			assert.same({ { kind = "purged", count = 0 } }, (dead(g, "purge")))
			g.agent:stop()
			assert.same({ { "0" } }, g.agent:sql("SELECT count(*) FROM dead"))
		end)

		it("says what is not there", function()
			local g = stop(start {})
			local _, text = g.agent:command("dead", "list")
			assert.equal("0 dead letters\n", text)
			for _, verb in ipairs { "show", "retry", "purge" } do
				local lines, code, err = dead(g, verb, "99")
				assert.same({}, lines)
				assert.equal(1, code)
				assert.equal("tidegate dead: there is no dead letter 99\n", err)
			end
		end)
	end)
end

describe("dead retry, while the agent runs,", function()
	it("has the script handle a letter, and counts when it fails again", function()
		local g = start { "1", "2", "3" }
		local list = ids(g)
		local lines, code = dead(g, "retry", list[2])
		assert.equal(1, code)
		assert.same({ "retried", tonumber(list[2]), false }, { lines[1].kind, lines[1].id, lines[1].handled })
		assert.truthy(#lines == 1 and lines[1].reason:find("rules.lua:4: not now$"))
		assert.same({ 1, 2, 1 }, { dead(g, "list")[1].tries, dead(g, "list")[2].tries, dead(g, "list")[3].tries })
		heal(g)
		lines, code = dead(g, "retry", list[2])
		assert.equal(0, code)
		assert.same({ { kind = "retried", id = tonumber(list[2]), handled = true } }, lines)
		assert.equal("2", g.collector:wait_topic("out/sensors/a").payload)
		local _, text = g.agent:command("dead", "retry")
		assert.equal(("dead letter %s: handled\ndead letter %s: handled\n"):format(list[1], list[3]), text)
		loop.eventually(function()
			return #g.collector:payloads("out/sensors/a") == 3
		end, "all arrive")
		assert.same({ "2", "1", "3" }, g.collector:payloads("out/sensors/a"))
		assert.same({}, ids(g))
		local log = g.agent:log()
		assert.truthy(log:find('info control: {"command":"dead retry","id":' .. list[2] .. "} uid=", 1, true), log)
	end)

	it("goes through many while messages flow", function()
		local g = start({}, { script = [[
			local healed = false
			function on_message(topic, payload)
				if payload == "heal" then healed = true return end
				if payload:find("^x") and not healed then error("not now") end
				mqtt.pub(payload:find("^x") and "late" or topic, payload)
			end
		]] })
		g.sensor:publish_many(900, function(i)
			return "sensors/x", "x" .. i
		end)
		heal(g)
		assert.equal(900, #ids(g))
		for i = 1, 2000 do
			g.sensor:post("sensors/a", "r" .. i, { qos = 1 })
		end
		local lines, code = dead(g, "retry")
		assert.equal(0, code)
		assert.equal(900, #lines)
		assert.equal(0, gateway.assert_in_order(g:wait_readings(2000)))
		loop.eventually(function()
			return #g.collector:payloads("late") == 900
		end, "all letters arrive")
		assert.same({}, ids(g))
	end)
end)

describe("dead retry, while the agent does not run,", function()
	it("is done when it starts", function()
		local g = start { "1", "2", "3" }
		g.agent:stop()
		local list = ids(g)
		local lines, code = dead(g, "retry", list[2])
		assert.equal(0, code)
		assert.same({ { kind = "retried", id = tonumber(list[2]), later = true } }, lines)
		assert.equal(true, dead(g, "list")[2].retry)
		g.agent:script("rules.lua", "function on_message(topic, payload) mqtt.pub('out', payload) end")
		g:start(true)
		assert.equal("2", g.collector:wait_topic("out").payload)
		loop.eventually(function()
			return #ids(g) == 2
		end, "it is gone")
	end)
end)

describe("dead:", function()
	it("says what to do when the agent runs without a control socket", function()
		local g = start({ "1" }, { config = {} })
		local code, out, err = g.agent:command("dead", "list")
		assert.equal(1, code)
		assert.equal("", out)
		assert.truthy(err:find("in use by another process", 1, true), err)
		assert.truthy(err:find('control = "/run/tidegate/control.sock"', 1, true), err)
	end)

	it("makes no database where there is none", function()
		local agent = tidegate.new { config = { links = { core = { url = "mqtt://127.0.0.1:" .. net.free_port() } } } }
		local code, _, err = agent:command("dead", "list")
		assert.equal(1, code)
		assert.truthy(err:find(agent.queue_path .. ": No such file", 1, true), err)
	end)

	it("answers bad usage with status 64", function()
		local agent = tidegate.new { config = { links = { core = { url = "mqtt://127.0.0.1" } } } }
		for _, words in ipairs { {}, { "fly" }, { "show" }, { "show", "x" }, { "show", "0" }, { "show", "-1" },
			{ "list", "3" }, { "show", "1", "2" }, { "retry", "99999999999999999999" }, { "purge", "1x" } } do
			local code, out, err = agent:command("dead", table.unpack(words))
			assert.equal(64, code, table.concat(words, " "))
			assert.equal("", out)
			assert.truthy(err:find("tidegate dead: ", 1, true))
		end
	end)
end)
