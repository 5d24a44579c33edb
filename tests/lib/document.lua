--- What a document of docs/ shows, to be done as it stands there.
local file = require "lib.file"

local M = {}

--- The fenced blocks of that language, in order; those of one section if its heading is given.
function M.blocks(path, language, heading)
	local text, found = file.read(path) .. "\n## ", {}
	if heading then
		local _, start = text:find("\n## " .. heading .. "\n", 1, true)
		assert(start, path .. " has no section " .. heading)
		text = text:sub(start, text:find("\n## ", start, true))
	end
	for body in text:gmatch("\n```" .. language .. "\n(.-)```") do
		found[#found + 1] = body
	end
	assert(#found > 0, path .. " shows nothing in " .. language)
	return found
end

--- Runs the shell commands in the directory; an error if one of them fails.
function M.run(directory, commands)
	local errors = directory .. "/shell.err"
	local script = file.write(directory .. "/shell.sh", "set -eu\n" .. commands)
	local done = os.execute(("cd %s && sh %s >/dev/null 2>%s"):format(file.quote(directory), file.quote(script),
		file.quote(errors)))
	assert(done, file.read(errors))
	os.remove(script)
	os.remove(errors)
end

--- The messages in the first column of its tables, one list for each row: what stands in backticks.
function M.messages(path)
	local rows = {}
	for first in file.read(path):gmatch("\n| (`[^\n]-) |[^\n]*") do
		local row = {}
		for quoted in first:gmatch("``(.-[^`])``%f[^`]") do
			row[#row + 1] = quoted
		end
		if #row == 0 then
			for quoted in first:gmatch("`([^`]+)`") do
				row[#row + 1] = quoted
			end
		end
		rows[#rows + 1] = row
	end
	return rows
end

return M
