--- Where forwarders are measured: a publisher, a source broker, the forwarder, a
-- sink broker that can be away, a collector. Everything private, in fresh
-- directories below $TMPDIR.
local uv = require "luv"
local file = require "lib.file"
local loop = require "lib.loop"
local proc = require "lib.proc"
local lab = require "bench.lab"

local M = {}

local scene = {}
scene.__index = scene

-- What the source broker's own $SYS topics keep in its store, and some more.
local STORE_EMPTY = 200

local opened = 0

-- What was measured before is not to be written at the expense of the next.
local function settle()
	os.execute("sync")
	lab.sleep(1)
end

local function open_source(self, lines)
	local all = table.move(lines, 1, #lines, 2, { "sys_interval 1" })
	if self.forwarder.source then
		return self.forwarder.source(self, all)
	end
	return lab.broker(self.directory, "source", all)
end

--- Sets the scene with a forwarder (see forwarders.lua) that is known to work when
-- this returns. Options:
--   directory   for all files
--   store       an existing directory for what the forwarder keeps (default: below
--               `directory`)
--   lines       for the configuration of both brokers
--   env         for the forwarder's process
function M.open(forwarder, options)
	settle()
	opened = opened + 1
	local self = setmetatable({ forwarder = forwarder, env = options.env }, scene)
	self.directory = ("%s/%d"):format(options.directory, opened)
	assert(uv.fs_mkdir(self.directory, 448))
	self.store = ("%s/%d"):format(options.store or self.directory, opened)
	assert(uv.fs_mkdir(self.store, 448))
	self.sink = lab.broker(self.directory, "sink", options.lines)
	self.source = open_source(self, options.lines or {})
	self:run()
	self:probe()
	return self
end

--- Two brokers in one and no forwarder: what the tools themselves can do.
function M.without_forwarder(directory, lines)
	assert(uv.fs_mkdir(directory, 448))
	local self = setmetatable({ directory = directory }, scene)
	self.source = lab.broker(directory, "broker", lines)
	self.sink, self.process = self.source, self.source.process
	return self
end

--- Ends everything and removes the files.
function scene:close()
	self.process:destroy()
	self.source.process:destroy()
	self.sink.process:destroy()
	os.execute(("rm -rf %s %s"):format(file.quote(self.directory), self.store and file.quote(self.store) or ""))
end

-- ---- the forwarder ----

--- True if the forwarder is part of the source broker.
function scene:in_source()
	return self.forwarder.source ~= nil
end

--- Starts the forwarder, which does not run. Raises if it does not start.
function scene:run()
	if self:in_source() then
		self.process = self.source.process:running() and self.source.process or self.source:start().process
	else
		self.process = self.forwarder.start(self)
	end
end

--- Ends it with a signal ("sigkill").
function scene:kill(signal)
	self.process:kill(signal or "sigkill")
	self.process:wait(60)
end

--- What it has said.
function scene:log()
	return file.read(self:in_source() and self.source.log_path or self.directory .. "/forwarder.log")
end

--- What the kernel says of the forwarder and of the source broker.
function scene:usage()
	return lab.usage(self.process.pid), lab.usage(self.source.process.pid)
end

-- ---- what goes through ----

--- Publishes until something comes through.
function scene:probe()
	local collector = self:collect { topic = "bench/probe", count = 1 }
	local deadline = loop.now() + loop.deadline
	while collector.process:running() do
		if not self.process:running() or loop.now() > deadline then
			lab.fail("%s does not forward; it said:\n%s", self.forwarder.name, self:log())
		end
		self:publish({ topic = "bench/probe", count = 1 }):finish(1)
		lab.sleep(0.2)
	end
end

function scene:publish(options)
	options.port = self.source.port
	return lab.load("publish", self.directory, options)
end

--- With `away` the sink does not run and is not waited for.
function scene:collect(options, away)
	options.port = self.sink.port
	local collector = lab.load("collect", self.directory, options)
	return away and collector or collector:ready()
end

--- Has the sink keep what comes while there is no collector.
function scene:keep_session(options)
	self:collect(options):stop()
end

--- Waits until the source broker has nothing left that the forwarder should take.
function scene:wait_taken(seconds)
	if self:in_source() then
		return true
	end
	local path = self.directory .. "/stored"
	file.write(path, "")
	local watcher = proc.spawn({ "mosquitto_sub", "-h", "127.0.0.1", "-p", tostring(self.source.port), "-t",
		"$SYS/broker/store/messages/count" }, { stdout = path })
	local since = loop.now()
	local taken = loop.run_until(function()
		local stored = tonumber(file.read(path):match("(%d+)\n$"))
		-- the first value can be a second old
		return stored and stored < STORE_EMPTY and loop.now() - since > 2
	end, seconds)
	watcher:destroy()
	return taken
end

return M
