--- Window: count, min, max, mean, sum, rms, stddev and percentiles of the last so many
-- readings, of the readings of the last so many seconds, or of all since somebody took
-- the result.
--
--	local window = require "rules.window"
--	local minute = window.new { percentiles = { 95 } }
--
--	on("motors/+/vibration", function(topic, payload, msg)
--		minute:add(topic, payload, msg.time)
--	end)
--
--	every(60, function()
--		for topic in minute:each() do
--			local s = minute:take(topic)
--			mqtt.pub(topic .. "/summary", json.encode { rms = s.rms, max = s.max, p95 = s.p95 })
--		end
--	end)
--
-- window.new(options): `count`, `over`, or neither
--	count        the last so many readings, 1 to 1000. All of them are kept, so every
--	             result is exact
--	over         seconds: the readings of the last so long. They are put together in
--	             `buckets` spans of time, of which the oldest goes as a whole: so the
--	             window is `over` long at most, and shorter by up to one span. Nothing
--	             is ever taken out of a sum
--	buckets      with `over`, 1 to 1000; default 10
--	neither      all readings until w:take or w:forget: a window that tumbles when you
--	             say so
--	percentiles  true: w:percentile works; a list such as { 50, 95 }: they are in the
--	             summary, too, as p50 and p95. Default: none. Costs memory; with
--	             `count`, w:percentile works without, as the readings are there
--	max_series   how many series are remembered at least; default 1000
--	state        where data lives: see docs/rules.md
--
-- w:add(series, value [, time]) returns
--	true                the reading counts
--	nil and the reason  it is no finite number, or beyond ±1e150, or "late"; nothing
--	                    was changed
-- Results; `time`, which matters with `over` only, is when the window ends; the newest
-- reading is always in:
--	w:count(series [, time])   0 if there are none
--	w:sum(...)                 0 if there are none
--	w:min(...)  w:max(...)  w:mean(...)
--	w:rms(...)                 root mean square
--	                           these four: nil if there are none
--	w:stddev(...)              standard deviation of a sample (by count - 1); nil if there
--	                           are fewer than two
--	w:percentile(series, p [, time])  p from 0 to 100; nil if there are none
--	w:summary(series [, time]) all of them in a table: count, sum, min, max, mean, rms,
--	                           stddev, and p50 and so on
--	w:take(series [, time])    the summary, and begin anew; nil if there are no readings
-- w:each(): an iterator over the series, sorted by name.
-- w:forget(series): begin anew; true if there was something.
--
-- Time matters with `over` only; otherwise readings count in the order in which they
-- come. A reading goes into the span that its time belongs to, so it may come late by
-- nearly `over`; what is later still is "late" and left out. After ten of those in a row
-- the clock was set back, and the window begins anew with the tenth.
--
-- Memory: with `count`, one number for each reading; else seven numbers, for each bucket
-- with `over`; with percentiles, up to 250 numbers more for each. Results cost time in
-- proportion to `count` or `buckets`; ask for a summary rather than for several.
-- Numerics: Welford 1962, Chan, Golub and LeVeque 1979 for the spread, Neumaier 1974 for
-- the sum. Percentiles: with `count` exact, else a t-digest (Dunning and Ertl 2019), exact
-- up to 100 readings (in each bucket), beyond that off in rank by mostly less than 1 %,
-- at most by 3 % for the 50th and 0.6 % for the first and 99th.
local check = require "rules.check"
local moments = require "rules.moments"
local store = require "rules.series"

local M = {}
M.__index = M

local LARGEST = 1e150 -- whose square still is a number

local function layout_of(self, options)
	local layout = options.count and ("count %d"):format(options.count)
		or options.over and ("over %g %d"):format(options.over, self.buckets) or "all"
	return "window " .. layout .. (self.percentiles and " percentiles" or "")
end

--- A window; see above.
function M.new(options)
	local kinds = require "rules.options"
	options = kinds.read("window.new", options, kinds.with_series {
		count = { kinds.integer(1, 1000) },
		over = { kinds.duration },
		buckets = { kinds.integer(1, 1000) },
		percentiles = { kinds.percentiles, default = false },
	})
	if options.count and options.over then
		error("window.new: over: expected count or over, got both", 2)
	elseif options.buckets and not options.over then
		error("window.new: buckets: expected only with over", 2)
	end
	local self = setmetatable({
		kind = require(options.count and "rules.window_count" or options.over and "rules.window_over" or "rules.window_all"),
		digest = options.percentiles and not options.count and require "rules.digest" or nil,
		size = options.count, buckets = options.buckets or 10, percentiles = options.percentiles,
	}, M)
	self.width = options.over and options.over / self.buckets
	self.series = store.new(options, layout_of(self, options))
	return self
end

--- A reading.
function M:add(series, value, time)
	local name = check.series(series)
	local number, why = check.value(value, self)
	if not number then
		return nil, why
	elseif number > LARGEST or number < -LARGEST then
		return nil, ("too large: %s"):format(number)
	end
	time = self.width and check.time(time)
	local record = self.series:get(name) or self.series:add(name, self.kind.new(self))
	return self.kind.add(self, record, number, time)
end

--- What is in the window of a series now; empty if it is not known.
local function content_of(self, name, time)
	local record = self.series:peek(name)
	return record and self.kind.content(self, record, time) or {}
end

--- The summary without percentiles, and what it is of.
local function summarize(self, name, time)
	local content = content_of(self, name, time)
	return moments.summary(self.kind.moments(content)), content
end

--- Everything there is to say about a series.
function M:summary(series, time)
	local name = check.series(series)
	local result, content = summarize(self, name, self.width and check.time(time))
	if result.count > 0 and type(self.percentiles) == "table" then
		for _, p in ipairs(self.percentiles) do
			result[("p%g"):format(p)] = self.kind.percentile(self, content, p)
		end
	end
	return result
end

for _, what in ipairs { "count", "sum", "min", "max", "mean", "rms", "stddev" } do
	M[what] = function(self, series, time)
		local name = check.series(series)
		return (summarize(self, name, self.width and check.time(time)))[what]
	end
end

--- The percentile p of a series.
function M:percentile(series, p, time)
	local name = check.series(series)
	if not check.is_finite(p) or p < 0 or p > 100 then
		error(("p: expected a number from 0 to 100, got %s"):format(check.name_of(p)), 2)
	elseif not self.size and not self.percentiles then
		error("percentile: give window.new the option percentiles = true", 2)
	end
	local content = content_of(self, name, self.width and check.time(time))
	return #content > 0 and self.kind.percentile(self, content, p) or nil
end

--- The summary, and begin anew.
function M:take(series, time)
	local name = check.series(series)
	local result = self:summary(name, time)
	self.series:remove(name)
	return result.count > 0 and result or nil
end

--- The series that there are.
function M:each()
	local names, i = self.series:names(), 0
	return function()
		i = i + 1
		return names[i]
	end
end

--- Forgets a series.
function M:forget(series)
	return self.series:remove(check.series(series))
end

return M
