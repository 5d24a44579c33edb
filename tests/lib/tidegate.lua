--- The agent under test: its files in a fresh directory, its process, its log.
--
-- The binary is $TIDEGATE, build/tidegate by default; $TIDEGATE_RELEASE is the one
-- to measure memory with, where the first is built with sanitizers. An agent that
-- still runs when the spec ends is asked to stop and must do so with status 0 and
-- without a sanitizer's report; what it logged is printed if the spec failed.
local uv = require "luv"
local cjson = require "cjson"
local cleanup = require "lib.cleanup"
local file = require "lib.file"
local loop = require "lib.loop"
local proc = require "lib.proc"

local M = {}

local agent = {}
agent.__index = agent

local function existing(path)
	return assert(uv.fs_realpath(path), path .. " is not there: run make first")
end

local function binary(release)
	return existing(release and os.getenv("TIDEGATE_RELEASE") or os.getenv("TIDEGATE") or "build/tidegate")
end

local sanitized = {}

--- True if the binary is built with AddressSanitizer: the memory it uses says
-- nothing then, and it is slower.
function M.sanitized(path)
	if sanitized[path] == nil then
		sanitized[path] = file.read(path):find("__asan_init", 1, true) ~= nil
	end
	return sanitized[path]
end

local function serialize(value, indent)
	if type(value) ~= "table" then
		return type(value) == "string" and ("%q"):format(value):gsub("\r", "\\r") or tostring(value)
	end
	local lines, keys = {}, {}
	for key in pairs(value) do
		keys[#keys + 1] = key
	end
	table.sort(keys, function(a, b) return tostring(a) < tostring(b) end)
	for _, key in ipairs(keys) do
		local name = type(key) == "string" and ("[%q] = "):format(key) or ("[%d] = "):format(key)
		lines[#lines + 1] = indent .. "\t" .. name .. serialize(value[key], indent .. "\t") .. ",\n"
	end
	return "{\n" .. table.concat(lines) .. indent .. "}"
end

--- The text of an agent.lua, on the same lines, with which root stays root: it would become the user
-- that an installed package has made.
function M.as_root(text)
	return (text:gsub("^return {", 'return { user = "root",'))
end

-- Quick reconnects and the files in the fresh directory, unless the spec says
-- otherwise.
local function with_defaults(self, config)
	local whole = { name = "gw", user = uv.getuid() == 0 and "root" or nil,
		store = { path = self.directory .. "/queue.db" } }
	for key, value in pairs(config) do
		whole[key] = value
	end
	if config.store then
		whole.store = { path = self.directory .. "/queue.db" }
		for key, value in pairs(config.store) do
			whole.store[key] = value
		end
	end
	whole.links = {}
	for name, link in pairs(config.links or {}) do
		whole.links[name] = { reconnect = { min = "50ms", max = "300ms" } }
		for key, value in pairs(link) do
			whole.links[name][key] = value
		end
	end
	if whole.scripts == nil then
		whole.scripts = {}
		for name in pairs(self.options.scripts or {}) do
			table.insert(whole.scripts, name)
		end
		table.sort(whole.scripts)
	end
	return whole
end

--- Writes agent.lua anew; takes effect at the next :start().
function agent:configure(config)
	local text = type(config) == "string" and config or "return " .. serialize(with_defaults(self, config), "") .. "\n"
	file.write(self.directory .. "/agent.lua", text)
end

--- Writes a script.
function agent:script(name, text)
	file.write(self.directory .. "/" .. name, text)
end

--- Makes the directory and the files; does not start. Options:
--   config    agent.lua as a table (name, store, reconnect and scripts are filled
--             in) or as its text
--   scripts   { ["rules.lua"] = text }
--   env       for the process
--   arguments more of them for `tidegate run`
--   wrap      function(argv) -> argv: to run it under something
--   release   true: the binary of $TIDEGATE_RELEASE, which is built to be shipped
--   machine   where it runs at first: see :move()
--   abandon   true: the end of the spec kills it instead of stopping it
function M.new(options)
	local self = setmetatable({ options = options, directory = file.directory() }, agent)
	self.log_path = self.directory .. "/agent.log"
	self.queue_path = self.directory .. "/queue.db"
	self:move(options.machine)
	for name, text in pairs(options.scripts or {}) do
		self:script(name, text)
	end
	self:configure(options.config)
	cleanup.on_failure(function()
		local log = self:log()
		local cut = #log > 16000 and "[...]" .. log:sub(-16000) or log
		return ("---- agent in %s ----\n%s"):format(self.directory, cut)
	end)
	return self
end

--- What it has is on another machine from the next :start() on: "armhf" or "s390x", emulated (see
-- tests/cross.sh), or nil for this one. Not the memory of the one it was on.
function agent:move(machine)
	local build = machine and "build/" .. machine
	self.binary = build and existing(build .. "/tidegate") or binary(self.options.release)
	self.emulator = build and existing(build .. "/run")
	for _, path in ipairs(self:note_paths()) do
		os.remove(path)
	end
end

local function command_line(self, ...)
	return self.emulator and { self.emulator, self.binary, ... } or { self.binary, ... }
end

--- new() and :start().
function M.start(options)
	return M.new(options):start()
end

--- The files in memory where it notes what it is handling, one for each database it
-- has had; a process that is killed leaves its own.
function agent:note_paths()
	local paths = {}
	for instance in self:log():gmatch("instance=(%x+)") do
		paths[#paths + 1] = ("/dev/shm/tidegate-%d-%s"):format(uv.getuid(), instance)
	end
	return paths
end

local function finish(self)
	if self.process:running() and not self.options.abandon then
		local code = self:stop()
		assert(code == 0, ("the agent stopped with status %s"):format(code))
	end
	for _, path in ipairs(self:note_paths()) do
		os.remove(path)
	end
	local log = self:log()
	assert(not log:find("Sanitizer") and not log:find("runtime error:"), "a sanitizer complains in the agent's log")
end

-- libmosquitto does not free what mosquitto_socks5_set() was given.
local function environment(self)
	local suppressions = file.write(self.directory .. "/leaks", "leak:mosquitto_socks5_set\n")
	local env = { LSAN_OPTIONS = "print_suppressions=0:suppressions=" .. suppressions }
	for name, value in pairs(self.options.env or {}) do
		env[name] = value
	end
	return env
end

--- Starts `tidegate run`, with more arguments if given.
function agent:start(...)
	local argv = command_line(self, "run", "-c", self.directory .. "/agent.lua")
	table.move(self.options.arguments or {}, 1, #(self.options.arguments or {}), #argv + 1, argv)
	table.move({ ... }, 1, select("#", ...), #argv + 1, argv)
	if self.options.wrap then
		argv = self.options.wrap(argv)
	end
	self.process = proc.spawn(argv, { cwd = self.directory, stderr = self.log_path, stdout = self.directory .. "/out",
		env = environment(self) })
	cleanup.defer(function()
		finish(self)
	end)
	return self
end

--- The agent's own process id, also when it runs below a wrapper.
function agent:pid()
	if self.options.wrap then
		return self.process:children()[1] or self.process.pid
	end
	return self.process.pid
end

--- Sends a signal to the agent itself.
function agent:signal(name)
	self.process:kill(name, self:pid())
end

--- Stops it with TERM (or another signal); returns its exit status.
function agent:stop(signal)
	if self.process:running() then
		self:signal("sigcont")
		self:signal(signal or "sigterm")
	end
	return (self.process:wait())
end

--- kill -9.
function agent:kill()
	self:signal("sigkill")
	self.process:wait()
end

--- Stops and starts it.
function agent:restart()
	self:stop()
	return self:start()
end

--- Waits for its end; returns exit status and signal.
function agent:wait()
	return self.process:wait()
end

--- Everything it has logged, all starts together.
function agent:log()
	return file.read(self.log_path)
end

--- Waits until the log has a match for the Lua pattern; returns its captures.
function agent:wait_log(pattern, seconds)
	local found = loop.eventually(function()
		local match = table.pack(self:log():match(pattern))
		return match[1] and match
	end, "in the agent's log: " .. pattern, seconds)
	return table.unpack(found)
end

--- How often a link has been connected by the agent's own word, which comes after its peer's.
function agent:connections(link)
	return select(2, self:log():gsub("link " .. link .. ": connected ", ""))
end

--- Waits until that is `count`.
function agent:wait_connected(link, count)
	loop.eventually(function()
		return self:connections(link) >= count
	end, ("the agent says %d times that %s is connected"):format(count, link))
end

--- Resident memory in bytes, now and at its highest.
function agent:memory()
	local status = file.read(("/proc/%d/status"):format(self:pid()))
	return tonumber(status:match("VmRSS:%s*(%d+)")) * 1024, tonumber(status:match("VmHWM:%s*(%d+)")) * 1024
end

--- CPU time it has used, user and system, in seconds.
function agent:cpu_seconds()
	local stat = file.read(("/proc/%d/stat"):format(self:pid()))
	local user, system = stat:match("%) %S" .. (" %S+"):rep(10) .. " (%d+) (%d+)")
	return (user + system) / 100
end

--- Runs a subcommand to its end; returns exit status, stdout, stderr.
function agent:command(name, ...)
	local out, err = self.directory .. "/command.out", self.directory .. "/command.err"
	os.remove(out)
	os.remove(err)
	local process = proc.spawn(command_line(self, name, "-c", self.directory .. "/agent.lua", ...),
		{ cwd = self.directory, stdout = out, stderr = err, env = environment(self) })
	local code = process:wait()
	return code, file.read(out), file.read(err)
end

--- What `status --json` says of a link; agent.lua must name a control socket.
function agent:link_status(name)
	local code, out, err = self:command("status", "--json")
	assert(code == 0, err)
	for text in out:gmatch("[^\n]+") do
		local line = cjson.decode(text)
		if line.kind == "link" and line.link == name then
			return line
		end
	end
	error("no link " .. name)
end

--- Reads the queue's database with the sqlite3 program; the agent must not run.
-- Returns the rows as lists of texts.
function agent:sql(statement)
	assert(not self.process:running(), "the agent holds its database alone")
	local text = proc.output(("sqlite3 -separator '\t' %s %s"):format(file.quote(self.queue_path),
		file.quote(statement)))
	local rows = {}
	for line in text:gmatch("[^\n]+") do
		local row = {}
		for cell in (line .. "\t"):gmatch("([^\t]*)\t") do
			row[#row + 1] = cell
		end
		rows[#rows + 1] = row
	end
	return rows
end

return M
