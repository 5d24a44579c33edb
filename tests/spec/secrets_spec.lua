--- Secrets are told to the peers that they are for, and to nobody else: not in the log, at whatever level, not in
-- what any command says, on any page, in a recording, nor in the database.
local broker = require "lib.broker"
local certs = require "lib.certs"
local file = require "lib.file"
local http = require "lib.http"
local loop = require "lib.loop"
local net = require "lib.net"
local proc = require "lib.proc"
local tidegate = require "lib.tidegate"
local uv = require "luv"

-- Every secret has this in it; a pre-shared key is hexadecimal, so all are.
local MARK = "cafe7391beef"
local binary = assert(uv.fs_realpath(os.getenv("TIDEGATE") or "build/tidegate"), "run make first")

local function assert_silent(text, where)
	local at = text:lower():find(MARK, 1, true)
	assert(not at, at and ("a secret in %s: %s"):format(where, text:sub(math.max(1, at - 200), at + 40)))
end

-- Links of every kind, with a secret each: half of them get through, half do not.
local CONFIG = [[
return {
	name = "gw",
	links = {
		plain = { url = "mqtt://127.0.0.1:$port", username = "u", password = "01$mark", subscribe = { "s" }, default = true },
		wrong = { url = "mqtt://127.0.0.1:$port", username = "u", password = "02$mark" },
		inurl = { url = "mqtt://u:01$mark@127.0.0.1:$port" },
		escaped = { url = "mqtt://u:%303$mark@127.0.0.1:$closed" },
		both = { urls = { "mqtt://u:04$mark@127.0.0.1:$closed", "mqtt://u:04$mark@localhost:$closed" } },
		psk = { url = "mqtts://127.0.0.1:$psk_port", tls = { psk = "05$mark", identity = "gw" } },
		wrongpsk = { url = "mqtts://127.0.0.1:$psk_port", tls = { psk = "06$mark", identity = "gw" } },
		locked = { url = "mqtts://localhost:$tls_port", username = "u", password = "01$mark",
			tls = { ca = "$ca", cert = "$cert", key = "locked.key", key_password = "07$mark" } },
		env = { url = "mqtt://127.0.0.1:$port", username = "u", password = env("SECRET") },
		file = { url = "mqtt://127.0.0.1:$port", username = "u", password = file("secret") },
		proxy = { url = "mqtt://127.0.0.1:$port", socks5 = "socks5://u:08$mark@127.0.0.1:$closed" },
		hist = { url = "kdb://u:09$mark@127.0.0.1:$kdb_port", tables = { t = { "a:long" } }, default = true },
		wronghist = { url = "kdb://u:10$mark@127.0.0.1:$kdb_port", tables = { t = { "a:long" } } },
		tlshist = { url = "kdbs://u:11$mark@127.0.0.1:$kdb_port", tables = { t = { "a:long" } } },
		unixhist = { url = "kdb+unix:u:12$mark@5999", tables = { t = { "a:long" } } },
	},
	scripts = { "rules.lua" },
	store = { path = "queue.db" },
	http = "127.0.0.1:$http_port",
	control = "control.sock",
}
]]

local RULES = [[
function on_start()
	mqtt.conn("mqtt://127.0.0.1:$port", "scripted", { username = "u", password = "13$mark" })
	kdb.upd("t", { 1 })
end
function on_message(topic, payload)
	if payload == "bad" then
		mqtt.conn("mqtt://u:14$mark@127.0.0.1:99999", "bad", { window = "x" })
	end
	mqtt.pub("out", payload)
end
]]

-- agent.lua as people get it wrong, around a secret: each of these is refused.
local MISTAKES = {
	'password = "$mark" "x"', 'password = "$mark', 'password = "$mark" + {}', 'password = ("$mark")()',
	'password = "$mark" .. {}', 'password = ("$mark").x.y', 'password = { "$mark" }', 'passwrod = "$mark"',
	'password = "$mark" }', 'password = [[$mark', 'password = $mark"', 'password = "\\q$mark"', 'password = "$mark\0"',
	'url = "mqtt://u:$mark@host:x"', 'url = "mqtt://u:$mark@:1"', 'url = "mqtt:/u:$mark@host"', 'url = "u:$mark@host"',
	'url = "mqtt://u:$mark%zz@host"', 'url = "kdb://u:$mark@host"', 'url = "wss://u:$mark@host"',
	'url = { "mqtt://u:$mark@host" }', 'urls = { "mqtt://u:$mark@host", "mqtts://u:$mark@host" }',
	'socks5 = "u:$mark@ho/st"', 'socks5 = "u:$mark@host:x"', 'tls = { psk = "$mark-x", identity = "u" }',
	'tls = { psk = "$mark" }', 'tls = { key_password = "$mark" }', 'tls = { psk = { "$mark" } }',
}

-- Everything the agent has written or has to say, by where it is.
local function everything(agent, port)
	local found = { log = agent:log() }
	for _, path in ipairs { "/metrics", "/healthz", "/", "/status.json", "/nothing" } do
		found[path] = http.get(port, path).text
	end
	for _, argv in ipairs { { "status" }, { "status", "--json" }, { "check" }, { "dead", "list" }, { "dead", "show", "1" },
		{ "reload" }, { "reload", "--json" } } do
		local _, out, err = agent:command(table.unpack(argv))
		found[table.concat(argv, " ")] = out .. err
	end
	return found
end

describe("secrets", function()
	it("are nowhere but in the configuration and in memory", function()
		local certificates = certs.get()
		local psk_server = broker.start { psk = { gw = "05" .. MARK } }
		local server = broker.start { users = { u = "01" .. MARK },
			tls = { ca = certificates.ca, cert = certificates.server.cert, key = certificates.server.key,
				require_certificate = true } }
		local kdb_port, http_port = net.free_port(), net.free_port()
		local listening = file.directory() .. "/listener"
		local listener = proc.spawn({ binary, "kdb", "listen", tostring(kdb_port), "--user", "u",
			"--password", "09" .. MARK }, { stdout = listening })
		local values = { mark = MARK, port = server.port, psk_port = psk_server.psk_port, tls_port = server.tls_port,
			closed = net.free_port(), kdb_port = kdb_port, http_port = http_port, ca = certificates.ca,
			cert = certificates.client.cert }
		local function filled(text)
			return (text:gsub("%$([%l_]+)", values))
		end
		local agent = tidegate.new { config = tidegate.as_root(filled(CONFIG)), scripts = { ["rules.lua"] = filled(RULES) },
			env = { SECRET = "01" .. MARK }, arguments = { "-v", "--record", "recording.jsonl" } }
		file.write(agent.directory .. "/secret", "01" .. MARK .. "\n")
		proc.output(("openssl ec -in %s -aes128 -passout pass:07%s -out %s/locked.key"):format(certificates.client.key, MARK,
			agent.directory))
		agent:start()
		for _, name in ipairs { "plain", "inurl", "psk", "locked", "env", "file", "hist" } do
			agent:wait_log("link " .. name .. ": connected")
		end
		for _, name in ipairs { "wrong", "escaped", "both", "wrongpsk", "proxy", "wronghist", "tlshist", "unixhist",
			"scripted" } do
			agent:wait_log("link " .. name .. ": cannot connect")
		end
		loop.eventually(function()
			return file.read(listening):find("t", 1, true)
		end, "a row at the collector")
		local sensor = server:client { username = "u", password = "01" .. MARK }
		sensor:publish("s", "good")
		sensor:publish("s", "bad")
		agent:wait_log("dead letter")
		for where, text in pairs(everything(agent, http_port)) do
			assert(#text > 0 or where == "reload --json", where .. " says nothing")
			assert_silent(text, where)
		end

		-- Other secrets, for a reload; then one that is wrong.
		agent:configure(tidegate.as_root((filled(CONFIG):gsub("0([23])" .. MARK, "9%1" .. MARK))))
		local code, out = agent:command("reload")
		assert.equal(0, code)
		assert(out:find("link wrong: connected anew", 1, true), out)
		agent:configure(tidegate.as_root((filled(CONFIG):gsub("window", "windw"):gsub('password = "02', 'psk = "02'))))
		assert.equal(1, (agent:command("reload")))
		for where, text in pairs(everything(agent, http_port)) do
			assert_silent(text, where .. " after a reload")
		end

		agent:configure(tidegate.as_root(filled(CONFIG)))
		assert.equal(0, agent:stop())
		assert_silent(agent:log(), "the log")
		for name in uv.fs_scandir_next, assert(uv.fs_scandir(agent.directory)) do
			if name:find("^queue%.db") or name == "recording.jsonl" or name == "out" then
				assert_silent(file.read(agent.directory .. "/" .. name), name)
			end
		end
		assert(file.read(agent.directory .. "/recording.jsonl"):find('"good"', 1, true))
		for _, argv in ipairs { { "status" }, { "dead", "list", "--json" }, { "check" } } do
			local _, stdout, stderr = agent:command(table.unpack(argv))
			assert_silent(stdout .. stderr, argv[1] .. " of an agent that does not run")
		end
		listener:kill("sigterm")
		listener:wait()
		assert_silent(file.read(listening), "kdb listen")
	end)

	it("are not repeated in what is said of an agent.lua that is wrong", function()
		local directory = file.directory()
		for _, mistake in ipairs(MISTAKES) do
			local url = mistake:find("^url") and "" or 'url = "mqtt://127.0.0.1", '
			local line = mistake:gsub("%$mark", "x" .. MARK)
			file.write(directory .. "/agent.lua", ('return { user = "root", store = { path = "queue.db" },\n' ..
				"links = { core = { %s%s } } }\n"):format(url, line))
			for _, command in ipairs { "check", "run" } do
				local out = directory .. "/out"
				os.remove(out)
				local code = proc.spawn({ binary, command }, { cwd = directory, stdout = out, stderr = out }):wait()
				assert.equal(78, code, mistake)
				assert(#file.read(out) > 0)
				assert_silent(file.read(out), command .. " of " .. mistake)
			end
		end
	end)
end)
