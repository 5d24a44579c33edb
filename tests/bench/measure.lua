--- What is measured of a forwarder, one function each. A measurement returns a
-- table of figures, or nil and what went wrong.
local uv = require "luv"
local file = require "lib.file"
local loop = require "lib.loop"
local disk = require "bench.disk"
local lab = require "bench.lab"
local scenes = require "bench.scene"

local M = {}

-- In flight to and from both brokers, so that it is not their windows that are
-- measured, unless a forwarder has `in_flight`.
M.in_flight = 100

-- Files are made below `directory`; `files` is where Paho keeps its own.
M.directory, M.files = nil, nil

-- Long enough for the slowest.
local function patience(count)
	return 60 + count / 300
end

local function open(forwarder, options)
	options = options or {}
	return scenes.open(forwarder, {
		directory = M.directory,
		store = options.store or forwarder.many_files and M.files or nil,
		env = options.env,
		lines = { "max_inflight_messages " .. (forwarder.in_flight or M.in_flight) },
	})
end

-- Sends `count` messages through; returns what publisher and collector tell.
local function send_through(self, count, size)
	local collector = self:collect { topic = "bench/data", count = count }
	local published = self:publish({ topic = "bench/data", count = count, size = size }):finish(patience(count))
	local collected = published and collector:finish(patience(count))
	if not collected then
		return nil, ("%d of %d messages of %d bytes arrived"):format(collector:progress().distinct or 0, count, size)
	end
	return published, collected
end

--- What the load program and a broker do without a forwarder: if that were near
-- what is measured, it would not be the forwarders that are measured.
function M.ceiling(count)
	local self = scenes.without_forwarder(M.directory .. "/ceiling", { "max_inflight_messages " .. M.in_flight })
	local published, collected = send_through(self, count, 64)
	self:close()
	if not published then
		lab.fail("the load program does not get its messages through a broker")
	end
	return count / (collected.last - published.first)
end

--- Messages a second from the producer to the collector, and what they cost.
function M.forwarding(forwarder, count, size)
	count = math.ceil(count * forwarder.share)
	local self = open(forwarder)
	local before, source_before = self:usage()
	local published, collected = send_through(self, count, size)
	if not published then
		self:close()
		return nil, collected
	end
	lab.sleep(1) -- what it still has to clear away is part of the price
	local after, source_after = self:usage()
	local cpu = after.cpu - before.cpu
	local both = self:in_source() and cpu or cpu + source_after.cpu - source_before.cpu
	self:close()
	return {
		rate = count / (collected.last - published.first),
		cpu = cpu * 100000 / count,
		cpu_both = both * 100000 / count,
		written = (after.written - before.written) / count,
		duplicates = collected.duplicates,
	}
end

local function syncs(path)
	local text = file.read(path)
	return #text == 8 and string.unpack("=I8", text) or 0
end

--- The same, each fsync() taking `ms` longer; and how many there were.
function M.slow_sync(forwarder, count, ms)
	count = math.ceil(count * forwarder.slow_share)
	local path = os.tmpname()
	os.remove(path)
	local self = open(forwarder, { env = { LD_PRELOAD = lab.program("SLOW_SYNC", "build/slow_sync.so"),
		SLOW_SYNC_MS = tostring(ms), SLOW_SYNC_COUNT = path } })
	local before = syncs(path)
	local published, collected = send_through(self, count, 64)
	local during = syncs(path) - before
	self:close()
	os.remove(path)
	if not published then
		return nil, collected
	end
	return { rate = count / (collected.last - published.first), syncs = during / count }
end

-- Has `count` messages wait in the forwarder.
local function fill(self, count)
	self.sink:stop()
	local published = self:publish({ topic = "bench/data", count = count }):finish(patience(count))
	if not published or not self:wait_taken(patience(count)) then
		return nil, ("did not take %d messages with the sink away"):format(count)
	end
	return true
end

--- The collector's broker goes away, `count` messages come, and if `drain` is not 0 it
-- comes back for the first so many of them.
function M.outage(forwarder, count, drain)
	local self = open(forwarder)
	local session = { topic = "bench/data", client_id = "collector", session = true }
	self:keep_session(session)
	local filled, err = fill(self, count)
	if not filled then
		self:close()
		return nil, err
	end
	local result = { memory = (self:usage()).memory }
	if drain > 0 then
		session.count = drain
		local collector = self:collect(session, true)
		self.sink:start()
		local collected = collector:finish(patience(drain))
		if collected then
			result.seconds = collected.last - collected.first
			result.drained = drain
		else
			err = ("drained only %d of %d"):format(collector:progress().distinct or 0, drain)
		end
	end
	self:close()
	return result, err
end

-- Seconds from starting the forwarder to the first message at the collector; before
-- that it is ended with `signal`, while the sink is up.
local function first_after(self, signal)
	self:kill(signal)
	if not self.sink.process:running() then
		self.sink:start()
	end
	local collector = self:collect { topic = "bench/data", count = 1 }
	local started = loop.now()
	self:run()
	local collected = collector:finish(60)
	return collected and collected.first - started
end

--- A backlog, and restarts with it: after a clean stop and after kill -9.
function M.backlog(forwarder, count)
	local self = open(forwarder)
	local filled, err = fill(self, count)
	if not filled then
		self:close()
		return nil, err
	end
	local result = { memory = (self:usage()).memory, on_disk = uv.fs_stat(self.store .. "/queue.db").size }
	result.after_stop = first_after(self, "sigterm")
	result.after_kill = first_after(self, "sigkill")
	result.memory_later = (self:usage()).memory
	self:close()
	if not result.after_stop or not result.after_kill then
		return nil, ("nothing left within a minute of a restart with %d waiting"):format(count)
	end
	return result
end

-- Bytes that the process wrote for each of `count` messages at `rate`, and bytes that
-- reached the device, if it is one of ours.
local function written_at(self, device, count, rate)
	local before, on_device = (self:usage()).written, device and device:written()
	if not self:publish({ topic = "bench/data", count = count, rate = rate }):finish(patience(count)) then
		return nil
	end
	lab.sleep(1)
	return ((self:usage()).written - before) / count, device and (device:written() - on_device) / count
end

--- What the flash has to bear at a steady `rate` of 64 bytes: with the uplink up, and
-- with it down.
function M.flash(forwarder, rate, seconds)
	local device = disk.journaled(M.directory, 256)
	local self = open(forwarder, { store = device and device.path })
	local up, up_device = written_at(self, device, rate * seconds, rate)
	self.sink:stop()
	lab.sleep(1)
	local down, down_device = written_at(self, device, rate * seconds, rate)
	self:close()
	if device then
		device:remove()
	end
	if not up or not down then
		return nil, "does not take what is published"
	end
	return { up = up, down = down, up_device = up_device, down_device = down_device }
end

return M
