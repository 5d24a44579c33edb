--- Where Paho's files go. A forwarder that makes and deletes a file a message is
-- at the mercy of ext4's inode allocator: without a journal, ext4 will not use an
-- inode again for a minute after its file was deleted, and looks at all of them
-- for each new one. That is no fault of Paho's and hardly anybody's disk, so
-- there its files go to a file system with a journal, in an image on that disk.
local uv = require "luv"
local cleanup = require "lib.cleanup"
local file = require "lib.file"

local M = {}

-- The device below a directory.
local function device_of(directory)
	local id = assert(uv.fs_stat(directory)).dev
	for line in io.lines("/proc/self/mountinfo") do
		local major, minor, source = line:match("^%d+ %d+ (%d+):(%d+) .* %- %S+ (%S+)")
		if major and (tonumber(major) << 8 | tonumber(minor)) == id then
			return source:match("([^/]+)$")
		end
	end
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

local function is_ext4_without_journal(directory)
	local device = device_of(directory)
	if not device or not file.exists("/proc/fs/ext4/" .. device) then
		return false
	end
	for _, name in ipairs(entries("/proc/fs/jbd2")) do
		if name:match("^(.*)%-%d+$") == device then
			return false
		end
	end
	return true
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
-- do, and a sentence about it.
function M.for_small_files(directory)
	if not is_ext4_without_journal(directory) then
		assert(uv.fs_mkdir(directory .. "/files", 448))
		return directory .. "/files", "on the same file system"
	end
	local mount = mount_image(directory)
	if mount then
		return mount, "in an ext4 image on this disk, because the disk's own ext4 has no journal and is slow at that"
	end
	local shared = assert(uv.fs_mkdtemp("/dev/shm/tidegate-XXXXXX"))
	cleanup.defer_last(function()
		os.execute("rm -rf " .. file.quote(shared))
	end)
	return shared, "in memory (this disk's ext4 has no journal and is slow at that), so no bytes are counted"
end

return M
