--- Rules run without a broker: what goes in and comes out, in simulated time, and always
-- the same.
local cjson = require "cjson"
local file = require "lib.file"
local proc = require "lib.proc"
local uv = require "luv"

local binary = assert(uv.fs_realpath(os.getenv("TIDEGATE") or "build/tidegate"), "run make first")

-- Runs the binary in a fresh directory with these files; returns exit status, stdout, stderr.
local function run(files, ...)
	local directory = file.directory()
	for name, text in pairs(files) do
		file.write(directory .. "/" .. name, text)
	end
	local out, err = directory .. "/out", directory .. "/err"
	local process = proc.spawn({ binary, ... }, { cwd = directory, stdout = out, stderr = err,
		env = { TMPDIR = directory } })
	local code = process:wait(60)
	local output, errors = file.read(out), file.read(err)
	assert(not errors:find("Sanitizer") and not errors:find("runtime error:"), errors)
	return code, output, errors, directory
end

-- The events that `tidegate test --json` prints for a script and lines of input.
local function events(script, lines, ...)
	local code, out, err = run({ ["rules.lua"] = script, ["in.jsonl"] = lines },
		"test", "rules.lua", "--input", "in.jsonl", "--json", ...)
	local list = {}
	for line in out:gmatch("[^\n]+") do
		list[#list + 1] = cjson.decode(line)
	end
	return list, code, err
end

-- "AT EVENT TEXT" of those events that are wanted: { publish = "payload", log = "text" }.
local function brief(list, wanted)
	local lines = {}
	for _, event in ipairs(list) do
		local key = wanted[event.event]
		if key then
			lines[#lines + 1] = ("%g %s %s"):format(event.at, event.event, event[key] or "-")
		end
	end
	return lines
end

local doors = [[
local last = {}
on("sensors/+/door", function(topic, payload)
	if last[topic] ~= payload then
		last[topic] = payload
		assert(mqtt.pub("doors/" .. topic:match("^sensors/([^/]+)/"), payload, { retain = true }))
	end
end)
]]

describe("tidegate test", function()
	it("prints what goes in and what comes out", function()
		local code, out, err = run({ ["doors.lua"] = doors, ["in.jsonl"] = [[
# two openings, one after the other
{"at":10,"topic":"sensors/hall/door","payload":"open"}

{"at":11.5,"topic":"sensors/hall/door","payload":"open"}
{"at":12,"topic":"sensors/hall/door","payload_base64":"/wA="}
]] }, "test", "doors.lua", "--input", "in.jsonl")
		assert.equal("", err)
		assert.equal([[
      0.000  up           core
      0.000  up           field
     10.000  message      field sensors/hall/door open
     10.000    publish    core doors/hall (retain) open
     11.500  message      field sensors/hall/door open
     12.000  message      field sensors/hall/door \xff\x00
     12.000    publish    core doors/hall (retain) \xff\x00
     12.000  stop
]], out)
		assert.equal(0, code)
	end)

	it("takes the messages from standard input and leaves nothing behind", function()
		local directory = file.directory()
		file.write(directory .. "/doors.lua", doors)
		file.write(directory .. "/in", '{"topic":"sensors/a/door","payload":"open"}\n')
		local out = directory .. "/out"
		local process = proc.spawn({ "sh", "-c", 'exec "$0" test doors.lua <in', binary },
			{ cwd = directory, stdout = out, env = { TMPDIR = directory } })
		assert.equal(0, process:wait())
		assert(file.read(out):find("publish    core doors/a (retain) open", 1, true))
		local names = {}
		local scan = uv.fs_scandir(directory)
		for name in function() return uv.fs_scandir_next(scan) end do
			names[#names + 1] = name
		end
		table.sort(names)
		assert.same({ "doors.lua", "in", "out" }, names)
	end)

	it("goes through a table to its end that becomes part of `state` meanwhile", function()
		local list = events('for k in pairs { 1, 2, 3 } do log.info("%d", k) end ' ..
			'function on_message() local t = { 5, 6, 7 } for k, v in pairs(t) do state.t = t log.info("%d %d", k, v) end end',
			'{"topic":"a"}\n')
		assert.same({ "0 log 1", "0 log 2", "0 log 3", "0 log 1 5", "0 log 2 6", "0 log 3 7" }, brief(list, { log = "text" }))
	end)

	it("lets timers fire between the messages, and clocks say the simulated time", function()
		local list = events([[
			every(10, function() log.info("%.0f %.0f %s", now() - 1767225600, uptime(), os.date("%H:%M:%S")) end)
			after("25s", function() mqtt.pub("once", os.time() - 1767225600) end)
			function on_message(_, payload, msg) mqtt.pub("at", msg.time - 1767225600) end
		]], '{"at":15,"topic":"a"}\n{"at":32.25,"topic":"a"}\n', "--until", "40")
		assert.same({
			"10 log 10 11 00:00:10", "15 publish 15.0", "20 log 20 21 00:00:20", "25 publish 25",
			"30 log 30 31 00:00:30", "32.25 publish 32.25", "40 log 40 41 00:00:40", "40 stop -",
		}, brief(list, { log = "text", publish = "payload", stop = "text" }))
	end)

	it("begins when --start says, and goes on when the last line says", function()
		local list = events([[every(3600, function() print(os.date("%Y-%m-%d %H")) end)]],
			'{"at":7200}\n', "--start", "2027-03-01T06:00")
		assert.same({ "3600 log 2027-03-01 07", "7200 log 2027-03-01 08" }, brief(list, { log = "text" }))
	end)

	it("delivers at once, or when the link is up again, or never", function()
		local list = events([[
			function on_message(_, payload) mqtt.pub("out", payload, { ttl = 30, ctx = payload }) end
			function on_sent(token, link, ctx) print("sent", ctx) end
			function on_drop(token, link, reason, ctx) print("dropped", ctx, reason) end
			function on_disconnect(link, reason) print("lost", link, reason) end
			function on_connect(link) print("back", link) end
		]], [[
{"at":1,"topic":"a","payload":"one"}
{"at":2,"link":"core","event":"down","reason":"cut"}
{"at":3,"topic":"a","payload":"two"}
{"at":30,"topic":"a","payload":"three"}
{"at":40,"link":"core","event":"up"}
{"at":41,"link":"core","event":"down"}
{"at":42,"topic":"a","payload":"four"}
]])
		assert.same({
			"0 log back\tcore", "0 log back\tfield",
			"1 sent out", "1 log sent\tone", "2 log lost\tcore\tcut", "40 log back\tcore", "40 drop expired", "40 sent out",
			"40 log sent\tthree", "40 log dropped\ttwo\texpired", "41 log lost\tcore\tlost",
			"42 log lost\tfield\tstopped", "42 waiting 1 message",
		}, brief(list, { log = "text", drop = "reason", sent = "topic", waiting = "text" }), cjson.encode(list))
	end)

	it("says all there is to say about a message", function()
		local list = events([[
			function on_message(topic, payload, msg)
				mqtt.link("other"):pub("out/" .. topic, payload .. tostring(msg.retain) .. tostring(msg.dup) .. msg.link, {
					qos = 2, retain = true, priority = 3, ttl = "1m", ctx = { 1, { x = true } }, properties = msg.properties })
				mqtt.sub("more/#", { link = "other", qos = 0 })
			end
		]], '{"topic":"t","payload":{"v":21.5},"link":"zig","qos":0,"retain":true,"dup":true,' ..
			'"properties":{"content_type":"json","correlation_data_base64":"/w==","user":[["a","b"]]}}\n')
		local found = {}
		for _, event in ipairs(list) do
			found[event.event] = event
		end
		assert.same({ at = 0, event = "message", link = "zig", topic = "t", payload = '{"v":21.5}', qos = 0, retain = true,
			dup = true, properties = found.message.properties }, found.message)
		assert.same({ content_type = "json", correlation_data_base64 = "/w==", user = { { "a", "b" } } },
			found.message.properties)
		assert.same({ at = 0, event = "publish", script = "rules.lua", handler = "on_message", link = "other",
			topic = "out/t", payload = '{"v":21.5}truetruezig', qos = 2, retain = true, priority = 3, ttl = 60,
			ctx = { 1, { x = true } }, properties = found.message.properties, token = 1 }, found.publish)
		assert.same({ at = 0, event = "subscribe", script = "rules.lua", handler = "on_message", link = "other",
			filter = "more/#", qos = 0 }, found.subscribe)
	end)

	it("tells of a handler that fails, goes on, and exits with 1", function()
		local list, code = events([[
			function on_message(_, payload)
				mqtt.pub("never", "x")
				if payload == "bad" then
					error("what a payload")
				end
			end
		]], '{"topic":"a","payload":"bad"}\n{"topic":"a","payload":"good"}\n')
		assert.equal(1, code)
		assert.same({ "0 error on_message (topic a)", "0 publish never" },
			brief(list, { error = "where", publish = "topic" }))
		for _, event in ipairs(list) do
			if event.event == "error" then
				assert(event.text:find("^rules.lua:4: what a payload\nstack traceback:"), event.text)
			end
		end
	end)

	it("prints every error of many", function()
		local lines = ('{"topic":"a"}\n'):rep(50)
		local list, code = events("function on_message() error('again') end", lines)
		assert.equal(50, #brief(list, { error = "where" }))
		assert.equal(1, code)
	end)

	it("gives the same bytes every time", function()
		local script = [[
			local seen = {}
			function on_message(topic, payload)
				seen[topic], seen[#topic], seen[topic == "a/1"] = payload, math.random(1000), true
				for key, value in pairs(seen) do
					mqtt.pub("out", tostring(key) .. "=" .. tostring(value), { ctx = seen })
				end
				for key in next, seen do print(key) end
				print(math.random(), os.clock(), os.date(), now())
			end
			every(7, function() mqtt.pub("tick", math.random(1 << 40)) end)
		]]
		local lines = {}
		for i = 1, 40 do
			lines[i] = ('{"at":%d,"topic":"%s/%d","payload":"%d"}'):format(i, ("abcdefghij"):sub(i % 7 + 1), i % 13, i)
		end
		local files = { ["rules.lua"] = script, ["in.jsonl"] = table.concat(lines, "\n") }
		for _, form in ipairs { "--json", "-v" } do
			local _, first = run(files, "test", "rules.lua", "--input", "in.jsonl", form)
			local _, second = run(files, "test", "rules.lua", "--input", "in.jsonl", form)
			assert(#first > 10000)
			assert.equal(first, second)
		end
	end)

	it("goes through tables in the order of their keys", function()
		local list = events([[
			local t = { z = 1, a = 2, [10] = 3, [2.5] = 4, [true] = 5, [-1] = 6 }
			local keys = {}
			for key in pairs(t) do
				keys[#keys + 1] = tostring(key)
				t[key] = nil
			end
			print(table.concat(keys, " "), next(t), next({ b = 1, a = 2 }))
			local odd = { [print] = 1, [next] = 2, x = 3 }
			local n = 0
			for key in pairs(odd) do n = n + 1 end
			for key in next, odd do n = n + 1 end
			print(n, next(odd))
		]], "")
		assert.same({ "0 log -1 2.5 10 a z true\tnil\ta\t2", "0 log 6\tx\t3" }, brief(list, { log = "text" }))
	end)

	it("prints what changes in state, and at the end what was counted", function()
		local code, out = run({ ["rules.lua"] = [[
			function on_message(topic, payload)
				state.n = (state.n or 0) + 1
				state.seen = state.seen or {}
				state.seen[topic] = payload
				state.always = { a = 1, b = { 2 } }
				if payload == "forget" then
					for key in pairs(state.seen) do state.seen[key] = nil end
					state.n = nil
					print(next(state), next(state.seen))
				end
				metric.counter("seen", { topic = topic }):inc()
				if payload == "bad" then error("no") end
			end
		]], ["in.jsonl"] = [[
{"topic":"b","payload":"x"}
{"topic":"a","payload":"bad"}
{"topic":"a","payload":"y"}
{"topic":"a","payload":"forget"}
]] }, "test", "rules.lua", "--input", "in.jsonl")
		assert.equal(1, code)
		assert.equal([[
message      field b x
  state      n = 1
  state      seen = {"b":"x"}
  state      always = {"a":1,"b":[2]}
message      field a bad
message      field a y
  state      n = 2
  state      seen = {"a":"y","b":"x"}
message      field a forget
  log        info: always    nil
  state      n = null
  state      seen = {}
stop
metric       seen{topic="a"} 3
metric       seen{topic="b"} 1
]], (out:gsub("%f[^\n%z] +0%.000  ", ""):gsub("up +%a+\n", ""):gsub("  error.-\n(message )", "%1")))
	end)

	it("prints decoded JSON that is kept, arrays and null included", function()
		local document = '{"empty":[],"list":[1,[2]],"none":null,"object":{}}'
		local _, out = run({ ["rules.lua"] = [[
			function on_message(_, payload)
				state.document = json.decode(payload)
				mqtt.pub("out", "", { ctx = state.document })
			end
		]], ["in.jsonl"] = '{"topic":"a","payload":' .. document .. '}\n' }, "test", "rules.lua", "--input", "in.jsonl")
		assert.truthy(out:find("state      document = " .. document .. "\n", 1, true), out)
		assert.truthy(out:find("ctx " .. document, 1, true), out)
	end)

	it("ends where rules would go on for ever", function()
		local _, code, err = events([[
			function on_message() mqtt.pub("out", "") end
			function on_sent() mqtt.pub("out", "") end
		]], '{"topic":"a"}')
		assert.equal("tidegate: what is published when something was sent never comes to an end\n", err)
		assert.equal(1, code)
	end)

	it("goes through state as through any table", function()
		local list = events([[
			function on_message(_, payload)
				for i, word in ipairs { "pear", "apple", "fig" } do state[word] = { [i] = word } end
				state.fig = nil
				local words = {}
				for word, list in pairs(state) do words[#words + 1] = word .. #list end
				for word in next, state do words[#words + 1] = word end
				for word in pairs(state) do state[word] = nil end
				print(table.concat(words, " "), next(state))
			end
		]], '{"topic":"a"}')
		assert.same({ "0 log apple0 pear1 apple pear\tnil" }, brief(list, { log = "text" }))
	end)

	it("names the script where there are several", function()
		local _, out = run({ ["one.lua"] = 'function on_message() mqtt.pub("one", 1) end',
			["two.lua"] = 'function on_message() mqtt.pub("two", 2) end', ["in.jsonl"] = '{"topic":"a"}' },
			"test", "one.lua", "two.lua", "--input", "in.jsonl")
		assert(out:find("publish    [one.lua] core one 1\n      0.000    publish    [two.lua] core two 2", 1, true), out)
	end)

	it("takes links and limits from a configuration that is for another machine", function()
		local files = {
			["agent.lua"] = [[return {
				name = "gw-7",
				links = {
					field = { url = "mqtt://127.0.0.1:1883", subscribe = { "sensors/#" } },
					core = { url = "mqtts://broker.example.com", username = "gw-7", password = file("/etc/tidegate/core.secret"),
						tls = { ca = "/nowhere/ca.pem" }, queue = { max_messages = 2 } },
				},
				scripts = { "rules.lua" },
				store = { path = "/nowhere/queue.db" },
				control = "/nowhere/control.sock",
			}]],
			["rules.lua"] = [[
				print(agent.name, mqtt.link("hist"))
				function on_message(_, payload) mqtt.pub("out", payload) end
			]],
			["in.jsonl"] = '{"link":"core","event":"down"}\n' .. ('{"topic":"a","payload":"x"}\n'):rep(5),
		}
		local code, out, err = run(files, "test", "-c", "agent.lua", "--input", "in.jsonl")
		assert.equal("", err)
		assert.equal(0, code)
		assert(out:find("info: gw-7    nil    unknown link\n", 1, true), out)
		assert(out:find("waiting      core 2 messages\n", 1, true), out)
		assert.equal(3, select(2, out:gsub("drop         core out overflow\n", "")))
		files["in.jsonl"] = '{"link":"elsewhere","topic":"a"}\n'
		code, out, err = run(files, "test", "-c", "agent.lua", "--input", "in.jsonl")
		assert.equal("", out:match("publish.*") or "")
		assert.equal("tidegate: there is no link elsewhere\n", err)
		assert.equal(1, code)
	end)

	it("exits with 78 if a script does not load", function()
		local bad = { ["bad.lua"] = "function on_message(topic payload)" }
		local code, _, err = run(bad, "test", "bad.lua", "--input", "/dev/null")
		assert.equal(78, code)
		assert(err:find("^tidegate: bad.lua:1: "), err)
		code, _, err = run({}, "test", "none.lua", "--input", "/dev/null")
		assert.equal(78, code)
		assert(err:find("none.lua", 1, true), err)
	end)

	it("exits with 64 if it is asked for nothing or for nonsense", function()
		assert.equal(64, (run({}, "test")))
		local code, _, err = run({}, "test", "rules.lua", "--until", "soon")
		assert.equal('tidegate: --until: expected seconds or a duration such as "10m", got soon\n', err)
		assert.equal(64, code)
		code, _, err = run({}, "test", "rules.lua", "--start", "noon")
		assert.equal("tidegate: --start: expected a time in UTC, 2026-01-31T12:00:00, got noon\n", err)
		assert.equal(64, code)
		code, _, err = run({}, "test", "rules.lua", "--input")
		assert(err:find("expected a value after --input", 1, true), err)
		assert.equal(64, code)
		assert.equal(64, (run({}, "check", "--input", "x")))
	end)
end)

describe("a bad line of the input", function()
	local function problem(text)
		local code, _, err = run({ ["rules.lua"] = "", ["in.jsonl"] = '{"at":5,"topic":"ok"}\n' .. text .. "\n" },
			"test", "rules.lua", "--input", "in.jsonl")
		assert.equal(1, code)
		return (err:gsub("^tidegate: in.jsonl:2: ", ""):gsub("\n$", ""))
	end

	it("is told by its number and what was expected", function()
		for line, expected in pairs {
			['{"at":1,"topic":"a"}'] = "at: expected lines in order of time, got 1.000 after 5.000",
			['{"at":"1","topic":"a"}'] = "at: expected seconds, a number from 0 up",
			['{"at":1767225600,"topic":"a"}'] = "at: expected all times since the start, or all since 1970",
			['{"payload":"a"}'] = "expected a topic, an event or nothing but a time",
			['{"topic":5}'] = "topic: expected a string without NUL",
			['{"topic":"a/#"}'] = "topic contains a wildcard",
			['{"topic":"a","qos":3}'] = "qos: expected 0, 1 or 2",
			['{"topic":"a","retain":1}'] = "retain: expected true or false",
			['{"topic":"a","payload_base64":"%"}'] = "payload_base64: expected base64",
			['{"topic":"a","payload":"","payload_base64":""}'] = "expected payload or payload_base64, got both",
			['{"topic":"a","paylaod":"x"}'] = 'unknown key "paylaod": did you mean "payload"?',
			['{"topic":"a","properties":{"user":[["a"]]}}'] =
				'properties.user: expected a list of pairs of strings, [["site","north"]]',
			['{"topic":"a","properties":{"message_expiry":-1}}'] =
				"properties.message_expiry: expected a whole number from 0 to 4294967295",
			['{"link":"core","event":"gone"}'] = 'event: expected "up" or "down", got "gone"',
			['{"event":"up"}'] = "expected the link that goes up",
			['[1]'] = 'expected a JSON object, {"topic":...}',
		} do
			assert.equal(expected, problem(line))
		end
		local broken = problem('{"topic":"a"')
		assert(broken:find("^expected a JSON object, column %d+: "), broken)
	end)
end)
