--- How rules.window keeps all readings: in one bucket, which is moments and, if there are
-- percentiles, a digest. rules.window_over has many of them.
--
-- For the library's own use; scripts do not need it.
local moments = require "rules.moments"

local M = {}

--- A record for a series that has none: an empty bucket. `at` is its place in time.
function M.new(window, at)
	return { at = at, moments = moments.new(), digest = window.digest and window.digest.new() }
end

--- Adds a reading: true, or nil and the reason.
function M.add(window, bucket, value)
	moments.add(bucket.moments, value)
	if bucket.digest then
		window.digest.add(bucket.digest, value)
	end
	return true
end

--- What is in the window at a time: a list, empty if there is nothing.
function M.content(_, record)
	return { record }
end

--- The moments of some content.
function M.moments(buckets)
	local all = moments.new()
	for _, bucket in ipairs(buckets) do
		moments.merge(all, bucket.moments)
	end
	return all
end

--- The percentile p of some content, or nil.
function M.percentile(window, buckets, p)
	local all, digests = M.moments(buckets), {}
	for i, bucket in ipairs(buckets) do
		digests[i] = bucket.digest
	end
	if all.count > 0 then
		return window.digest.percentile(digests, p, all.min, all.max)
	end
end

return M
