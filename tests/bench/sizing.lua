--- What the agent takes of memory and flash, piece by piece, so that an owner can add up
-- what a gateway needs: docs/sizing.md.
local uv = require "luv"
local certs = require "lib.certs"
local file = require "lib.file"
local http = require "lib.http"
local loop = require "lib.loop"
local net = require "lib.net"
local proc = require "lib.proc"
local lab = require "bench.lab"

local M = {}

-- Files are made below it.
M.directory = nil

local RULE = [[
function on_message(topic, payload)
	mqtt.pub(topic, payload)
end
]]

-- To each of the links that carry.
local RULE_FOR_ALL = [[
local carriers = { %s }
function on_message(topic, payload)
	for _, name in ipairs(carriers) do
		mqtt.pub(topic, payload, { link = name })
	end
end
]]

local opened = 0

-- agent.lua with `links` lines of links and so many scripts. Each script is RULE unless options say otherwise.
local function configuration(self, options)
	local lines, scripts, names = {}, {}, {}
	for i = 1, options.links or 1 do
		local url = options.down and "mqtt://127.0.0.1:" .. self.nobody
			or options.tls and "mqtts://127.0.0.1:" .. self.tls_port or "mqtt://127.0.0.1:" .. self.broker.port
		local tls = options.tls and (", tls = { ca = %q }"):format(certs.get().ca) or ""
		lines[i] = ("\t\tl%d = { url = %q, queue = { max_bytes = '1GB' }%s%s },\n"):format(i, url,
			i == 1 and ", default = true" or "", tls)
		names[i] = ("%q"):format("l" .. i)
	end
	for i = 1, options.scripts or 1 do
		local name = ("rule_%d.lua"):format(i)
		file.write(self.directory .. "/" .. name,
			options.down and RULE_FOR_ALL:format(table.concat(names, ", ")) or options.rule or RULE)
		scripts[i] = ("%q"):format(name)
	end
	return ([[
return {
	name = "bench",
	links = {
		field = { url = "mqtt://127.0.0.1:%d", subscribe = { "bench/#" } },
%s	},
	scripts = { %s },
	store = { path = "queue.db", linger = %q },
	%s
}
]]):format(self.broker.port, table.concat(lines), table.concat(scripts, ", "), options.linger or "250ms",
		options.http and ("http = '127.0.0.1:%d',"):format(self.http_port) or "")
end

-- Connected: the field link and, unless they have nobody to connect to, the others.
local function wait_connected(self, count)
	if not loop.run_until(function()
		if not self.process:running() then
			lab.fail("the agent ended; it said:\n%s", file.read(self.directory .. "/agent.log"))
		end
		return select(2, file.read(self.broker.log_path):gsub(" as bench%-", "")) >= count
	end, 60) then
		lab.fail("the agent does not connect; it said:\n%s", file.read(self.directory .. "/agent.log"))
	end
end

-- The agent on a broker of its own. Options:
--   links      besides the field link (1); down: there is nobody where they lead to; tls: they have TLS
--   scripts    how many (1); rule: their text
--   http       true: on
--   linger     store.linger
--   in_flight  of the broker (its own default, 20)
local function open(options)
	opened = opened + 1
	local self = { directory = ("%s/sizing-%d"):format(M.directory, opened), http_port = net.free_port(),
		tls_port = net.free_port(), nobody = net.free_port() }
	assert(uv.fs_mkdir(self.directory, 448))
	local lines = { "sys_interval 1", options.in_flight and "max_inflight_messages " .. options.in_flight or nil }
	if options.tls then
		local server = certs.get().server
		table.move({ ("listener %d 127.0.0.1"):format(self.tls_port), "certfile " .. server.cert,
			"keyfile " .. server.key }, 1, 3, #lines + 1, lines)
	end
	self.broker = lab.broker(self.directory, "broker", lines)
	file.write(self.directory .. "/agent.lua", configuration(self, options))
	self.process = proc.spawn({ lab.program("TIDEGATE", "build/tidegate"), "run", "-c", self.directory .. "/agent.lua" },
		{ cwd = self.directory, stdout = self.directory .. "/agent.log" })
	wait_connected(self, options.down and 1 or 1 + (options.links or 1))
	return self
end

local function close(self)
	self.process:destroy()
	self.broker.process:destroy()
	os.execute("rm -rf " .. file.quote(self.directory))
end

-- Publishes and waits until the agent has acknowledged it all.
local function publish(self, options)
	options.port, options.topic = self.broker.port, "bench/data"
	local published = lab.load("publish", self.directory, options):finish(60 + options.count / 300)
	local path = self.directory .. "/stored"
	file.write(path, "")
	local watcher = proc.spawn({ "mosquitto_sub", "-h", "127.0.0.1", "-p", tostring(self.broker.port), "-t",
		"$SYS/broker/store/messages/count" }, { stdout = path })
	local since = loop.now()
	local taken = published and loop.run_until(function()
		local stored = tonumber(file.read(path):match("(%d+)\n$"))
		return stored and stored < 200 and loop.now() - since > 2 -- the first value can be a second old
	end, 60)
	watcher:destroy()
	if not taken then
		lab.fail("the agent does not take %d messages; it said:\n%s", options.count,
			file.read(self.directory .. "/agent.log"))
	end
end

-- ---- memory ----

-- Resident bytes, and those of them that are no file's and so cannot be dropped.
local function memory(self)
	local status = file.read(("/proc/%d/status"):format(self.process.pid))
	return { resident = status:match("VmRSS:%s*(%d+)") * 1024, own = status:match("RssAnon:%s*(%d+)") * 1024 }
end

local CONFIGURATIONS = {
	{ "2 links, 1 script", {} },
	{ "11 links", { links = 10 } },
	{ "51 links", { links = 50 } },
	{ "10 scripts", { scripts = 10 } },
	{ "50 scripts", { scripts = 50 } },
	{ "10 scripts with an alarm of the library each", { scripts = 10,
		rule = RULE .. [[local alarm = require("rules.alarm").new { above = 5 }]] .. "\n" } },
	{ "2 links, one with TLS", { tls = true } },
	{ "11 links, 10 with TLS", { links = 10, tls = true } },
	{ "http, after some looks at the page", { http = true, looks = 20 } },
	{ "20,000 messages of 1 KB forwarded", { count = 20000 } },
	{ "20,000 messages of 1 KB waiting", { count = 20000, down = true } },
	{ "the same on 10 links", { count = 20000, links = 10, down = true } },
}

--- A list of { name, resident, own }, bytes.
function M.memory()
	local list = {}
	for i, entry in ipairs(CONFIGURATIONS) do
		local options = entry[2]
		local self = open(options)
		if options.count then
			publish(self, { count = options.count, size = 1024 })
		end
		for _ = 1, options.looks or 0 do
			for _, path in ipairs { "/", "/status.json", "/metrics" } do
				assert(http.get(self.http_port, path).status == 200)
			end
		end
		lab.sleep(2)
		list[i] = memory(self)
		list[i].name = entry[1]
		close(self)
	end
	return list
end

-- ---- flash ----

--- Bytes of the database for each message that waits, by the size of its payload; and what SQLite's
-- write-ahead log takes beside it.
function M.disk(count)
	local list = {}
	for i, size in ipairs { 64, 256, 1024 } do
		local self = open { down = true, in_flight = 100 }
		publish(self, { count = count, size = size })
		local log = uv.fs_stat(self.directory .. "/queue.db-wal").size
		self.process:kill("sigterm") -- what its log has goes into the database
		self.process:wait(60)
		list[i] = { size = size, bytes = uv.fs_stat(self.directory .. "/queue.db").size / count, log = log }
		close(self)
	end
	return list
end

-- Readings that come within `linger` share a commit, up to what the broker keeps in flight. Few of them in a commit
-- are few a second; here they are many with a short `linger`, so that the log is worked in again and again.
local FLOWS = {
	{ about = "one a commit", linger = "0s", rate = 400, in_flight = 1 },
	{ about = "some a commit", linger = "25ms", rate = 400 },
	{ about = "as many as mosquitto sends", rate = 400 },
}

local function commits(self)
	local answer = assert(http.get(self.http_port, "/metrics"))
	return tonumber(answer.body:match("\ntidegate_commits_total (%d+)"))
end

--- Bytes written for each message while the uplink is down, for so many seconds each; and how many messages
-- shared a commit.
function M.written(seconds)
	local list = {}
	for _, flow in ipairs(FLOWS) do
		for _, size in ipairs { 64, 1024 } do
			local self = open { down = true, http = true, linger = flow.linger, in_flight = flow.in_flight }
			local before, commits_before, count = lab.usage(self.process.pid).written, commits(self), flow.rate * seconds
			publish(self, { count = count, size = size, rate = flow.rate })
			list[#list + 1] = { about = flow.about, size = size, together = count / (commits(self) - commits_before),
				bytes = (lab.usage(self.process.pid).written - before) / count }
			close(self)
		end
	end
	return list
end

return M
