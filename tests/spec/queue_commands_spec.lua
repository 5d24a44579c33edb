--- `tidegate queue`: what waits is listed, shown, exported and purged, of an agent that
-- runs and of one that does not.
local cjson = require "cjson"
local uv = require "luv"
local fake_broker = require "lib.fake_broker"
local file = require "lib.file"
local gateway = require "lib.gateway"
local kdb_gateway = require "lib.kdb_gateway"
local loop = require "lib.loop"
local net = require "lib.net"
local proc = require "lib.proc"
local tidegate = require "lib.tidegate"

-- TIDEGATE_BACKLOG=1000000 makes it a long outage.
local backlog = math.tointeger(tonumber(os.getenv("TIDEGATE_BACKLOG") or 100000))

local function decode(out)
	local lines = {}
	for text in out:gmatch("[^\n]+") do
		lines[#lines + 1] = cjson.decode(text)
	end
	return lines
end

-- Runs `queue ... --json`; returns the lines as objects, the exit status and stderr.
local function queue(agent, ...)
	local code, out, err = agent:command("queue", "--json", ...)
	return decode(out), code, err
end

local function of_kind(lines, kind)
	local list = {}
	for _, line in ipairs(lines) do
		list[#list + 1] = line.kind == kind and line or nil
	end
	return list
end

local function messages(agent, ...)
	return of_kind(queue(agent, "list", ...), "message")
end

-- Those that a script has published on `t`: reports of losses come when they like.
local function ours(agent)
	local list = {}
	for _, message in ipairs(messages(agent)) do
		list[#list + 1] = message.topic == "t" and message or nil
	end
	return list
end

-- What `status --json` counts as given up because of a reason, or the database does.
local function purged(agent, link)
	if not agent.process:running() then
		local rows = agent:sql(("SELECT count FROM loss_total WHERE link = '%s' AND reason = 'purged'"):format(link))
		return rows[1] and math.tointeger(tonumber(rows[1][1])) or 0
	end
	for _, line in ipairs(decode(select(2, agent:command("status", "--json")))) do
		if line.kind == "queue" and line.link == link then
			return line.dropped.purged
		end
	end
end

-- A gateway with readings 1 to n in its queue.
local function start(n, options)
	options = options or {}
	options.down = true
	options.config = options.config or { control = "control.sock" }
	local g = gateway.start(options)
	if n > 0 then
		g:publish_readings(1, n)
		g:await_taken(60)
	end
	return g
end

local strange = [[
	function on_message(topic, payload)
		if payload == "strange" then
			mqtt.pub("out/bytes", "\0\255\27[31m", { retain = true, priority = 7, ttl = "1h", qos = 2 })
			mqtt.pub("out/text", "zw\u{f6}lf \"quoted\"\n", { qos = 0 })
			mqtt.pub("out/empty", "")
			mqtt.pub("out/large", ("\1\2\254x"):rep(75000))
			mqtt.link("other"):pub("other/topic", "for the other")
		else
			mqtt.pub(topic, payload)
		end
	end
]]

local function start_strange()
	local g = start(0, { script = strange, idle = true })
	g.config.links.other = { url = "mqtt://127.0.0.1:" .. net.free_port() }
	g.agent:configure(g.config)
	g:start()
	g.sensor:publish("sensors/a", "strange")
	g:await_taken()
	return g
end

for _, running in ipairs { true, false } do
	local function stop(g)
		if not running then
			g.agent:stop()
		end
		return g
	end

	describe(running and "queue, while the agent runs:" or "queue, while it does not run:", function()
		it("lists what waits for each link, and shows one", function()
			local before = os.time()
			local g = stop(start_strange())
			local lines, code = queue(g.agent, "list")
			assert.equal(0, code)
			local list = of_kind(lines, "message")
			local topics = {}
			for i, message in ipairs(list) do
				topics[i] = message.topic
				assert(message.time >= before - 1 and message.time < before + 60)
				assert.is_nil(message.payload)
			end
			assert.same({ "out/bytes", "out/text", "out/empty", "out/large", "other/topic" }, topics)
			assert.same({ 7, 2, true, false, 7 },
				{ list[1].bytes, list[1].qos, list[1].retain, list[1].in_flight, list[1].priority })
			assert(math.abs(list[1].expires - list[1].time - 3600) < 0.01)
			assert.same({ 0, 300000 }, { list[2].qos, list[4].bytes })
			local links = {}
			for _, line in ipairs(of_kind(lines, "queue")) do
				links[line.link] = line
			end
			assert.same({ 4, 1, 0 }, { links.core.messages, links.other.messages, links.field.messages })
			assert.equal(1, #messages(g.agent, "--link", "other"))
			assert.equal(2, #messages(g.agent, "--link", "core", "--limit", "2"))

			local shown = {}
			for i, message in ipairs(list) do
				shown[i] = queue(g.agent, "show", ("%d"):format(message.seq))[1]
			end
			assert.equal("AP8bWzMxbQ==", shown[1].payload_base64)
			assert.equal('zw\u{f6}lf "quoted"\n', shown[2].payload)
			assert.equal("", shown[3].payload)
			assert.equal(400000, #shown[4].payload_base64)
			assert.same({ "other", "for the other" }, { shown[5].link, shown[5].payload })

			local _, text = g.agent:command("queue", "list")
			assert.truthy(text:find("^core: 4 messages, 293 KB\n"), text)
			assert.truthy(text:find("  7    2         7  waiting  %S+ %S+  out/bytes\n"), text)
			_, text = g.agent:command("queue", "show", ("%d"):format(list[1].seq))
			assert.truthy(text:find("\ntopic     out/bytes\npayload   7 bytes\n\\x00\\xff\\x1b[31m\n", 1, true), text)
		end)

		it("lists the oldest only, unless more are asked for", function()
			local g = stop(start(150))
			local lines = queue(g.agent, "list", "--link", "core")
			assert.same({ 101, "queue", 150 }, { #lines, lines[1].kind, lines[1].messages })
			assert.equal(150, #messages(g.agent, "--limit", "1000"))
			local _, text = g.agent:command("queue", "list", "--link", "core", "--limit", "3")
			assert.truthy(text:find("^core: 150 messages, [^\n]+; the oldest 3:\n"), text)
			assert.equal(5 + 1, select(2, text:gsub("\n", "")), text)
		end)

		it("exports what test and replay read", function()
			local g = stop(start_strange())
			local code, out = g.agent:command("queue", "export")
			assert.equal(0, code)
			local lines = decode(out)
			assert.equal(5, #lines)
			assert.same({ "core", "out/bytes", "AP8bWzMxbQ==", 2, true, 7 }, { lines[1].link, lines[1].topic,
				lines[1].payload_base64, lines[1].qos, lines[1].retain, lines[1].priority })
			assert.same({ "other", "for the other", 1 }, { lines[5].link, lines[5].payload, lines[5].qos })
			for i = 2, 5 do
				assert(lines[i].at >= lines[i - 1].at and lines[i].seq > lines[i - 1].seq)
			end
			assert.equal(1, #decode((select(2, g.agent:command("queue", "export", "--link", "other")))))

			local path = file.write(g.agent.directory .. "/backlog.jsonl", out)
			g.agent:script("count.lua", "function on_message(topic, payload) mqtt.pub('n/' .. topic, #payload) end")
			code, out = g.agent:command("test", "--json", "--input", path, g.agent.directory .. "/count.lua")
			assert.equal(0, code)
			local published = {}
			for _, line in ipairs(decode(out)) do
				published[#published + 1] = line.event == "publish" and line.topic .. " " .. line.payload or nil
			end
			assert.same({ "n/out/bytes 7", "n/out/text 16", "n/out/empty 0", "n/out/large 300000", "n/other/topic 13" },
				published)
			local err
			code, out, err = g.agent:command("replay", "--json", path)
			assert.equal(0, code, err)
			assert.equal(5, decode(out)[1].received, out)
		end)

		it("purges one, those of a link, or all, and counts them as lost", function()
			local g = start_strange()
			g:publish_readings(1, 50)
			g:await_taken()
			stop(g)
			local list = messages(g.agent, "--link", "core")
			local lines, code = queue(g.agent, "purge", ("%d"):format(list[10].seq))
			assert.same({ { kind = "purged", link = "core", count = 1, in_flight = 0 } }, lines)
			assert.equal(0, code)
			assert.equal(53, #messages(g.agent, "--link", "core"))
			local _, _, err = g.agent:command("queue", "show", ("%d"):format(list[10].seq))
			assert.truthy(err:find("there is no message " .. ("%d"):format(list[10].seq), 1, true), err)
			assert.equal(1, purged(g.agent, "core"))
			assert.same({ { kind = "purged", link = "other", count = 1, in_flight = 0 } },
				(queue(g.agent, "purge", "--link", "other")))
			assert.equal(53, #messages(g.agent))
			local text
			code, text = g.agent:command("queue", "purge", "--all")
			assert.same({ 0, "core: 53 messages purged\n" }, { code, text })
			assert.same({}, messages(g.agent))
			assert.equal(54, purged(g.agent, "core"))
			assert.equal(1, purged(g.agent, "other"))
			code, text = g.agent:command("queue", "purge", "--all")
			assert.same({ 0, "0 messages purged\n" }, { code, text })
			-- It goes on as if nothing had been.
			if not running then
				g:start()
			end
			g.uplink.restore()
			g:publish_readings(51, 60)
			loop.eventually(function()
				local reported = 0
				for _, report in ipairs(g.collector:payloads("tidegate/gw/loss")) do
					assert.equal("purged", cjson.decode(report).reason)
					reported = reported + cjson.decode(report).count
				end
				return reported == 54 and #g:readings() >= 10
			end, "the losses are reported, and what was not purged arrives")
			assert.same({ 51, 52, 53, 54, 55, 56, 57, 58, 59, 60 }, g:readings())
			g.agent:stop()
			assert.same({ { "0" } }, g.agent:sql("SELECT count(*) FROM queue_1"))
		end)

		it("says what is not there", function()
			local g = stop(start(0))
			for words, reason in pairs {
				["show 99"] = "there is no message 99 in any queue; it may be delivered",
				["purge 99"] = "there is no message 99 in any queue; it may be delivered",
				["list --link nowhere"] = "there is no link nowhere, nor was there one",
				["export --link nowhere"] = "there is no link nowhere, nor was there one",
				["purge --link nowhere"] = "there is no link nowhere, nor was there one",
			} do
				local list = {}
				for word in words:gmatch("%S+") do
					list[#list + 1] = word
				end
				local lines, code, err = queue(g.agent, table.unpack(list))
				assert.same({}, lines)
				assert.same({ 1, "tidegate queue: " .. reason .. "\n" }, { code, err })
			end
		end)

		it("shows and exports rows as what they are", function()
			local g = kdb_gateway.start { collector = false, port = net.free_port(), apart = true }
			g:send_rows(1, 3)
			loop.eventually(function()
				return g:queued() == 3
			end, "they are queued")
			stop(g)
			local list = messages(g.agent, "--link", "hist")
			assert.equal(3, #list)
			assert.same({ "sensor", "sensor" }, { list[2].topic, list[2].table })
			assert.same({ sym = "pump", n = 2, val = 0.5 }, list[2].row)
			local _, text = g.agent:command("queue", "show", ("%d"):format(list[2].seq))
			assert.truthy(text:find("\ntable     sensor\nvalues    (`pump;2;0.5)\n", 1, true), text)
			local _, out = g.agent:command("queue", "export")
			local lines = decode(out)
			assert.same({ sym = "pump", n = 3, val = 0.75 }, lines[3].payload)
			assert.same({ "sensor", "sensor", "hist" }, { lines[3].table, lines[3].topic, lines[3].link })
			file.write(g.agent.directory .. "/rows.jsonl", out)
			g.agent:script("rows.lua", "function on_message(t, p) mqtt.pub(t, json.decode(p).n) end")
			local code
			code, out = g.agent:command("test", "--input", g.agent.directory .. "/rows.jsonl",
				g.agent.directory .. "/rows.lua")
			assert.equal(0, code)
			assert.truthy(out:find("publish    field sensor 3\n", 1, true), out)
		end)
	end)
end

describe("queue purge, while the agent runs,", function()
	-- A link to a broker that acknowledges nothing; two messages are in flight.
	local function start_unacknowledged(link)
		local fake = fake_broker.start { publish = function() return false end }
		local config = { links = { core = { url = "mqtt://127.0.0.1:" .. fake.port, window = 2 } },
			control = "control.sock" }
		for key, value in pairs(link or {}) do
			config.links.core[key] = value
		end
		local agent = tidegate.start { config = config, scripts = { ["rules.lua"] = [[
			function on_start() for i = 1, 5 do mqtt.pub("t", "m" .. i, { ctx = i }) end end
			function on_sent(_, _, ctx) log.info("sent %s", ctx) end
			function on_drop(_, _, reason, ctx) log.info("dropped %s: %s", ctx, reason) end
		]] } }
		fake:wait_for("publish", 2)
		return fake, agent
	end

	it("leaves what is in flight to its acknowledgement", function()
		local fake, agent = start_unacknowledged()
		local list = messages(agent)
		assert.same({ true, true, false }, { list[1].in_flight, list[2].in_flight, list[3].in_flight })
		local lines = queue(agent, "purge", "--all")
		assert.same({ { kind = "purged", link = "core", count = 3, in_flight = 2 } }, lines)
		for i = 3, 5 do
			agent:wait_log(("dropped %d: purged"):format(i))
		end
		for _, p in ipairs(fake:received("publish")) do
			fake:newest():send { type = "puback", id = p.id }
		end
		agent:wait_log("sent 1")
		agent:wait_log("sent 2")
		assert.same({}, ours(agent))
		assert.equal(3, purged(agent, "core"))
	end)

	it("does not send again what was in flight and comes back", function()
		local fake, agent = start_unacknowledged { version = "5" }
		local busy = 0x97
		local first, second = table.unpack(fake:received("publish"))
		fake.publish = function(_, p) -- the first one is tried again and again
			return p.payload == "m1" and busy
		end
		fake:newest():send { type = "puback", id = first.id, code = busy }
		agent:wait_log("message refused for now")
		-- It is not at the broker: so it goes at once. The other one might still be acknowledged.
		assert.same({ { kind = "purged", link = "core", count = 1, in_flight = 0 } },
			(queue(agent, "purge", ("%d"):format(messages(agent)[1].seq))))
		local tried = #fake:payloads()
		local _, text = agent:command("queue", "purge", "--all")
		assert.equal("core: 3 messages purged; 1 in flight, delivered if acknowledged, given up if it comes back\n", text)
		fake.publish = nil
		fake:newest():send { type = "puback", id = second.id, code = busy }
		agent:wait_log("dropped 2: purged")
		assert.same({}, ours(agent))
		assert.equal(5, purged(agent, "core"))
		local payloads = fake:payloads()
		assert.same({ "m1", "m2" }, { payloads[1], payloads[2] })
		for i = 3, #payloads do
			local expected = i <= tried and "m1" or '"reason":"purged"'
			assert.truthy(payloads[i]:find(expected, 1, true), payloads[i])
		end
	end)

	it("gives up what the collector itself does not acknowledge", function()
		local g = gateway.start { config = { control = "control.sock" },
			core = { ack_topic = "acks", ack_timeout = "120s" } }
		g:publish_readings(1, 3)
		loop.eventually(function()
			return #g.collector.messages == 3
		end, "they are sent")
		local lines = queue(g.agent, "purge", "--link", "core")
		assert.same({ { kind = "purged", link = "core", count = 0, in_flight = 3 } }, lines)
		g.config.links.core.ack_timeout = "1s"
		g.agent:configure(g.config)
		assert.equal(0, (g.agent:command("reload")))
		loop.eventually(function()
			return purged(g.agent, "core") == 3 and #messages(g.agent, "--link", "core") == 0
		end, "they are given up instead of being sent again")
	end)

	-- Nothing is on disk, and the sensor is not acknowledged, until the collector or a commit has it.
	it("lets the sensor go whose message it was", function()
		local g = gateway.start { config = { control = "control.sock", store = { linger = "60s" } },
			core = { ack_timeout = "120s" } }
		g.uplink.cut()
		g:publish_readings(1, 5)
		loop.eventually(function()
			return #messages(g.agent, "--link", "core") == 5
		end, "they are queued")
		assert.equal(0, (select(2, queue(g.agent, "purge", "--all"))))
		g:await_taken()
	end)

	it("reaches a link that is not configured any more", function()
		local agent = tidegate.start {
			config = { control = "control.sock", links = { old = { url = "mqtt://127.0.0.1:" .. net.free_port() } } },
			scripts = { ["rules.lua"] = 'for i = 1, 2500 do mqtt.pub("t", "m" .. i) end' },
		}
		agent:wait_log("running")
		agent:stop()
		agent:script("rules.lua", "")
		agent:configure { control = "control.sock", links = { new = { url = "mqtt://127.0.0.1:" .. net.free_port() } } }
		agent:start()
		agent:wait_log("link new") -- "running" is in the log of its first start, too
		assert.equal(2500, #messages(agent, "--limit", "9999"))
		assert.equal("m1", queue(agent, "show", ("%d"):format(messages(agent)[1].seq))[1].payload)
		local _, out = agent:command("queue", "export", "--link", "old")
		assert.equal(2500, #decode(out))
		assert.same({ { kind = "purged", link = "old", count = 2500, in_flight = 0 } },
			(queue(agent, "purge", "--link", "old")))
		assert.same({}, messages(agent))
		agent:stop()
		assert.equal(2500, purged(agent, "old"))
		assert.same({ { "0" } }, agent:sql("SELECT count(*) FROM queue_1"))
	end)
end)

describe("queue:", function()
	it(("exports %d messages while others are forwarded, in little memory"):format(backlog), function()
		local g = start(0, { agent = { release = true }, idle = true, script = [[
			function on_message(topic, payload)
				if topic == "sensors/live" then mqtt.link("live"):pub("live", payload) else mqtt.pub(topic, payload) end
			end
		]] })
		g.config.links.live = { url = "mqtt://127.0.0.1:" .. g.core.port }
		g.agent:configure(g.config)
		g:start()
		g.sensor:publish_many(backlog, function(i)
			return "sensors/a", "r" .. i
		end)
		g:await_taken(120)
		local _, before = g.agent:memory()
		local path = g.agent.directory .. "/backlog.jsonl"
		local out, file_out, n = uv.new_pipe(), assert(io.open(path, "w")), 0
		local export = proc.spawn({ g.agent.binary, "queue", "export", "-c", g.agent.directory .. "/agent.lua" },
			{ pipes = { nil, out }, stderr = path .. ".err", cwd = g.agent.directory })
		local function forward()
			if n < 2000 and #g.collector.messages == n then
				n = n + 1
				g.sensor:post("sensors/live", "live" .. n, { qos = 1 })
			end
			return #g.collector.messages
		end
		-- It comes to an end only if it is read.
		loop.eventually(function() return forward() > 5 end, "others are forwarded meanwhile")
		assert(export:running())
		out:read_start(loop.guard(function(_, data)
			if data then
				file_out:write(data)
			else
				net.close(out)
			end
		end))
		loop.eventually(function()
			forward()
			return out:is_closing() and not export:running()
		end, "it is all exported", 120)
		file_out:close()
		assert.equal("", file.read(path .. ".err"))
		local expected = 0
		for line in io.lines(path) do
			expected = expected + 1
			assert(line:find('"payload":"r' .. expected .. '"', 1, true), line)
		end
		assert.equal(backlog, expected)
		local _, after = g.agent:memory()
		assert(after - before < 1024 * 1024, ("%d bytes more"):format(after - before))
	end)

	it("changes nothing where it only looks, after kill -9 too, and needs no permission to", function()
		local g = start(200)
		g.agent:kill()
		local function state()
			local list = {}
			for entry in uv.fs_scandir_next, assert(uv.fs_scandir(g.agent.directory)) do
				if entry:find("^queue%.db") then
					local stat = uv.fs_stat(g.agent.directory .. "/" .. entry)
					list[#list + 1] = ("%s %d %d.%d"):format(entry, stat.size, stat.mtime.sec, stat.mtime.nsec)
				end
			end
			table.sort(list)
			return list
		end
		local before = state()
		assert.equal(2, #before, "the log is there")
		assert.equal(200, #messages(g.agent, "--limit", "999"))
		assert.equal(200, #decode((select(2, g.agent:command("queue", "export")))))
		assert.equal(0, (g.agent:command("dead", "list")))
		if uv.getuid() == 0 then
			os.remove(g.agent.directory .. "/control.sock") -- it was left, and is not for everyone
			local public = file.directory()
			file.write(public .. "/tidegate", file.read(g.agent.binary))
			for path, mode in pairs { [g.agent.directory] = "755", [g.agent.directory .. "/agent.lua"] = "644",
				[g.agent.queue_path] = "644", [g.agent.queue_path .. "-wal"] = "644", [public] = "755",
				[public .. "/tidegate"] = "755" } do
				assert(uv.fs_chmod(path, tonumber(mode, 8)))
			end
			local process = proc.spawn({ "setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups",
				public .. "/tidegate", "queue", "list", "--link", "core", "-c", g.agent.directory .. "/agent.lua" },
				{ stdout = public .. "/out", stderr = public .. "/err", cwd = g.agent.directory })
			assert.equal(0, (process:wait()), file.read(public .. "/err"))
			assert.truthy(file.read(public .. "/out"):find("core: 200 messages", 1, true))
		end
		assert.same(before, state())
		g:start()
		g.uplink.restore()
		assert.equal(0, gateway.assert_in_order(g:wait_readings(200)))
	end)

	it("says what to do when the agent runs without a control socket", function()
		local g = start(1, { config = {} })
		for _, verb in ipairs { "list", "purge" } do
			local code, out, err = g.agent:command("queue", verb, verb == "purge" and "--all" or nil)
			assert.same({ 1, "" }, { code, out })
			assert.truthy(err:find("in use by another process", 1, true), err)
			assert.truthy(err:find('control = "/run/tidegate/control.sock"', 1, true), err)
		end
	end)

	it("makes no database where there is none", function()
		local agent = tidegate.new { config = { links = { core = { url = "mqtt://127.0.0.1:" .. net.free_port() } } } }
		for _, verb in ipairs { "list", "purge" } do
			local code, _, err = agent:command("queue", verb, verb == "purge" and "--all" or nil)
			assert.equal(1, code)
			assert.truthy(err:find(agent.queue_path .. ": No such file", 1, true), err)
		end
		assert.is_false(file.exists(agent.queue_path))
	end)

	it("answers bad usage with status 64, and never guesses what to purge", function()
		local agent = tidegate.new { config = { links = { core = { url = "mqtt://127.0.0.1" } } } }
		for _, words in ipairs { {}, { "fly" }, { "show" }, { "show", "x" }, { "show", "0" }, { "list", "3" },
			{ "export", "1" }, { "purge" }, { "purge", "-1" }, { "purge", "1", "--all" }, { "purge", "--all", "--link", "core" },
			{ "purge", "1", "--link", "core" }, { "list", "--all" }, { "show", "1", "--link", "core" },
			{ "export", "--limit", "3" }, { "list", "--limit", "0" }, { "list", "--limit", "many" } } do
			local code, out, err = agent:command("queue", table.unpack(words))
			assert.equal(64, code, table.concat(words, " "))
			assert.equal("", out)
			assert.truthy(err:find("tidegate queue: ", 1, true))
		end
	end)
end)
