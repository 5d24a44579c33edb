--- How rules.window keeps the last so many readings: all of them. Functions are those of
-- rules.window_all.
--
-- For the library's own use; scripts do not need it.
local moments = require "rules.moments"

local M = {}

function M.new()
	return { n = 0, values = {} }
end

function M.add(self, record, value)
	local n = record.n + 1
	record.values[(n - 1) % self.size + 1] = value
	record.n = n
	return true
end

--- The readings, oldest first.
function M.content(self, record)
	local values, readings, n, size = record.values, {}, record.n, self.size
	for i = math.max(1, n - size + 1), n do
		readings[#readings + 1] = values[(i - 1) % size + 1]
	end
	return readings
end

function M.moments(readings)
	local all = moments.new()
	for _, value in ipairs(readings) do
		moments.add(all, value)
	end
	return all
end

function M.percentile(_, readings, p)
	table.sort(readings)
	local place = p / 100 * (#readings - 1)
	local below = math.floor(place)
	local low, high = readings[below + 1], readings[below + 2]
	return (place == below or not low) and low or low + (high - low) * (place - below)
end

return M
