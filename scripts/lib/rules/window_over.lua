--- How rules.window keeps the readings of a time: in buckets by spans of time. Functions
-- are those of rules.window_all.
--
-- For the library's own use; scripts do not need it.
local all = require "rules.window_all"

local M = { moments = all.moments, percentile = all.percentile }

local LATE = 10 -- so many in a row, and the clock was set back

function M.new()
	return { buckets = {} }
end

--- Does a reading of span `at` count? If it is the last of ten that do not, begins anew.
local function is_in_time(self, record, at)
	if not record.newest or at > record.newest - self.buckets then
		if record.late then
			record.late = nil
		end
		return true
	end
	record.late = (record.late or 0) + 1
	if record.late < LATE then
		return false
	end
	record.buckets, record.newest, record.late = {}, nil, nil
	return true
end

function M.add(self, record, value, time)
	local at = math.floor(time / self.width)
	if not is_in_time(self, record, at) then
		return nil, "late"
	end
	if not record.newest or at > record.newest then
		record.newest = at
	end
	local place, buckets = at % self.buckets + 1, record.buckets
	local bucket = buckets[place]
	if not bucket or bucket.at ~= at then
		buckets[place] = all.new(self, at)
		bucket = buckets[place]
	end
	return all.add(self, bucket, value)
end

--- The buckets that are in the window.
function M.content(self, record, time)
	local last = math.max(math.floor(time / self.width), record.newest)
	local first, content = last - self.buckets + 1, {}
	for _, bucket in pairs(record.buckets) do
		if bucket.at >= first and bucket.at <= last then
			content[#content + 1] = bucket
		end
	end
	table.sort(content, function(a, b)
		return a.at < b.at
	end)
	return content
end

return M
