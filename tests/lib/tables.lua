--- Tables, as specs want them.
local M = {}

--- `base` with the keys of `more`, which may be nil, added or replaced.
function M.merged(base, more)
	for key, value in pairs(more or {}) do
		base[key] = value
	end
	return base
end

--- The whole numbers from `first` to `last`, as a list.
function M.sequence(first, last)
	local list = {}
	for i = first, last do
		list[#list + 1] = i
	end
	return list
end

return M
