--- Moments: count, minimum, maximum, mean, sum and spread of readings, one by one, in a
-- plain table of seven numbers; and those of two such tables together.
--
-- Mean and spread: Welford 1962; together: Chan, Golub and LeVeque 1979. Nothing is ever
-- subtracted from sums of squares, so readings that lie close together far from zero
-- keep their spread. Sum: Neumaier 1974, which keeps what rounding would lose.
--
-- For the library's own use; scripts do not need it.
local M = {}

--- Those of no readings.
function M.new()
	return { count = 0, mean = 0.0, spread = 0.0, sum = 0.0, lost = 0.0 }
end

local function add_to_sum(m, x)
	local sum = m.sum
	local total = sum + x
	local lost = math.abs(sum) >= math.abs(x) and sum - total + x or x - total + sum
	m.sum = total
	if lost ~= 0 then
		m.lost = m.lost + lost
	end
end

--- Adds a reading.
function M.add(m, x)
	local count, mean = m.count + 1, m.mean
	local number = x + 0.0 -- integers would wrap around
	local difference = number - mean
	local shifted = mean + difference / count
	m.count, m.mean = count, shifted
	m.spread = m.spread + difference * (number - shifted)
	add_to_sum(m, number)
	if count == 1 or x < m.min then
		m.min = x
	end
	if count == 1 or x > m.max then
		m.max = x
	end
end

--- Adds all readings of `other` to those of `m`.
function M.merge(m, other)
	local a, b = m.count, other.count
	if b == 0 then
		return
	end
	local difference, count = other.mean - m.mean, a + b
	m.count = count
	m.mean = m.mean + difference * b / count
	m.spread = m.spread + other.spread + difference * difference * a * b / count
	add_to_sum(m, other.sum)
	m.lost = m.lost + other.lost
	if a == 0 or other.min < m.min then
		m.min = other.min
	end
	if a == 0 or other.max > m.max then
		m.max = other.max
	end
end

--- What scripts see: count and sum, and if there are readings min, max, mean, rms
-- (root mean square), and if there are two, stddev (of a sample: by count - 1).
function M.summary(m)
	local count = m.count
	if count == 0 then
		return { count = 0, sum = 0 }
	end
	return {
		count = count, min = m.min, max = m.max, mean = m.mean, sum = m.sum + m.lost,
		rms = math.sqrt(m.mean * m.mean + m.spread / count),
		stddev = count > 1 and math.sqrt(m.spread / (count - 1)) or nil,
	}
end

return M
