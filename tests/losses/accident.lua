--- One accident and what it cost: readings come at a steady rate while the uplink is
-- down, the forwarder meets with a kill, a power cut or a full disk and starts
-- again, then the uplink is up, and what arrives is compared with what was
-- acknowledged to the publisher, by the publisher's own record.
local uv = require "luv"
local loop = require "lib.loop"
local disk = require "bench.disk"
local lab = require "bench.lab"
local scenes = require "bench.scene"

local M = {}

-- Seconds into the outage; the readings take ten at the usual rate.
local KILL_AFTER, CUT_AFTER = 5, 7.5
local SMALL_DISK_MB, LARGE_DISK_MB, IMAGE_MB = 4, 512, 512
-- Without anything new at the collector for so long, nothing more will come ...
local QUIET = 20
-- ... and nobody waits longer than this.
local PATIENCE = 180

local function numbers(path)
	local set, count = {}, 0
	for line in io.lines(path) do
		set[line] = true
		count = count + 1
	end
	return set, count
end

-- What a process writes is only known while it runs.
local function add_written(accident)
	local self = accident.scene
	if self.process:running() then
		accident.written = accident.written + (self:usage()).written
	end
end

-- ---- the forwarder, ended and started again ----

local function kill(accident)
	local self = accident.scene
	accident.crashed = accident.crashed or not self.process:running()
	add_written(accident)
	if self.process:running() then
		self:kill("sigkill")
	end
	if self.forwarder.with_source then
		self.source:kill()
	end
end

-- One that does not start with what is left of its files gets an empty directory, as its
-- owner would do in the end.
local function start(accident)
	local self = accident.scene
	if self.forwarder.with_source then
		self.source:start()
	end
	if not pcall(self.run, self) then
		accident.remark = "did not start again until its files were removed"
		os.execute(("rm -rf '%s' && mkdir '%s'"):format(self.store, self.store))
		self:run()
	end
end

-- Lets time pass as a service manager would: what ends is started again.
local function attend(accident, fn, seconds)
	local self = accident.scene
	local next_look = 0
	return loop.run_until(function()
		if loop.now() >= next_look and not self.process:running() then
			next_look = loop.now() + 1
			accident.crashed = true
			start(accident)
		end
		return fn()
	end, seconds)
end

local function let_pass(accident, seconds)
	attend(accident, function() return false end, seconds)
end

-- ---- what can happen ----

local events = {}

--- SIGKILL, and started again at once.
function events.kill(accident)
	let_pass(accident, KILL_AFTER)
	kill(accident)
	start(accident)
end

--- A power cut takes what was not synced; see fs_shutdown.c.
function events.cut(accident)
	let_pass(accident, CUT_AFTER)
	if not accident.disk:cut(lab.program("FS_SHUTDOWN", "build/fs_shutdown")) then
		lab.fail("power cannot be cut here")
	end
	kill(accident)
	if not accident.disk:boot() then
		lab.fail("the file system cannot be mounted again")
	end
	start(accident)
end

--- The disk fills up; when all is published, or no more is acknowledged, it is killed
-- and there is room.
function events.full(accident)
	let_pass(accident, 1)
	local latest, since = -1, loop.now()
	attend(accident, function()
		local acknowledged = accident.publisher:progress().acknowledged or 0
		if acknowledged > latest then
			latest, since = acknowledged, loop.now()
		end
		return not accident.publisher.process:running() or loop.now() - since > 5
	end, PATIENCE)
	kill(accident)
	if not accident.disk:enlarge(LARGE_DISK_MB) then
		lab.fail("the disk cannot be enlarged")
	end
	start(accident)
end

local function disk_for(event, directory)
	if event == "cut" then
		return disk.journaled(directory, IMAGE_MB), "needs root and loop devices"
	elseif event == "full" then
		return disk.in_memory(directory, SMALL_DISK_MB), "needs root"
	end
	-- many small files want a file system with a journal
	return disk.journaled(directory, IMAGE_MB) or { path = directory, remove = function() end }
end

-- ---- afterwards ----

-- The uplink is up: waits until all that was acknowledged is there, or nothing comes.
local function drain(accident, acknowledged)
	local self = accident.scene
	local session = accident.session
	session.record, session.progress = self.directory .. "/arrived", 200
	local collector = self:collect(session, true)
	self.sink:start()
	local latest, since = -1, loop.now()
	attend(accident, function()
		local distinct = collector:progress().distinct or 0
		if distinct > latest then
			latest, since = distinct, loop.now()
		end
		return distinct >= acknowledged or loop.now() - since > QUIET
	end, PATIENCE)
	lab.sleep(1) -- for late duplicates
	add_written(accident)
	return collector:stop()
end

local function count_lost(acknowledged, arrived)
	local lost = 0
	for number in pairs(acknowledged) do
		lost = lost + (arrived[number] and 0 or 1)
	end
	return lost
end

local function run(accident, event, count, rate)
	local self = accident.scene
	accident.session = { topic = "bench/data", client_id = "collector", session = true }
	self:keep_session(accident.session)
	self.sink:stop()
	os.execute("sync")
	add_written(accident)
	accident.written = -accident.written -- what it wrote before does not count
	local record = self.directory .. "/acknowledged"
	accident.publisher = self:publish { topic = "bench/data", count = count, rate = rate, record = record,
		progress = 200, client_id = "publisher", session = true }
	events[event](accident)
	attend(accident, function() return not accident.publisher.process:running() end, PATIENCE)
	if accident.publisher.process:running() then
		accident.publisher:stop()
	end
	self:wait_taken(30)
	local acknowledged, acknowledged_count = numbers(record)
	local collected = drain(accident, acknowledged_count)
	return {
		acknowledged = acknowledged_count,
		lost = count_lost(acknowledged, (numbers(self.directory .. "/arrived"))),
		duplicates = collected.duplicates,
		reordered = collected.reordered,
		seconds = collected.distinct > 0 and collected.last - collected.first or nil,
		-- of a process whose disk fails under it the kernel counts what never was written
		written = event == "kill" and accident.written / count or nil,
		remark = accident.remark or accident.crashed and "crashed" or nil,
	}
end

--- Has `event` ("kill", "cut", "full") happen to a forwarder that gets `count` readings
-- at `rate` a second. Returns figures: acknowledged, lost, duplicates, reordered,
-- seconds (to drain), written (bytes a reading), remark; or nil and why not.
function M.happen(event, forwarder, directory, count, rate)
	local path = assert(uv.fs_mkdtemp(directory .. "/accident-XXXXXX"))
	local small, reason = disk_for(event, path)
	if not small then
		return nil, reason
	end
	local accident = { disk = small, written = 0 }
	local ok, result = pcall(function()
		accident.scene = scenes.open(forwarder, { directory = path, store = small.path })
		return run(accident, event, count, rate)
	end)
	if accident.scene then
		accident.scene:close()
	end
	small:remove()
	if not ok then
		return nil, type(result) == "table" and result.message or tostring(result)
	end
	return result
end

return M
