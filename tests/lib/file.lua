--- Files and fresh directories.
local uv = require "luv"
local cleanup = require "lib.cleanup"

local M = {}

--- The whole file, or "" if there is none.
function M.read(path)
	local handle = io.open(path, "rb")
	if not handle then
		return ""
	end
	local text = handle:read("a")
	handle:close()
	return text
end

--- Writes the whole file.
function M.write(path, text)
	local handle = assert(io.open(path, "wb"))
	assert(handle:write(text))
	assert(handle:close())
	return path
end

--- The whole lines of a growing file from byte `at` (0: all) on, as a list, and where what
-- follows them begins. Half a line at the end is left for the next time.
function M.lines(path, at)
	local lines, handle = {}, io.open(path, "rb")
	if not handle then
		return lines, at
	end
	handle:seek("set", at)
	local text, from = handle:read("a"), 1
	handle:close()
	while true do
		local stop = text:find("\n", from, true) -- a pattern would look through half a line again and again
		if not stop then
			return lines, at + from - 1
		end
		lines[#lines + 1] = text:sub(from, stop - 1)
		from = stop + 1
	end
end

function M.exists(path)
	return uv.fs_stat(path) ~= nil
end

--- Its size in bytes; 0 if it is not there.
function M.size(path)
	local status = uv.fs_stat(path)
	return status and status.size or 0
end

--- A string as one word of the shell.
function M.quote(text)
	return "'" .. text:gsub("'", "'\\''") .. "'"
end

--- A fresh directory, removed after the current spec; with TIDEGATE_KEEP set it
-- stays, to be looked at.
function M.directory()
	local path = assert(uv.fs_mkdtemp((os.getenv("TMPDIR") or "/tmp") .. "/tidegate-XXXXXX"))
	cleanup.defer_last(function()
		if not os.getenv("TIDEGATE_KEEP") then
			os.execute("rm -rf " .. M.quote(path))
		end
	end)
	return path
end

return M
