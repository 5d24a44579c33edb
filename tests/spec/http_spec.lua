--- What the agent shows over HTTP: /metrics, /healthz, /status.json.
local cjson = require "cjson"
local fake_broker = require "lib.fake_broker"
local file = require "lib.file"
local gateway = require "lib.gateway"
local http = require "lib.http"
local loop = require "lib.loop"
local need = require "lib.need"
local net = require "lib.net"
local proc = require "lib.proc"
local tidegate = require "lib.tidegate"

local function start(options)
	options = options or {}
	local port = net.free_port()
	options.config = options.config or {}
	options.config.http = "127.0.0.1:" .. port
	local g = gateway.start(options)
	return g, port
end

local function promtool(text)
	local directory = file.directory()
	local out = directory .. "/out"
	local process = proc.spawn({ "sh", "-c", 'promtool check metrics <"$0"', file.write(directory .. "/metrics", text) },
		{ stdout = out })
	return process:wait(), file.read(out)
end

describe("packaging/prometheus:", function()
	it("has alert rules that promtool accepts, and that pass their tests", function()
		need.program("promtool")
		assert.truthy(os.execute("promtool check rules packaging/prometheus/tidegate.rules.yml >/dev/null"))
		assert.truthy(os.execute("promtool test rules packaging/prometheus/tidegate.rules.test.yml >/dev/null"))
	end)
end)

local awkward = [[
	local seen = metric.counter("seen_total", { kind = 'a "b" \\ c' })
	metric.gauge("level"):set(-2.5)
	metric.gauge("odd"):set(0 / 0)
	metric.gauge("most"):set(math.huge)
	function on_message(topic, payload)
		seen:inc()
		mqtt.pub(topic, payload)
		if payload == "r3" then error("three") end
	end
]]

describe("http:", function()
	it("is off unless it is configured", function()
		local g = gateway.start()
		local log = g.agent:log()
		assert.falsy(log:find("http", 1, true))
	end)

	it("tells Prometheus what promtool accepts", function()
		local _, port = start { script = awkward }
		local samples, answer = http.metrics(port)
		assert.equal("text/plain; version=0.0.4; charset=utf-8", answer.headers["content-type"])
		assert.equal(0, samples['script_seen_total{kind="a \\"b\\" \\\\ c"}'])
		assert.equal(-2.5, samples.script_level)
		assert.equal("NaN", samples.script_odd)
		assert.equal("+Inf", samples.script_most)
		need.program("promtool")
		local code, out = promtool(answer.body)
		assert.equal("", out)
		assert.equal(0, code)
	end)

	it("counts through an outage", function()
		local g, port = start { script = awkward }
		g:publish_readings(1, 10)
		g:wait_readings(2)
		local m = loop.eventually(function()
			local m = http.metrics(port)
			return m['tidegate_acknowledged_total{link="core"}'] == 9 and m
		end, "all but one are acknowledged")
		assert.equal(1, m['tidegate_link_up{link="core"}'])
		assert.equal(10, m['tidegate_received_total{link="field"}'])
		assert.equal(9, m['tidegate_sent_total{link="core"}'])
		assert.equal(10, m['tidegate_handler_calls_total{script="rules.lua",handler="on_message"}'])
		assert.equal(1, m['tidegate_handler_errors_total{script="rules.lua"}'])
		assert.equal(m.tidegate_handler_seconds_count, m['tidegate_handler_seconds_bucket{le="+Inf"}'])
		assert(m.tidegate_handler_seconds_count >= 10 and m.tidegate_handler_seconds_sum > 0)
		assert(m['tidegate_script_memory_bytes{script="rules.lua"}'] > 1000)
		assert.equal(1, m.tidegate_dead_letters)
		assert(m.tidegate_store_bytes > 0 and m.tidegate_commits_total > 0)
		assert.equal(0, m['tidegate_queue_oldest_seconds{link="core"}'])
		assert.equal(0, m['tidegate_dropped_total{link="core",reason="overflow"}'])

		g.uplink.cut()
		g:publish_readings(11, 15)
		g:await_taken()
		local down = loop.eventually(function()
			local now = http.metrics(port)
			return now['tidegate_link_up{link="core"}'] == 0 and now['tidegate_queue_messages{link="core"}'] == 5
				and now['tidegate_queue_oldest_seconds{link="core"}'] > 0.5 and now
		end, "five wait, for a while")
		assert.equal(5 * #"sensors/ar11", down['tidegate_queue_bytes{link="core"}'])
		assert(down['tidegate_reconnects_total{link="core"}'] >= 1)
		assert(down['tidegate_queue_oldest_seconds{link="core"}'] < 60)

		local age = down['tidegate_queue_oldest_seconds{link="core"}']
		g.agent:restart()
		loop.eventually(function()
			local now = http.metrics(port)
			return now['tidegate_queue_oldest_seconds{link="core"}'] >= age
		end, "a restart does not make what waits younger")
		g.uplink.restore()
		loop.eventually(function()
			local now = http.metrics(port)
			return now['tidegate_queue_messages{link="core"}'] == 0 and now['tidegate_acknowledged_total{link="core"}'] == 5
				and now['tidegate_queue_oldest_seconds{link="core"}'] == 0
		end, "all has left")
	end)

	it("names scripts of one name by their paths", function()
		local directory = file.directory()
		file.write(directory .. "/rules.lua", "function on_start() end")
		local g, port = start { idle = true }
		g.config.scripts = { "rules.lua", directory .. "/rules.lua" }
		g.agent:configure(g.config)
		g:start(true)
		local m = http.metrics(port)
		assert(m[('tidegate_handler_errors_total{script="%s/rules.lua"}'):format(directory)])
		assert.falsy(m['tidegate_handler_errors_total{script="rules.lua"}'])
	end)

	it("shows the status, without secrets", function()
		local g, port = start {
			config = { control = "control.sock" },
			core = { username = "gw-user", password = "gw-secret" },
		}
		local answer = http.get(port, "/status.json")
		assert.equal(200, answer.status)
		local kinds = {}
		for line in answer.body:gmatch("[^\n]+") do
			kinds[cjson.decode(line).kind] = true
		end
		assert(kinds.agent and kinds.link and kinds.queue and kinds.script and kinds.store)
		local _, status = g.agent:command("status", "--json")
		local _, lines = status:gsub("\n", "")
		assert.equal(lines, select(2, answer.body:gsub("\n", "")))
		for _, path in ipairs { "/status.json", "/metrics", "/healthz" } do
			local text = http.get(port, path).text
			assert.falsy(text:find("gw-user", 1, true) or text:find("gw-secret", 1, true))
		end
	end)

	it("answers GET and HEAD, for what there is, and says so to the rest", function()
		local _, port = start()
		local whole, head = http.get(port, "/healthz"), http.get(port, "/healthz", "HEAD")
		assert.equal(200, head.status)
		assert.equal("", head.body)
		assert.equal(whole.headers["content-length"], head.headers["content-length"])
		assert.equal("default-src 'none'", whole.headers["content-security-policy"])
		assert.equal("nosniff", whole.headers["x-content-type-options"])
		assert.equal("no-store", whole.headers["cache-control"])
		for _, method in ipairs { "POST", "PUT", "DELETE", "OPTIONS", "TRACE", "BREW" } do
			local answer = http.get(port, "/metrics", method)
			assert.equal(405, answer.status)
			assert.equal("GET, HEAD", answer.headers.allow)
		end
		for _, path in ipairs { "/metrics/", "/../../etc/passwd", "//metrics", "/%2e%2e/", "/favicon.ico" } do
			assert.equal(404, http.get(port, path).status)
		end
		assert.equal(200, http.get(port, "/healthz?verbose=1").status)
		local body = http.answer(http.open(port,
			"POST /metrics HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000000\r\n\r\nabc"))
		assert.equal(405, body.status)
		local nonsense = http.open(port, "nonsense\r\n\r\n")
		loop.eventually(function() return nonsense.closed end, "what is no HTTP is hung up on")
		local long = http.answer(http.open(port, "GET /metrics HTTP/1.1\r\nHost: a\r\nX: " .. ("y"):rep(40000) .. "\r\n\r\n"))
		assert(long.status >= 400, long.status)
	end)

	it("ends slow clients, and serves who waits meanwhile", function()
		local g, port = start()
		local began, slow = loop.now(), {}
		for i = 1, 20 do
			slow[i] = http.open(port, "GET /metrics HT")
		end
		loop.eventually(function()
			for _, client in ipairs(slow) do
				if not client.connected then
					return false
				end
			end
			return true
		end, "all are connected")
		local waiting = http.open(port, "GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n")
		local ticks = 0
		loop.eventually(function()
			if loop.now() - began > ticks then -- a byte now and then buys no time
				ticks = ticks + 1
				for _, client in ipairs(slow) do
					if client.connected and not client.closed then
						client:send("x")
					end
				end
			end
			return waiting.closed
		end, "the one that waits is served", 40)
		assert.equal(200, http.answer(waiting).status)
		assert(slow[1].closed and slow[1].closed - began > 8 and slow[1].closed - began < 20)
		g:publish_readings(1, 5) -- and the work went on
		g:wait_readings(5)
	end)

	it("serves two scrapes at a time, under load", function()
		local g, port = start()
		g.sensor:publish_many(500, function(i) return "sensors/a", "r" .. i end)
		local request = "GET /metrics HTTP/1.1\r\nHost: a\r\n\r\n"
		for _ = 1, 20 do
			local one, two = http.open(port, request), http.open(port, request)
			assert.equal(200, http.answer(one).status)
			assert.equal(200, http.answer(two).status)
		end
		g:wait_readings(500)
	end)

	it("goes on with its work where the address is taken", function()
		local taken = net.listen(function() end)
		local g = gateway.start { config = { http = "127.0.0.1:" .. taken.port } }
		g.agent:wait_log("error http: cannot listen on 127.0.0.1:" .. taken.port
			.. ": Address already in use; nothing is served")
		g:publish_readings(1, 3)
		g:wait_readings(3)
	end)
end)

describe("the page:", function()
	it("is whole, small, and allows its own script and style only", function()
		local _, port = start()
		local answer = http.get(port, "/")
		assert.equal(200, answer.status)
		assert.equal("text/html; charset=utf-8", answer.headers["content-type"])
		assert(#answer.body < 100 * 1024, #answer.body)
		local policy = answer.headers["content-security-policy"]
		assert.truthy(policy:find("^default%-src 'none'; "))
		assert.falsy(policy:find("unsafe", 1, true))
		for _, tag in ipairs { "script", "style" } do
			local text = answer.body:match("<" .. tag .. ">(.-)</" .. tag .. ">")
			local path = file.write(file.directory() .. "/text", text)
			local pipe = io.popen("openssl dgst -sha256 -binary " .. path .. " | base64")
			local hash = pipe:read("l")
			pipe:close()
			assert.truthy(policy:find(tag .. "-src 'sha256-" .. hash .. "'", 1, true), policy)
			assert.equal(1, select(2, answer.body:gsub("<" .. tag .. "[%s>]", "")))
		end
		local markup = answer.body:gsub("<script>.-</script>", ""):gsub("<style>.-</style>", "")
		assert.falsy(markup:find("%son%w+=") or markup:find("style=", 1, true) or markup:find("//", 1, true))
		local own = file.read("agent/page/page.js")
		assert.falsy(own:find("innerHTML", 1, true) or own:find("//%w"))
	end)

	it("has the last hour to show", function()
		local began = loop.now()
		local _, port = start()
		local answer = http.get(port, "/history.json")
		assert.equal("application/json", answer.headers["content-type"])
		local history = cjson.decode(answer.body)
		assert.equal(10, history.step_seconds)
		local names = {}
		for _, link in ipairs(history.links) do
			names[link.link] = #link.messages
			assert(#link.received == #link.messages and #link.acknowledged == #link.messages)
		end
		local steps = names.core
		assert.same({ core = steps, field = steps }, names)
		assert(steps >= 1 and steps <= 1 + (loop.now() - began) / 10, steps)
	end)

	it("shows an outage in a browser", function()
		need.program("chromium")
		local g, port = start { down = true, script = [[
			function on_message(topic, payload)
				if payload == "r7" then error("<b>seven</b>") end
				mqtt.pub(topic, payload)
			end
		]] }
		g:publish_readings(1, 20)
		g:await_taken()
		loop.eventually(function()
			local core = cjson.decode(http.get(port, "/history.json").body).links[1]
			return core.link == "core" and core.messages[#core.messages] == 19
		end, "the outage is in the history", 30)
		local directory = os.getenv("ARTIFACTS") or file.directory()
		os.execute("mkdir -p '" .. directory .. "'")
		local function browse(name, more)
			local out = directory .. "/" .. name .. ".html"
			os.remove(out)
			local argv = { "chromium", "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run",
				"--disable-dev-shm-usage", "--user-data-dir=" .. file.directory(), "--virtual-time-budget=3000",
				"--hide-scrollbars", "--enable-logging=stderr", "http://127.0.0.1:" .. port .. "/" }
			table.move(more, 1, #more, #argv + 1, argv)
			local log = file.directory() .. "/log"
			local process = proc.spawn(argv, { stdout = out, stderr = log })
			loop.eventually(function() return not process:running() end, "the browser ends", 60)
			return file.read(out), file.read(log)
		end
		local dom, log = browse("page", { "--dump-dom" })
		assert.falsy(log:find("Content Security Policy", 1, true), log)
		assert.falsy(log:find("Uncaught", 1, true), log)
		assert.truthy(dom:find("! link core:", 1, true), dom:gsub("<script>.-</script>", ""):gsub("<style>.-</style>", ""))
		assert.truthy(dom:find("○ waiting", 1, true) or dom:find("○ connecting", 1, true))
		assert.truthy(dom:find("● up", 1, true))
		assert.truthy(dom:find("core: 19 messages queued now", 1, true))
		if os.getenv("CI") == "true" or dom:find("var uPlot", 1, true) then -- else it was built without npm
			assert.truthy(dom:find("<canvas", 1, true))
		end
		assert.truthy(dom:find("! script rules.lua:", 1, true))
		for name, arguments in pairs {
			wide = { "--window-size=1000,2000" },
			phone = { "--window-size=390,2400" },
			dark = { "--window-size=1000,2000", "--blink-settings=preferredColorScheme=0" },
		} do
			local shot = directory .. "/" .. name .. ".png"
			os.remove(shot)
			table.insert(arguments, "--screenshot=" .. shot)
			browse(name, arguments)
			assert(#file.read(shot) > 10000)
		end
	end)
end)

describe("/healthz:", function()
	local function health(port)
		local answer = http.get(port, "/healthz")
		assert.equal("application/json", answer.headers["content-type"])
		return answer.status, cjson.decode(answer.body)
	end

	it("is well while a line is down", function()
		local g, port = start { core = { ack_timeout = "1s" } }
		assert.same({ 200, { status = "ok", problems = {} } }, { health(port) })
		g.uplink.cut()
		g:publish_readings(1, 5)
		g:await_taken()
		local m = loop.eventually(function()
			local m = http.metrics(port)
			return m['tidegate_queue_oldest_seconds{link="core"}'] > 2 and m
		end, "it is down for twice the ack_timeout")
		assert.equal(0, m['tidegate_link_up{link="core"}'])
		assert.equal(200, (health(port)))
	end)

	it("is not, with a broker that takes everything and acknowledges nothing, however often it is reconnected", function()
		local answers = false
		local fake = fake_broker.start {
			publish = function()
				if not answers then
					return false
				end
			end,
		}
		local port = net.free_port()
		tidegate.start {
			config = {
				http = "127.0.0.1:" .. port,
				links = { core = { url = "mqtt://127.0.0.1:" .. fake.port, keepalive = "5s", ack_timeout = "1s",
					reconnect = { min = "50ms", max = "100ms" } } },
			},
			scripts = { ["rules.lua"] = [[function on_start() mqtt.pub("out", "1") end]] },
		}
		fake:wait_connected(1)
		local told = loop.eventually(function()
			local status, body = health(port)
			return status == 503 and body
		end, "it is unhealthy")
		assert.equal("unhealthy", told.status)
		assert.equal(1, #told.problems)
		assert.same({ part = "link", name = "core", text = "connects, but delivers nothing of what waits" },
			told.problems[1])
		fake:wait_connected(3)
		assert.equal(503, (health(port)))
		answers = true
		loop.eventually(function()
			return health(port) == 200
		end, "it is well again")
	end)

	it("is not while a queue that holds is full", function()
		local g, port = start { down = true, core = { queue = { max_messages = 5, overflow = "hold" } } }
		g:publish_readings(1, 50)
		loop.eventually(function()
			local status, body = health(port)
			return status == 503 and body.problems[1].name == "core" and body.problems[1].text:find("is full", 1, true)
		end, "it is unhealthy")
	end)
end)
