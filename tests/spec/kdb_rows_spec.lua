--- Rows for kdb+ collectors, as owners rehearse them: `tidegate test` with the tables of
-- agent.lua, in the sandbox that rules really have.
local cjson = require "cjson"
local cleanup = require "lib.cleanup"
local file = require "lib.file"
local loop = require "lib.loop"
local proc = require "lib.proc"
local spec = require "tidegate.spec"
local tidegate = require "lib.tidegate"
local uv = require "luv"

local binary = assert(uv.fs_realpath(os.getenv("TIDEGATE") or "build/tidegate"), "run make first")
spec.program = binary

local CONFIG = [[
return {
	name = "gw",
	links = {
		field = { url = "mqtt://127.0.0.1:1", subscribe = { "sensors/#" } },
		hist = { url = "kdb://gw:secret@127.0.0.1:2", tables = {
			sensor = { "sym:symbol", "ts:timestamp", "val:float", "n:int", "ok:boolean", "text:string" },
			event = { "id:guid", "at:time" },
		} },
	},
	scripts = { "rules.lua" },
	store = { path = "queue.db" },
}
]]

-- The rules in a fresh directory with that configuration; `more` as for spec.load.
local function load(script, more)
	local directory = file.directory()
	file.write(directory .. "/agent.lua", CONFIG)
	local options = { config = directory .. "/agent.lua" }
	for key, value in pairs(more or {}) do
		options[key] = value
	end
	return spec.load(file.write(directory .. "/rules.lua", script), options)
end

local READING = [[
on("sensors/#", function(topic, payload)
	local reading = json.decode(payload)
	assert(kdb.upd("sensor", {
		sym = topic:match("[^/]+$"), ts = now(), val = reading.val, n = reading.n, ok = true, text = "a b",
	}))
end)
function on_sent(token, link, ctx) log.info("sent %d on %s", token, link) end
]]

describe("kdb.upd", function()
	it("makes rows of the declared types", function()
		local rules = load(READING, { start = "2026-03-29T00:30:00" })
		rules:message("sensors/temp", { val = 20, n = 3.0 }):advance(2)
		assert.equal(1, #rules.rows)
		assert.same({ sym = "temp", ts = "2026.03.29D00:30:00.000000000", val = 20.0, n = 3, ok = true, text = "a b" },
			rules.rows[1].row)
		assert.same({ "sensor", "hist" }, { rules.rows[1].table, rules.rows[1].link })
		assert.same({}, rules.published)
		assert.equal(("sent %d on hist"):format(rules.rows[1].token), rules.logs[1].text)
	end)

	it("leaves nulls where nothing was given", function()
		local rules = load(READING)
		rules:message("sensors/temp", "{}")
		assert.same({ nil, nil, true }, { rules.rows[1].row.val, rules.rows[1].row.n, rules.rows[1].row.ok })
	end)

	it("refuses what does not fit, and then the handler did nothing", function()
		local rules = load(READING .. [[
			on("sensors/#", function() kdb.upd("event", { at = 1.5 }) kdb.upd("event", { at = "now" }) end)
		]], { may_fail = true })
		rules:message("sensors/temp", { val = 1, n = 3.5 })
		assert.same({}, rules.rows)
		assert.equal(2, #rules.errors)
		local expected = "kdb.upd: table sensor, column n: int %(%-2147483646 to 2147483646%) expected, got 3.5"
		assert.matches(expected, rules.errors[1].text)
		assert.matches('kdb.upd: table event, column at: time %(seconds%) expected, got "now"', rules.errors[2].text)
	end)

	it("keeps rows while the collector is away, and tells of those that expire", function()
		local rules = load([[
			function on_message(topic, payload)
				kdb.upd("sensor", { sym = payload, ok = false }, { ttl = "10s", ctx = payload })
			end
			function on_drop(token, link, reason, ctx) log.info("%s: %s", ctx, reason) end
		]])
		rules:down("hist"):message("sensors/a", "early"):advance(20):message("sensors/a", "late"):up("hist"):advance(5)
		assert.same({ 2, 10, "late" }, { #rules.rows, rules.rows[1].ttl, rules.rows[2].ctx })
		assert.equal("early: expired", rules.logs[1].text)
		assert.equal(1, #rules.sent)
	end)

	it("is shown to people as q would write it", function()
		local directory = file.directory()
		file.write(directory .. "/agent.lua", CONFIG)
		file.write(directory .. "/rules.lua", READING)
		file.write(directory .. "/in.jsonl", '{"topic":"sensors/temp","payload":{"val":1.5,"n":7}}\n')
		local process = proc.spawn({ binary, "test", "-c", "agent.lua", "rules.lua", "--start", "2026-03-29", "--input",
			"in.jsonl" }, { cwd = directory, stdout = directory .. "/out", stderr = directory .. "/err" })
		assert.equal(0, process:wait(60), file.read(directory .. "/err"))
		assert.matches('upd +hist sensor %(`temp;2026.03.29D00:00:00.000000000;1.5;7i;1b;"a b"%)\n',
			file.read(directory .. "/out"))
	end)

	it("needs the tables of a configuration", function()
		local rules = spec.load(file.write(file.directory() .. "/rules.lua", [[
			function on_message() log.info("%s", select(2, kdb.upd("sensor", {}))) end
		]]))
		rules:message("a", "b")
		assert.equal("no default kdb+ link", rules.logs[1].text)
	end)
end)

describe("kdb.encode", function()
	it("makes payloads for a broker", function()
		local rules = spec.load(file.write(file.directory() .. "/rules.lua", [[
			function on_message(topic, payload)
				local call = kdb.decode(payload)
				mqtt.pub("q", kdb.encode({ call[1], kdb.int(call[2].value + 1) }))
			end
		]]))
		local call = "\1\0\0\0\x19\0\0\0\0\0\2\0\0\0\xf5upd\0\xfa\1\0\0\0"
		call = call:sub(1, 4) .. string.pack("<I4", #call) .. call:sub(9)
		rules:message("a", call)
		assert.equal(call:sub(1, -5) .. "\2\0\0\0", rules.published[1].payload)
	end)
end)

describe("a script on a link for kdb+", function()
	it("cannot publish there, nor open one", function()
		local rules = load([[
			function on_start()
				log.info("%s", select(2, pcall(mqtt.pub, "a", "b", { link = "hist" })))
				log.info("%s", select(2, pcall(mqtt.conn, "kdb://h:5010", "new")))
				log.info("%s", select(2, mqtt.conn("mqtt://h", "hist")))
				log.info("%s", mqtt.link("hist"):depth())
			end
		]])
		assert.matches("link hist is for kdb%+; it has upd", rules.logs[1].text)
		assert.matches("kdb%+ links are declared in agent.lua", rules.logs[2].text)
		assert.equal("link hist is for kdb+", rules.logs[3].text)
		assert.equal("0", rules.logs[4].text)
	end)
end)

describe("a row on its way", function()
	-- `tidegate kdb listen` on a free port; ends with the spec.
	local function collector(...)
		local out = file.directory() .. "/out"
		local process = proc.spawn({ binary, "kdb", "listen", "0", ... }, { stdout = out, stderr = out .. ".err" })
		cleanup.defer(function()
			process:kill("sigterm")
			process:wait()
		end)
		local function text()
			return file.read(out) .. file.read(out .. ".err")
		end
		local port = loop.eventually(function()
			return text():match("port%D+(%d+)")
		end, "the collector's port")
		return port, text
	end

	local function agent(port)
		return tidegate.start {
			config = { control = "control.sock", links = { hist = {
				url = "kdb://gw:secret@127.0.0.1:" .. port, batch = { delay = "10ms" },
				tables = { sensor = { "sym:symbol", "ts:timestamp", "val:float" } },
			} } },
			scripts = { ["rules.lua"] = [[
				function on_start() kdb.upd("sensor", { "temp", kdb.timestamp(1704164645, 5), 20 }) end
				function on_sent(token, link) log.info("sent on %s", link) end
			]] },
		}
	end

	it("arrives in its table's columns", function()
		local port, text = collector()
		local a = agent(port)
		a:wait_log("script rules.lua: sent on hist")
		loop.eventually(function() -- it answers before it shows
			return text():find("sensor", 1, true) and text():find("2024.01.02D03:04:05.000000005", 1, true)
		end, "the row is shown")
	end)

	it("has the columns that a reload has declared, on the same connection", function()
		local port, text = collector()
		local a = agent(port)
		a:wait_log("sent on hist")
		a.options.config.links.hist.tables.sensor[4] = "unit:symbol"
		a:configure(a.options.config)
		a:script("rules.lua", [[kdb.upd("sensor", { "later", 0, 1, "celsius" })]])
		assert.matches("hist: changed\n.*reloaded", (select(2, a:command("reload"))))
		loop.eventually(function()
			return text():find("celsius", 1, true)
		end, "the row is shown")
		assert.equal(1, select(2, text():gsub("connected, cap", "")))
	end)

	it("stays for links of its kind", function()
		local a = agent((collector()))
		a:wait_log("running name")
		a.options.config.links.hist = { url = "mqtt://127.0.0.1:1" }
		a:configure(a.options.config)
		assert.matches("hist: as before.*use another name", (select(2, a:command("reload"))))
	end)

	it("is shown by its values when the collector does not take it", function()
		local a = agent((collector("--error", "type")))
		local id = loop.eventually(function()
			return select(2, a:command("dead", "--json", "list")):match('"id": ?(%d+)')
		end, "a dead letter")
		assert.matches("table        sensor\nvalues       %(`temp;2024.01.02D03:04:05.000000005;20f%)\n",
			(select(2, a:command("dead", "show", id))))
		local out = select(2, a:command("dead", "--json", "show", id))
		assert.same({ "temp", "2024.01.02D03:04:05.000000005", 20 }, cjson.decode(out:match("[^\n]+")).row)
	end)
end)
