--- Deadband: lets a reading through when it differs enough from the last one that
-- was let through. Slow drifts get through, too, as small steps add up.
--
--	local deadband = require "rules.deadband"
--	local temperature = deadband.new { by = 0.5, every = "15m" }
--
--	on("sensors/+/temp", function(topic, payload, msg)
--		if temperature:changed(topic, payload, msg.time) then
--			mqtt.pub(topic, payload)
--		end
--	end)
--
-- deadband.new(options):
--	by          by how much it must differ, in the readings' unit; default 0: any
--	            change. A difference of exactly `by` is enough
--	percent     by how many per cent of the last reading let through; default 0. With
--	            `by`, both must be exceeded
--	every       seconds: let a reading through after so long, changed or not; default
--	            never
--	max_series  how many series are remembered at least; default 1000
--	state       where data lives: see docs/rules.md
--
-- d:changed(series, value [, time]) returns
--	true and the last value   the reading differs (the first: true and nil)
--	false                     it does not
--	nil and the reason        it is no finite number; nothing was changed
-- d:forget(series) makes its next reading the first; true if there was one.
--
-- Time matters for `every` only. Readings count in the order in which they come;
-- one that is older than the last by `every` or more is let through, as the clock
-- was set back.
--
-- Differences that are smaller than what rounding of decimal fractions can bring about
-- are none: 20.1 and 20.6 differ by 0.5.
--
-- Memory: one number a series, two with `every`. Method: send-on-delta sampling
-- (Miskowicz 2006).
local check = require "rules.check"
local store = require "rules.series"

local M = {}
M.__index = M

local ROUNDING = 0x1p-51 -- of the difference of two numbers, as a part of their size

--- A deadband; see above.
function M.new(options)
	local kinds = require "rules.options"
	options = kinds.read("deadband.new", options, kinds.with_series {
		by = { kinds.not_negative, default = 0 },
		percent = { kinds.not_negative, default = 0 },
		every = { kinds.duration },
	})
	return setmetatable({
		by = options.by,
		part = options.percent / 100,
		every = options.every,
		series = store.new(options, "deadband"),
	}, M)
end

local function differs(self, value, last)
	value, last = value + 0.0, last + 0.0 -- integers would wrap around
	local difference, size = math.abs(value - last), math.abs(last)
	return difference > 0 and difference + ROUNDING * (math.abs(value) + size) >= math.max(self.by, self.part * size)
end

--- Does the reading differ from the last one that was let through?
function M:changed(series, value, time)
	local name = check.series(series)
	local number, why = check.value(value, self)
	if not number then
		return nil, why
	end
	time = self.every and check.time(time)
	local record = self.series:get(name)
	if not record then
		self.series:add(name, { value = number, time = time or nil })
		return true
	end
	local last = record.value
	local due = time and (not record.time or math.abs(time - record.time) >= self.every)
	if not due and not differs(self, number, last) then
		return false
	end
	record.value = number
	record.time = time or nil
	return true, last
end

--- Forgets a series.
function M:forget(series)
	return self.series:remove(check.series(series))
end

return M
