--- What a document of docs/ shows, to be done as it stands there.
local file = require "lib.file"

local M = {}

local document = {}
document.__index = document

--- Reads a page whose Lua is run by name. The first line of a block is a comment with the name of a file:
-- `-- rules.lua`, or `-- site/agent.lua` where a page has several agent.lua. Every block of Lua must have a
-- name of its own; shell scripts have one in their second line.
function M.open(path)
	local self = setmetatable({ path = path, by_name = {}, used = {} }, document)
	for language, body in ("\n" .. file.read(path)):gmatch("\n```(%w+)\n(.-)\n```") do
		local name = body:match("^#!.-\n# ([%w_/.-]+)") or body:match("^%-%- ([%w_/.-]+)")
		if language == "lua" or language == "sh" and name then
			assert(name, path .. ": a block without a name: " .. body)
			assert(not self.by_name[name], path .. ": twice: " .. name)
			self.by_name[name] = body .. "\n"
		end
	end
	return self
end

--- A block's text, with each of `replace`'s keys, as plain text, replaced by its value: each must be there.
function document:text(name, replace)
	local text = assert(self.by_name[name], self.path .. ": no block " .. name)
	self.used[name] = true
	for old, new in pairs(replace or {}) do
		local n
		text, n = text:gsub(old:gsub("%p", "%%%0"), (tostring(new):gsub("%%", "%%%%")))
		assert(n > 0, ("%s: no %q in %s"):format(self.path, old, name))
	end
	return text
end

--- The names of blocks that nobody has asked for.
function document:unused()
	local names = {}
	for name in pairs(self.by_name) do
		if not self.used[name] then
			names[#names + 1] = name
		end
	end
	table.sort(names)
	return names
end

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
