--- Lines out of a stream that comes in pieces.
local M = {}

--- Returns a function to be given the pieces; it calls `take` with each line, without its end, once that has come.
function M.splitter(take)
	local pieces = {}
	return function(data)
		local from = 1
		local to = data:find("\n", 1, true)
		while to do
			pieces[#pieces + 1] = data:sub(from, to - 1)
			local line = table.concat(pieces)
			pieces = {}
			take(line)
			from = to + 1
			to = data:find("\n", from, true)
		end
		pieces[#pieces + 1] = data:sub(from)
	end
end

return M
