--- File systems to measure on: small ones that fill up, and ext4 with a journal in
-- an image, whose device says what was written to it and which can lose power.
--
-- It is also where Paho's files go. A forwarder that makes and deletes a file a
-- message is at the mercy of ext4's inode allocator: without a journal, ext4 will
-- not use an inode again for a minute after its file was deleted, and looks at all
-- of them for each new one. That is no fault of Paho's and hardly anybody's disk.
local uv = require "luv"
local cleanup = require "lib.cleanup"
local file = require "lib.file"

local M = {}

-- The type of the file system that a directory is on, and its device's name.
local function filesystem_of(directory)
	local id = assert(uv.fs_stat(directory)).dev
	for line in io.lines("/proc/self/mountinfo") do
		local major, minor, kind, source = line:match("^%d+ %d+ (%d+):(%d+) .* %- (%S+) (%S+)")
		if major and (tonumber(major) << 8 | tonumber(minor)) == id then
			return kind, source:match("([^/]+)$")
		end
	end
	return "a file system"
end

local function entries(directory)
	local list = {}
	local scan = uv.fs_scandir(directory)
	while scan do
		local name = uv.fs_scandir_next(scan)
		if not name then
			break
		end
		list[#list + 1] = name
	end
	return list
end

local function has_journal(device)
	for _, name in ipairs(entries("/proc/fs/jbd2")) do
		if name:match("^(.*)%-%d+$") == device then
			return true
		end
	end
	return false
end

local function is_ext4_without_journal(directory)
	local kind, device = filesystem_of(directory)
	return kind == "ext4" and device and file.exists("/proc/fs/ext4/" .. device) and not has_journal(device)
end

--- What the files of a directory are on.
function M.describe(directory)
	return (filesystem_of(directory)) .. (is_ext4_without_journal(directory) and " without a journal" or "")
end

-- ---- file systems that are mounted for a while ----

local mounted = {}
mounted.__index = mounted

local function run(command, ...)
	return os.execute("{ " .. command:format(...) .. "; } >/dev/null 2>&1")
end

local function mount(self, options)
	return run("mount %s %s", options, file.quote(self.path))
end

--- Unmounts it and removes it. At the end of the program at the latest.
function mounted:remove()
	if self.path and run("umount %s; rmdir %s", file.quote(self.path), file.quote(self.path)) then
		self.path = nil
	end
	if self.device and not self.path then
		run("losetup -d /dev/%s; rm -f %s", self.device, file.quote(self.image))
		self.device = nil
	end
end

local function new(directory)
	if uv.getuid() ~= 0 then
		return nil
	end
	local self = setmetatable({ path = assert(uv.fs_mkdtemp(directory .. "/mount-XXXXXX")) }, mounted)
	cleanup.defer(function()
		self:remove()
	end)
	return self
end

--- Mounts ext4 with a journal, in an image of that size below `directory`. `path`
-- is where. nil if this machine does not allow it.
function M.journaled(directory, megabytes)
	local self = new(directory)
	if not self then
		return nil
	end
	self.image = self.path .. ".img"
	local made = run("truncate -s %dM %s && /sbin/mkfs.ext4 -q -F -i 8192 %s", megabytes, self.image, self.image)
	local pipe = made and io.popen("losetup -f --show " .. self.image .. " 2>/dev/null")
	self.device = pipe and pipe:read("l")
	if pipe then
		pipe:close()
	end
	self.device = self.device and self.device:match("/dev/(%w+)")
	if not self.device or not mount(self, "/dev/" .. self.device) then
		self:remove()
		return nil
	end
	return self
end

--- Mounts a file system in memory of that size. nil if this machine does not
-- allow it.
function M.in_memory(directory, megabytes)
	local self = new(directory)
	if self and not mount(self, ("-t tmpfs -o size=%dm tmpfs"):format(megabytes)) then
		self:remove()
		return nil
	end
	return self
end

--- Makes one in memory larger.
function mounted:enlarge(megabytes)
	return mount(self, ("-o remount,size=%dm"):format(megabytes))
end

--- Bytes written to the device of a journaled one so far: data, journal and all.
function mounted:written()
	run("sync -f %s", file.quote(self.path))
	local fields = {}
	for field in file.read("/sys/block/" .. self.device .. "/stat"):gmatch("%d+") do
		fields[#fields + 1] = tonumber(field)
	end
	return fields[7] * 512
end

--- Cuts its power, with `tool` (fs_shutdown.c). False if it cannot be done.
function mounted:cut(tool)
	return run("%s %s", file.quote(tool), file.quote(self.path))
end

--- After cut(), when nobody has files open there: what the next boot finds.
function mounted:boot()
	return run("umount %s", file.quote(self.path)) and mount(self, "/dev/" .. self.device)
end

--- Returns a directory for many small files, made below `directory` if that will
-- do, and a remark if it had to be elsewhere.
function M.for_small_files(directory)
	if not is_ext4_without_journal(directory) then
		assert(uv.fs_mkdir(directory .. "/files", 448))
		return directory .. "/files", nil
	end
	local journaled = M.journaled(directory, 1500)
	if journaled then
		return journaled.path, "its files are in an ext4 image with a journal: without one, ext4 is slow at that"
	end
	local shared = assert(uv.fs_mkdtemp("/dev/shm/tidegate-XXXXXX"))
	cleanup.defer_last(function()
		os.execute("rm -rf " .. file.quote(shared))
	end)
	return shared, "its files are in memory: ext4 without a journal is slow at that; no bytes are counted"
end

return M
