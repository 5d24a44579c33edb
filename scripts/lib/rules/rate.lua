--- Rate: how fast a reading changes; and how much a counter has counted.
--
--	local rate = require "rules.rate"
--	local level = rate.new { per = "1h" }
--	local meter = rate.counter { wrap = 65536, state = "meters" }
--
--	on("tanks/+/level", function(topic, payload, msg)
--		local cm_per_hour = level:update(topic, payload, msg.time)
--		if cm_per_hour and cm_per_hour < -10 then
--			log.warn("%s: the tank leaks", topic)
--		end
--	end)
--
--	on("meters/+/pulses", function(topic, payload, msg)
--		if meter:update(topic, payload, msg.time) then
--			mqtt.pub(topic .. "/total", meter:total(topic))
--		end
--	end)
--
-- rate.new(options): of anything that rises and falls
--	per         seconds: the unit of time of the rate; default 1
--	max_gap     seconds: what is longer between two readings gives no rate; default 1 h
--	max_series  how many series are remembered at least; default 1000
--	state       where data lives: see docs/rules.md
-- r:update(series, value [, time]) returns
--	the rate of change since the reading before, by `per`
--	nil and the reason  "first reading"; "gap"; "late" or "same time": older than the
--	                    reading before, or of the same time, and left out; or it is no
--	                    finite number
--
-- rate.counter(options): of what only counts up, until it wraps around or is reset
--	per, max_series, state  as above
--	wrap      the count that is shown as 0 again: 65536, 2^32, 100000 for five digits;
--	          default: it does not wrap, so a lower count is always a reset
--	max_step  with `wrap`: a lower count is a wrap if the increase is at most this, else a
--	          reset; default half of `wrap`
-- c:update(series, count [, time]) returns
--	the increase since the reading before, and its rate by `per` (nil if no time passed)
--	nil and the reason  "first reading"; "late"; "not from 0 to below wrap"; or it is no
--	                    finite number
-- c:total(series): the sum of all increases; 0 for a series that is not known.
--	After a reset the counter has started at 0: the increase is the count. However long
--	the gap, what was counted meanwhile is in the increase; wraps but the last are not.
--	Integers stay exact up to 2^63.
--
-- r:forget(series), c:forget(series): the next reading is the first.
--
-- Readings must come in order of time: one that is older is left out, so that it does
-- not pass for a fall or a reset. After ten of those in a row the clock was set back,
-- and the tenth counts as a first reading; but a counter that has not fallen meanwhile
-- counts on, without a rate.
--
-- Memory: two numbers a series, three for a counter.
local check = require "rules.check"
local store = require "rules.series"

local M = {}
M.__index = M

local Counter = {}
Counter.__index = Counter

local LATE = 10 -- so many in a row, and the clock was set back

--- A rate of change; see above.
function M.new(options)
	local kinds = require "rules.options"
	options = kinds.read("rate.new", options, kinds.with_series {
		per = { kinds.duration, default = 1 },
		max_gap = { kinds.duration, default = 3600 },
	})
	return setmetatable({
		per = options.per, max_gap = options.max_gap, series = store.new(options, "rate"),
	}, M)
end

--- The last of ten late readings in a row?
local function is_clock_set_back(record)
	local late = (record.late or 0) + 1
	record.late = late
	return late >= LATE
end

local function keep(record, value, time)
	record.value, record.time = value, time
	if record.late then
		record.late = nil
	end
end

--- A reading: how fast has it changed?
function M:update(series, value, time)
	local name = check.series(series)
	local number, why = check.value(value, self)
	if not number then
		return nil, why
	end
	time = check.time(time)
	local record = self.series:get(name)
	if not record then
		self.series:add(name, { value = number, time = time })
		return nil, "first reading"
	end
	local last, passed = record.value, time - record.time
	if passed == 0 then
		return nil, "same time"
	elseif passed < 0 and not is_clock_set_back(record) then
		return nil, "late"
	end
	keep(record, number, time)
	if passed < 0 or passed > self.max_gap then
		return nil, passed < 0 and "first reading" or "gap"
	end
	return (number + 0.0 - last) / passed * self.per
end

--- Forgets a series.
function M:forget(series)
	return self.series:remove(check.series(series))
end

local function exact(number)
	return math.tointeger(number) or number
end

--- A counter; see above.
function M.counter(options)
	local kinds = require "rules.options"
	options = kinds.read("rate.counter", options, kinds.with_series {
		per = { kinds.duration, default = 1 },
		wrap = { kinds.positive },
		max_step = { kinds.positive },
	})
	local wrap = options.wrap and exact(options.wrap)
	if options.max_step and not wrap then
		error("rate.counter: max_step: expected only with wrap", 2)
	end
	return setmetatable({
		per = options.per, wrap = wrap, max_step = options.max_step or wrap and wrap / 2,
		series = store.new(options, "counter"),
	}, Counter)
end

--- How much was counted from `last` to `count`?
local function increase_of(self, last, count)
	if count >= last then
		return count - last
	end
	local step = self.wrap and self.wrap - last + count
	return step and step <= self.max_step and step or count
end

--- A reading: how much has been counted, and how fast?
function Counter:update(series, count, time)
	local name = check.series(series)
	local number, why = check.value(count, self)
	if not number then
		return nil, why
	elseif number < 0 or self.wrap and number >= self.wrap then
		return nil, "not from 0 to below wrap"
	end
	time, number = check.time(time), exact(number)
	local record = self.series:get(name)
	if not record then
		self.series:add(name, { value = number, time = time, total = 0 })
		return nil, "first reading"
	end
	local last, passed = record.value, time - record.time
	local late = passed < 0 or passed == 0 and number < last
	if late and not is_clock_set_back(record) then
		return nil, "late"
	end
	keep(record, number, time)
	if late and number < last then
		return nil, "first reading"
	end
	local increase = increase_of(self, last, number)
	if increase ~= 0 then
		record.total = record.total + increase
	end
	return increase, passed > 0 and increase / passed * self.per or nil
end

--- The sum of all increases.
function Counter:total(series)
	local record = self.series:peek(check.series(series))
	return record and record.total or 0
end

Counter.forget = M.forget

return M
