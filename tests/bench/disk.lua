--- Where Paho's files go. A forwarder that makes and deletes a file a message is
-- at the mercy of ext4's inode allocator: without a journal, ext4 will not use an
-- inode again for a minute after its file was deleted, and looks at all of them
-- for each new one. That is no fault of Paho's and hardly anybody's disk, so
-- there its files go to a file system with a journal, in an image on that disk.
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

local function mount_image(directory)
	local image, mount = directory .. "/files.img", directory .. "/files"
	local made = uv.getuid() == 0 and os.execute(([[
		set -e
		truncate -s 1500M %s
		/sbin/mkfs.ext4 -q -F -N 200000 %s
		mkdir %s
		mount -o loop %s %s
	]]):format(image, image, mount, image, mount):gsub("\t", "") .. " >/dev/null 2>&1")
	if not made then
		return nil
	end
	cleanup.defer(function()
		os.execute("umount " .. mount)
	end)
	return mount
end

--- Returns a directory for many small files, made below `directory` if that will
-- do, and a remark if it had to be elsewhere.
function M.for_small_files(directory)
	if not is_ext4_without_journal(directory) then
		assert(uv.fs_mkdir(directory .. "/files", 448))
		return directory .. "/files", nil
	end
	local mount = mount_image(directory)
	if mount then
		return mount, "its files are in an ext4 image with a journal: without one, ext4 is slow at that"
	end
	local shared = assert(uv.fs_mkdtemp("/dev/shm/tidegate-XXXXXX"))
	cleanup.defer_last(function()
		os.execute("rm -rf " .. file.quote(shared))
	end)
	return shared, "its files are in memory: ext4 without a journal is slow at that; no bytes are counted"
end

return M
