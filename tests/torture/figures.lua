--- What a torture found, as a line of figures that anyone can read and
-- tests/torture/torture.lua makes a table of.
local M = {}

--- True in `make torture`: then everything is longer.
M.long = os.getenv("TORTURE") == "long"

--- One of two numbers: for `make test`, and for `make torture`.
function M.sized(short, long)
	return M.long and long or short
end

--- The seed that repeats a run; each spec begins with it.
M.seed = math.tointeger(tonumber(os.getenv("TORTURE_SEED") or 1)) or 1

local columns = { "test", "cases", "acknowledged", "delivered", "lost", "out_of_order", "duplicates", "seconds", "seed",
	"more" }

--- Prints the figures of one test: a table with some of `columns`.
function M.print(figures)
	local parts = {}
	figures.seed = figures.seed or M.seed
	for _, name in ipairs(columns) do
		local value = figures[name]
		if value ~= nil then
			local text = math.type(value) == "float" and ("%.1f"):format(value) or
				type(value) == "string" and ("%q"):format(value) or tostring(value)
			parts[#parts + 1] = ('"%s":%s'):format(name, text)
		end
	end
	io.write("figures: {", table.concat(parts, ","), "}\n")
	io.flush()
end

return M
