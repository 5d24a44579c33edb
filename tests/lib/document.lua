--- The Lua and shell in a page of docs/, to be run as it stands there. A block's first line is a
-- comment with the name of a file: `-- rules.lua`, or `-- site/agent.lua` where several pages' worth
-- of agent.lua stand together.
local file = require "lib.file"

local M = {}

local document = {}
document.__index = document

--- Reads a page. Every block of Lua in it must have a name of its own.
function M.open(path)
	local self = setmetatable({ path = path, blocks = {}, used = {} }, document)
	for language, body in ("\n" .. file.read(path)):gmatch("\n```(%w+)\n(.-)\n```") do
		local name = body:match("^#!.-\n# ([%w_/.-]+)") or body:match("^%-%- ([%w_/.-]+)")
		if language == "lua" or language == "sh" and name then
			assert(name, path .. ": a block without a name: " .. body)
			assert(not self.blocks[name], path .. ": twice: " .. name)
			self.blocks[name] = body .. "\n"
		end
	end
	return self
end

--- A block's text, with each of `replace`'s keys, as plain text, replaced by its value: each must be there.
function document:text(name, replace)
	local text = assert(self.blocks[name], self.path .. ": no block " .. name)
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
	for name in pairs(self.blocks) do
		if not self.used[name] then
			names[#names + 1] = name
		end
	end
	table.sort(names)
	return names
end

return M
