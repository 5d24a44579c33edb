--- Properties: something that must hold for whatever random values.
local M = {}

local SEED = math.tointeger(tonumber(os.getenv("SEED") or os.time()))

--- Calls property(i) `runs` times, each with random numbers of its own from
-- math.random; a failure names the seed, to be given again in $SEED.
function M.holds(runs, property)
	for i = 1, runs do
		math.randomseed(SEED, i)
		local ok, message = xpcall(property, debug.traceback, i)
		if not ok then
			error(("SEED=%d, run %d: %s"):format(SEED, i, message), 0)
		end
	end
end

--- A random number from `low` to `high` with `decimals` decimals (2).
function M.number(low, high, decimals)
	local unit = 10 ^ (decimals or 2)
	return math.random(math.floor(low * unit), math.floor(high * unit)) / unit
end

--- One of the arguments.
function M.one_of(...)
	return (select(math.random(select("#", ...)), ...))
end

return M
