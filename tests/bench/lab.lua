--- What bench and demo are made of: private brokers, the load program, the agent,
-- and what the kernel says of a process. Files are in one fresh directory; all
-- that was started ends with the program, also on Ctrl-C.
local uv = require "luv"
local cleanup = require "lib.cleanup"
local file = require "lib.file"
local loop = require "lib.loop"
local net = require "lib.net"
local proc = require "lib.proc"

local M = {}

local interrupted

--- Raises an error that is a message to the user: M.main prints it without a
-- traceback.
function M.fail(...)
	error({ message = (...):format(select(2, ...)) })
end

local function explain(err)
	if interrupted then
		return "interrupted"
	end
	return type(err) == "table" and err.message or debug.traceback(err)
end

--- Runs `fn`, cleans up, and ends the process: with the status that `fn` returns,
-- 1 after an error (which is printed), 130 after Ctrl-C or TERM.
function M.main(fn)
	for _, name in ipairs { "sigint", "sigterm" } do
		local watch = uv.new_signal()
		watch:start(name, loop.guard(function()
			interrupted = true
			error("interrupted", 0)
		end))
	end
	local ok, result = xpcall(fn, explain)
	local problems = cleanup.run()
	cleanup.finish(false)
	if not ok then
		io.stderr:write("\n", tostring(result), "\n")
	end
	for _, problem in ipairs(problems) do
		io.stderr:write(problem, "\n")
	end
	io.stdout:flush()
	os.exit(not ok and (interrupted and 130 or 1) or #problems > 0 and 1 or result or 0)
end

--- Lets time pass, turning the loop.
function M.sleep(seconds)
	loop.run_until(function() return false end, seconds)
end

-- Waits for `fn`; an error in it ends the program.
local function await(fn, what)
	if not loop.run_until(fn, loop.deadline) then
		M.fail("%s: not within %g seconds", what, loop.deadline)
	end
end

--- The path of a program that make built.
function M.program(variable, default)
	local path = os.getenv(variable) or default
	return uv.fs_realpath(path) or M.fail("%s is not there: run make first", path)
end

-- ---- brokers ----

local broker = {}
broker.__index = broker

--- Starts a broker on a free port and waits until it runs. `name` names its files
-- below `directory`. Options:
--   config     function(port) -> text of its configuration file
--   argv       function(path of that file) -> command
--   running    what it then says, as plain text
--   env        for its process
function M.server(directory, name, options)
	local self = setmetatable({ port = net.free_port(), directory = directory .. "/" .. name, options = options },
		broker)
	if not file.exists(self.directory) then
		assert(uv.fs_mkdir(self.directory, 448))
	end
	self.log_path = self.directory .. "/log"
	self.config = file.write(self.directory .. "/broker.conf", options.config(self.port))
	return self:start()
end

local MOSQUITTO = [[
user root
log_dest stderr
log_type error
log_type warning
log_type notice
log_type information
log_type subscribe
listener %d 127.0.0.1
allow_anonymous true
set_tcp_nodelay true
max_queued_messages 0
persistence_location %s/
]]

--- Starts a mosquitto; `lines` are added to its configuration. Unless options say
-- otherwise it queues without limit and keeps sessions and messages across :stop()
-- and :start(). Options:
--   program    the binary (default: mosquitto)
--   store      the directory of what must last (default: that of its other files)
--   plugin     lines for a persistence plugin, in place of mosquitto's own file
--   env        for its process
function M.broker(directory, name, lines, options)
	options = options or {}
	return M.server(directory, name, {
		config = function(port)
			local text = { MOSQUITTO:format(port, options.store or directory .. "/" .. name) }
			for _, more in ipairs { options.plugin or { "persistence true" }, lines or {} } do
				table.move(more, 1, #more, #text + 1, text)
			end
			return table.concat(text, "\n") .. "\n"
		end,
		argv = function(config)
			return { options.program or "mosquitto", "-c", config }
		end,
		running = " running\n",
		env = options.env,
	})
end

--- Starts it and waits until it runs. If it does not, nothing of it is left when this
-- raises.
function broker:start()
	file.write(self.log_path, "")
	self.process = proc.spawn(self.options.argv(self.config), { stdout = self.log_path, env = self.options.env })
	local ok, err = pcall(await, function()
		if not self.process:running() then
			M.fail("%s ended:\n%s", self.process.name, file.read(self.log_path))
		end
		return file.read(self.log_path):find(self.options.running, 1, true)
	end, self.process.name .. " runs")
	if not ok then
		self.process:destroy()
		error(err, 0)
	end
	return self
end

--- Waits until a client of that id has subscribed since the broker was started.
-- `alive` is called meanwhile; it may raise an error.
function broker:wait_subscribed(client_id, alive)
	local pattern = "%f[%w]" .. client_id:gsub("%p", "%%%0") .. " %d "
	await(function()
		alive()
		return file.read(self.log_path):find(pattern)
	end, client_id .. " subscribes")
end

--- Stops it; it writes down what it has.
function broker:stop()
	self.process:kill("sigterm")
	self.process:wait(60)
end

--- kill -9: it writes down nothing.
function broker:kill()
	self.process:destroy()
end

-- ---- load ----

local client = {}
client.__index = client

local function argument_list(kind, options)
	local list = { M.program("LOAD", "build/load"), kind }
	for name, value in pairs(options) do
		list[#list + 1] = "--" .. name:gsub("_", "-")
		if value ~= true then
			list[#list + 1] = tostring(value)
		end
	end
	return list
end

-- One of load's lines: a flat object of numbers, booleans and plain strings.
local function parse(line)
	local object = {}
	for key, value in line:gmatch('"([%a_]+)":"?([^,"}]*)') do
		object[key] = tonumber(value) or (value == "true" or value ~= "false" and value)
	end
	return object
end

--- Starts `load publish` or `load collect` (see tests/tools/load.c) with options
-- by name: { port = 1883, topic = "a/#", client_id = "x", session = true }.
-- `directory` gets its output.
function M.load(kind, directory, options)
	local self = setmetatable({ kind = kind, offset = 0, latest = {} }, client)
	self.path = assert(uv.fs_mkdtemp(directory .. "/" .. kind .. "-XXXXXX")) .. "/out"
	self.process = proc.spawn(argument_list(kind, options), { stdout = self.path })
	return self
end

-- Reads what it has printed since the last look.
local function catch_up(self)
	local handle = assert(io.open(self.path))
	handle:seek("set", self.offset)
	for line in handle:lines("L") do
		if line:sub(-1) ~= "\n" then
			break
		end
		self.offset = self.offset + #line
		if line:sub(1, 1) ~= "{" then
			M.fail("load %s says: %s", self.kind, line)
		end
		local object = parse(line)
		self.subscribed = self.subscribed or object.event == "subscribed"
		if object.event == "progress" or object.event == "result" then
			self.latest = object
		end
	end
	handle:close()
	if not self.process:running() and self.latest.event ~= "result" then
		M.fail("load %s ended with status %d, signal %d", self.kind, self.process.code, self.process.signal)
	end
end

--- The last progress or result line, as a table.
function client:progress()
	catch_up(self)
	return self.latest
end

--- Waits until a collector has subscribed.
function client:ready()
	await(function()
		catch_up(self)
		return self.subscribed
	end, "the collector subscribes")
	return self
end

--- Waits for its end and returns its result. nil if that takes longer than
-- `seconds`: it is then ended.
function client:finish(seconds)
	local ended = loop.run_until(function() return not self.process:running() end, seconds)
	if not ended then
		self:stop()
		return nil
	end
	return self:progress()
end

--- Tells it to finish, and returns its result.
function client:stop()
	self.process:kill("sigterm")
	self.process:wait()
	return self:progress()
end

-- ---- what the kernel says ----

-- USER_HZ: the unit of /proc/PID/stat; 100 on every Linux that people use.
local ticks_per_second = 100

--- CPU seconds, resident bytes and bytes sent to the disk of a process.
function M.usage(pid)
	local stat = file.read(("/proc/%d/stat"):format(pid)):match("%) (.*)")
	local fields = {}
	for field in stat:gmatch("%S+") do
		fields[#fields + 1] = field
	end
	return {
		cpu = (fields[12] + fields[13]) / ticks_per_second,
		memory = file.read(("/proc/%d/status"):format(pid)):match("VmRSS:%s*(%d+)") * 1024,
		written = tonumber(file.read(("/proc/%d/io"):format(pid)):match("\nwrite_bytes: (%d+)")),
	}
end

return M
