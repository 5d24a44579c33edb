--- The command line: what is wrong is said completely, in one run, and with the
-- exit status that scripts and service managers expect.
local file = require "lib.file"
local proc = require "lib.proc"
local tidegate = require "lib.tidegate"
local uv = require "luv"

local binary = assert(uv.fs_realpath(os.getenv("TIDEGATE") or "build/tidegate"), "run make first")

-- Runs the binary in `directory`; returns exit status, stdout, stderr.
local function run(directory, ...)
	local out, err = os.tmpname(), os.tmpname()
	local process = proc.spawn({ binary, ... }, { cwd = directory, stdout = out, stderr = err })
	local code = process:wait()
	local output, errors = file.read(out), file.read(err)
	os.remove(out)
	os.remove(err)
	return code, output, errors
end

-- A fresh directory with these files: { ["agent.lua"] = text, ... }.
local function directory_with(files)
	local directory = file.directory()
	for name, text in pairs(files) do
		file.write(directory .. "/" .. name, tidegate.as_root(text))
	end
	return directory
end

local good = [[
return {
	links = {
		field = { url = "mqtt://127.0.0.1:1", subscribe = { "sensors/#" } },
		core = { url = "mqtt://127.0.0.1:2" },
	},
	scripts = { "*-rules.lua" },
	store = { path = "queue.db" },
}
]]

local bad = [[
return {
	name = 5,
	links = {
		field = { url = "mqtt://127.0.0.1:1", subscribe = { "sensors/#", "a#" } },
		core = { ulr = "mqtt://127.0.0.1:2", keepalive = -1 },
		hist = { url = "kdb://gw:hush@127.0.0.1" },
		safe = { url = "mqtts://127.0.0.1", password = file("no.secret"), tls = { ca = "no.pem" } },
	},
	scripts = { "none.lua", "bad-rules.lua", "*.moon" },
	store = { path = "nowhere/queue.db", linger = "1h" },
	log = { level = "loud" },
}
]]

local bad_script = "function on_message(topic payload)\nend\n"

describe("check", function()
	it("counts what it found when all is well", function()
		local directory = directory_with { ["agent.lua"] = good, ["my-rules.lua"] = "function on_start() end" }
		local code, out, err = run(directory, "check")
		assert.equal(0, code)
		assert.equal("agent.lua: ok (2 links, 1 script)\n", out)
		assert.equal("", err)
	end)

	it("names everything that is wrong, in one run, with its line", function()
		local directory = directory_with { ["agent.lua"] = bad, ["bad-rules.lua"] = bad_script }
		local code, out, err = run(directory, "check", "-c", "agent.lua")
		assert.equal(78, code)
		assert.equal("", out)
		assert.equal([[
agent.lua:2: name: expected a string, got a number
agent.lua:4: links.field.subscribe[2]: topic filter "a#" has a wildcard in the wrong place
agent.lua:5: links.core: expected `url` or `urls`
agent.lua:5: links.core.keepalive: expected 0 to 65535s, got -1
agent.lua:5: links.core.ulr: unknown key, did you mean `url`?
agent.lua:6: links.hist.url: expected a port from 1 to 65535
agent.lua:6: links.hist: expected `tables`: kdb.upd needs the types of their columns
agent.lua:7: file: cannot read no.secret: No such file or directory
agent.lua:7: links.safe.tls.ca: cannot read no.pem: No such file or directory
agent.lua:7: links.safe.password: needs a `username` before version = "5"
agent.lua:9: scripts[1]: expected a script, got no such file: none.lua
agent.lua:9: scripts[3]: expected script files, got no match for *.moon
agent.lua:10: store.linger: expected 0 to 1m, got "1h"
agent.lua:10: store.path: directory nowhere: No such file or directory
agent.lua:11: log.level: expected "error", "warn", "info" or "debug", got "loud"
bad-rules.lua:1: ')' expected near 'payload'
]], err)
		assert.is_nil(err:find("hush", 1, true))
	end)

	it("names the line of a syntax error", function()
		local directory = directory_with { ["agent.lua"] = "return {\n\tlinks = {\n\t\tcore = { url = },\n\t} }" }
		local code, _, err = run(directory, "check")
		assert.equal(78, code)
		assert.equal("agent.lua:3: unexpected symbol near '}'\n", err)
	end)

	it("finds paths from the configuration's directory", function()
		local directory = directory_with { ["agent.lua"] = good, ["my-rules.lua"] = "" }
		local code, out = run("/", "check", "-c", directory .. "/agent.lua")
		assert.equal(0, code)
		assert.equal(directory .. "/agent.lua: ok (2 links, 1 script)\n", out)
	end)

	it("says that there is no configuration", function()
		local directory = file.directory()
		local code, _, err = run(directory, "check", "-c", "other.lua")
		assert.equal(78, code)
		assert.equal("other.lua: cannot be read: No such file or directory\n", err)
	end)

	it("neither runs the scripts nor makes the queue", function()
		local directory = directory_with {
			["agent.lua"] = good,
			["my-rules.lua"] = "error('it runs')",
		}
		assert.equal(0, (run(directory, "check")))
		assert.is_false(file.exists(directory .. "/queue.db"))
	end)

	it("refuses a password where everyone may read it, and warns where it cannot tell", function()
		local text = [[
return {
	links = { core = { url = "mqtt://127.0.0.1:1", username = "u", password = %s } },
	store = { path = "queue.db" },
}
]]
		local directory = directory_with { ["agent.lua"] = text:format('"hush"') }
		assert.equal(0, (run(directory, "check"))) -- nobody else comes into the directory
		assert(uv.fs_chmod(directory, 493))
		assert(uv.fs_chmod(directory .. "/agent.lua", 420))
		local code, _, err = run(directory, "check")
		local problem = "agent.lua:2: links.core.password: stands in agent.lua, which every user of this machine may read: "
		assert.equal(78, code)
		assert.equal(problem .. "chmod o-r agent.lua\n", err)
		code, _, err = run(directory, "run")
		assert.equal(78, code)
		assert.equal("error config: " .. problem .. "chmod o-r agent.lua\n", err)
		assert(os.execute("cd " .. file.quote(directory) .. " && " .. err:match("chmod o%-r agent.lua")))
		assert.equal(0, (run(directory, "check")))

		file.write(directory .. "/agent.lua", tidegate.as_root(text:format('"hu" .. "sh"')))
		assert(uv.fs_chmod(directory .. "/agent.lua", 420))
		local out
		code, out, err = run(directory, "check")
		assert.equal(0, code)
		assert.equal("agent.lua: ok (1 link, 0 scripts)\n", out)
		assert.equal("agent.lua:2: warning: links.core.password: every user of this machine may read agent.lua: " ..
			"if this stands in it, chmod o-r agent.lua\n", err)
	end)

	it("ends an endless loop and a memory bomb", function()
		local code, _, err = run(directory_with { ["agent.lua"] = "while true do end" }, "check")
		assert.equal(78, code)
		assert.equal("agent.lua:1: does not come to an end (an endless loop?)\n", err)
		code, _, err = run(directory_with { ["agent.lua"] = "return ('x'):rep(1e9)" }, "check")
		assert.equal(78, code)
		assert.truthy(err:find("not enough memory", 1, true))
	end)
end)

describe("run", function()
	it("refuses what check refuses, with every problem, and touches nothing", function()
		local directory = directory_with { ["agent.lua"] = good:gsub("127.0.0.1:1", "127.0.0.1:x"),
			["my-rules.lua"] = bad_script }
		local code, out, err = run(directory, "run")
		assert.equal(78, code)
		assert.equal("", out)
		assert.equal("error config: agent.lua:3: links.field.url: expected a port from 1 to 65535\n" ..
			"error config: my-rules.lua:1: ')' expected near 'payload'\n", err)
		assert.is_false(file.exists(directory .. "/queue.db"))
	end)
end)

describe("the command line", function()
	it("prints its version and those of its libraries", function()
		for _, spelling in ipairs { "version", "--version", "-V" } do
			local code, out, err = run("/", spelling)
			assert.equal(0, code)
			assert.truthy(out:match("^tidegate %d+%.%d+%.%d+\n" ..
				"Lua 5%.4%.%d+, libmosquitto %d+%.%d+%.%d+, SQLite 3%.[%d.]+\n$"))
			assert.equal("", err)
		end
	end)

	it("helps", function()
		for _, spelling in ipairs { "help", "--help", "-h" } do
			local code, out = run("/", spelling)
			assert.equal(0, code)
			for _, command in ipairs { "run", "check", "version", "help" } do
				assert.truthy(out:find("\n  " .. command, 1, true), command)
			end
		end
		for _, argv in ipairs { { "help", "run" }, { "run", "--help" }, { "run", "-h" } } do
			local code, out = run("/", table.unpack(argv))
			assert.equal(0, code)
			assert.truthy(out:find("usage: tidegate run [-c FILE] [-v]", 1, true))
		end
	end)

	it("answers bad usage with usage on stderr and status 64", function()
		local cases = {
			[{}] = "usage: tidegate COMMAND",
			[{ "chekc" }] = "unknown command \"chekc\"",
			[{ "help", "chekc" }] = "unknown command \"chekc\"",
			[{ "check", "-x" }] = "unknown option -x",
			[{ "check", "-v" }] = "unknown option -v",
			[{ "run", "--config", "a" }] = "unknown option --config",
			[{ "run", "-c" }] = "expected a value after -c",
			[{ "run", "agent.lua" }] = "unexpected agent.lua",
			[{ "version", "5" }] = "unexpected 5",
			[{ "dead" }] = "expected list, show, retry or purge",
			[{ "replay" }] = "expected a recording",
		}
		for argv, message in pairs(cases) do
			local code, out, err = run("/", table.unpack(argv))
			assert.equal(64, code)
			assert.equal("", out)
			assert.truthy(err:find(message, 1, true), message)
			assert.truthy(err:find("usage: tidegate", 1, true))
			assert.truthy(err:find("\ntidegate help [%w]+ tells more.\n$"), err)
		end
	end)
end)
