--- The programs of docs/from-kx.md, as they stand there: run against mosquitto and a stand-in for a
-- kdb+ process, through restarts of the broker, beside the calls that KX's interface makes.
local cjson = require "cjson"
local broker = require "lib.broker"
local collector = require "lib.collector"
local document = require "lib.document"
local file = require "lib.file"
local loop = require "lib.loop"
local need = require "lib.need"
local proc = require "lib.proc"
local rehearsal = require "tidegate.spec"
local tables = require "lib.tables"
local tidegate = require "lib.tidegate"
local uv = require "luv"

local page = document.open("docs/from-kx.md")
rehearsal.program = assert(uv.fs_realpath(os.getenv("TIDEGATE") or "build/tidegate"), "run make first")

-- An agent in its own directory with the page's files; only ports, and the place of the queue, are others.
-- `ports`: by those of the page.
local function agent(name, ports)
	local function placed(block)
		local text = page:text(block)
		for old, new in pairs(ports) do
			text = text:gsub("localhost:" .. old, "127.0.0.1:" .. new)
		end
		return text
	end
	local config = placed(name .. "/agent.lua"):gsub("\nreturn {", '\nreturn {\n\tstore = { path = "queue.db" },', 1)
	return tidegate.start { config = config, scripts = { [name .. ".lua"] = placed(name .. ".lua") } }
end

local function start_broker()
	return broker.start { persistence = true }
end

local TAB = { tab = { "topic:symbol", "msg_sent:timestamp", "msg_recv:timestamp", "msg_no:string" } }

-- The numbers that came of a topic, those that came again left out.
local function numbers(list, topic)
	local found, seen = {}, {}
	for _, text in ipairs(list) do
		local number = text:match("^" .. topic .. "_(%d+)$")
		if number and not seen[number] then
			seen[number] = true
			found[#found + 1] = math.tointeger(tonumber(number))
		end
	end
	return found
end

-- A program that makes KX's calls; `texts` gives the lines it has printed.
local function paho(server, ...)
	local out = file.directory() .. "/out"
	local stdin = uv.new_pipe()
	local process = proc.spawn({ need.paho_calls(), tostring(server.port), ... }, { pipes = { stdin }, stdout = out,
		stderr = out })
	return {
		process = process,
		texts = function()
			return (file.lines(out, 0))
		end,
		stop = function()
			stdin:close()
			process:wait()
		end,
	}
end

local function column(hist, n)
	local list = {}
	for i, row in ipairs(hist:rows("tab")) do
		list[i] = row[n]
	end
	return list
end

describe("docs/from-kx.md: producer and consumer", function()
	it("bring all 400 messages into q, through a restart of the broker", function()
		local server, hist = start_broker(), collector.start { tables = TAB }
		local consumer = agent("consumer", { ["1883"] = server.port, ["5010"] = hist.port })
		server:wait_subscribed("rcv", "topic2")
		local producer = agent("producer", { ["1883"] = server.port })
		hist:wait_rows(40)
		server:stop()
		producer:wait_log("link src: lost")
		consumer:wait_log("link rcv: lost")
		loop.consistently(function() return producer.process:running() end, "the producer goes on", 2)
		server:start()
		producer:wait_log("all delivered", 60)
		loop.eventually(function()
			return #numbers(column(hist, 4), "topic1") == 200 and #numbers(column(hist, 4), "topic2") == 200
		end, "400 rows in q", 60)
		assert.same(tables.sequence(1, 200), numbers(column(hist, 4), "topic1"))
		assert.same(tables.sequence(1, 200), numbers(column(hist, 4), "topic2"))
		for _, row in ipairs(hist:rows("tab")) do
			local sent, received = math.tointeger(tonumber(row[2])), math.tointeger(tonumber(row[3]))
			assert(received >= sent - 1e6, "received before it was sent") -- milliseconds against microseconds
			assert(received - sent < 120e9, "more than two minutes on the way")
		end
	end)

	it("where the calls of KX's interface lose all from the outage on", function()
		local server = start_broker()
		local reader = server:client { client_id = "reader", clean = false }
		reader:subscribe("#", 1)
		local writer = paho(server, "produce", "200", "20")
		reader:wait_for(40)
		server:stop()
		loop.eventually(function() return reader.closed end, "the broker ends")
		server:start()
		reader:reconnect()
		writer.process:wait()
		local taken = tonumber(table.concat(writer.texts(), "\n"):match("taken (%d+)"))
		assert(taken >= 40 and taken < 400, ("%d of 400 calls were taken"):format(taken))
		reader:publish("last", "last")
		reader:wait_topic("last")
		assert(#numbers(reader:payloads("^paho1$"), "paho1") < 200, "nothing was lost")
	end)

	it("of which the consumer gets what comes after a restart, unlike those calls", function()
		local server, hist = start_broker(), collector.start { tables = TAB }
		agent("consumer", { ["1883"] = server.port, ["5010"] = hist.port })
		server:wait_subscribed("rcv", "topic2")
		local reader = paho(server, "consume")
		loop.eventually(function() return reader.texts()[1] == "subscribed" end, "it subscribes")
		local sensor = server:client()
		local function send(first, last)
			for n = first, last do
				sensor:publish("topic1", ("%s;topic1_%d"):format("2026.11.21D10:00:00.500000000", n))
				sensor:publish("paho1", "paho1_" .. n)
			end
		end
		send(1, 10)
		loop.eventually(function() return #numbers(reader.texts(), "paho1") == 10 end, "it gets those")
		server:stop()
		server:start()
		loop.eventually(function() return server:connections("rcv") >= 2 end, "the consumer is back")
		sensor:reconnect()
		send(11, 20)
		-- Not so many rows: the broker sends again what was not acknowledged when it ended.
		loop.eventually(function() return #numbers(column(hist, 4), "topic1") == 20 end, "20 messages in q")
		assert.same(tables.sequence(1, 20), numbers(column(hist, 4), "topic1"))
		assert.same(tables.sequence(1, 10), numbers(reader.texts(), "paho1"))
		assert.equal(848570400500000000, column(hist, 2)[1])
	end)

	it("of which the consumer, stopped for a while, gets what came meanwhile, unlike those calls", function()
		local server, hist = start_broker(), collector.start { tables = TAB }
		local consumer = agent("consumer", { ["1883"] = server.port, ["5010"] = hist.port })
		server:wait_subscribed("rcv", "topic2")
		consumer:stop()
		local sensor = server:client()
		local function with_reader(fn)
			local reader = paho(server, "consume")
			loop.eventually(function() return reader.texts()[1] == "subscribed" end, "it subscribes")
			fn(reader)
			reader.stop()
		end
		with_reader(function() end)
		for n = 1, 10 do
			sensor:publish("topic1", ("%s;topic1_%d"):format("2026.11.21D10:00:00.500000000", n))
			sensor:publish("paho1", "paho1_" .. n)
		end
		consumer:start()
		hist:wait_rows(10)
		assert.same(tables.sequence(1, 10), numbers(column(hist, 4), "topic1"))
		with_reader(function(reader)
			sensor:publish("paho1", "paho1_11")
			loop.eventually(function() return #reader.texts() == 2 end, "the next one")
			assert.same({ 11 }, numbers(reader.texts(), "paho1"))
		end)
	end)

	it("work with mosquitto's own clients on the other side", function()
		need.program("mosquitto_pub")
		local server, hist = start_broker(), collector.start { tables = TAB }
		agent("consumer", { ["1883"] = server.port, ["5010"] = hist.port })
		server:wait_subscribed("rcv", "topic2")
		local out = file.directory() .. "/out"
		proc.spawn({ "mosquitto_sub", "-p", tostring(server.port), "-i", "sub", "-q", "1", "-t", "topic1", "-C", "3" },
			{ stdout = out })
		server:wait_subscribed("sub", "topic1")
		proc.output(("mosquitto_pub -p %d -q 1 -t topic2 -m '2024.02.29D23:59:59.999999999;topic2_7'"):format(server.port))
		local row = hist:wait_rows(1)[1]
		assert.same({ "topic2", "topic2_7" }, { row[1], row[4] })
		assert.near(762566399999999999, row[2], 1000)
		agent("producer", { ["1883"] = server.port })
		loop.eventually(function() return #file.lines(out, 0) == 3 end, "mosquitto_sub has three")
		for n, line in ipairs((file.lines(out, 0))) do
			assert.matches("^%d%d%d%d%.%d%d%.%d%dD%d%d:%d%d:%d%d%.%d%d%d%d%d%d%d%d%d;topic1_" .. n .. "$", line)
		end
	end)
end)

describe("docs/from-kx.md: the rules", function()
	local CLIMATE = { climate = { "sym:symbol", "ts:timestamp", "temp:float", "hum:float" } }

	local function climate(temp, hum)
		return cjson.encode { temp = temp, hum = hum }
	end

	it("raise and clear alarms with hysteresis, and tell averages each minute", function()
		local directory = file.directory()
		file.write(directory .. "/agent.lua", page:text("greenhouse/agent.lua"))
		local rules = rehearsal.load(file.write(directory .. "/greenhouse.lua", page:text("greenhouse.lua")),
			{ config = directory .. "/agent.lua", link = "farm" })
		for _, temp in ipairs { 34.5, 35, 36, 31, 35, 30, 20 } do
			rules:message("greenhouse/north/climate", { temp = temp, hum = 60 }, { link = "farm" })
		end
		rules:message("greenhouse/south/climate", { temp = 20, hum = 50 }, { link = "farm" })
		assert.same({ "hot", "ok" }, rules:payloads "alarms/north")
		assert.same({}, rules:payloads "alarms/south")
		assert.equal(8, #rules.rows)
		assert.same({ 34.5, 60 }, { rules.rows[1].row.temp, rules.rows[1].row.hum })
		rules:advance(61)
		assert.same({ sym = "north", n = 7, mean = 221.5 / 7, top = 36, temp = 20, hum = 60 },
			cjson.decode(rules:payloads "averages/north"[1]))
		rules:advance(60)
		assert.equal(1, #rules:payloads "averages/north")
	end)

	it("lose no row and no alarm when broker, tickerplant and gateway go away in turn", function()
		local server, tickerplant = start_broker(), collector.start { tables = CLIMATE }
		local gateway = agent("greenhouse", { ["1883"] = server.port, ["5010"] = tickerplant.port })
		server:wait_subscribed("greenhouse-farm", "greenhouse/+/climate")
		local sensor = server:client()
		local reader = server:client { client_id = "reader", clean = false }
		reader:subscribe("alarms/#", 1)
		local function send(temp)
			sensor:publish("greenhouse/north/climate", climate(temp, 50))
		end
		send(36)
		tickerplant:wait_rows(1)
		tickerplant:kill()
		send(37)
		sensor:publish("greenhouse/north/climate", "no JSON")
		server:stop()
		server:start()
		sensor:reconnect()
		reader:reconnect()
		loop.eventually(function() return server:connections("greenhouse-farm") >= 2 end, "the link is back")
		gateway:stop()
		send(38)
		send(29)
		gateway:start()
		send(35)
		tickerplant:start()
		local temps = {}
		loop.eventually(function()
			temps = {}
			for _, row in ipairs(tickerplant:rows("climate")) do
				-- What the broker was not told in time that it was taken, comes again.
				temps[#temps + (temps[#temps] == row[3] and 0 or 1)] = row[3]
			end
			return #temps >= 5
		end, "five rows")
		assert.same({ 36, 37, 38, 29, 35 }, temps)
		loop.eventually(function() return #reader:payloads() >= 3 end, "three alarms")
		assert.same({ "hot", "ok", "hot" }, reader:payloads())
		gateway:stop()
		local code, out = gateway:command("dead", "list", "--json")
		assert.equal(0, code)
		assert.equal("greenhouse/north/climate", cjson.decode(out:match("[^\n]+")).topic)
	end)
end)

describe("docs/from-kx.md", function()
	it("shows no Lua that was not run", function()
		assert.same({}, page:unused())
	end)
end)
