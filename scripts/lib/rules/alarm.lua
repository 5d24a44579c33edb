--- Alarm: raised when a reading leaves its limits for long enough, cleared when it is
-- back for long enough and by far enough.
--
--	local alarm = require "rules.alarm"
--	local fridge = alarm.new { above = 8, below = 2, hysteresis = 0.5, delay = "10m", state = "fridges" }
--
--	on("fridges/+/temp", function(topic, payload, msg)
--		local event, side = fridge:update(topic, payload, msg.time)
--		if event then
--			mqtt.pub("alarms/" .. topic, event .. " " .. side) -- "raised above", "cleared above"
--		end
--	end)
--
-- alarm.new(options): at least one of above and below
--	above        a reading above this is bad (the limit itself is good)
--	below        a reading below this is bad
--	hysteresis   while there is an alarm, readings are good again only at `above` less
--	             this, at `below` plus this; in the readings' unit; default 0
--	delay        seconds for which all readings must have been bad; default 0
--	clear_delay  seconds for which all readings must have been good again; default 0
--	latch        true: an alarm stays until somebody acknowledges it, and the readings
--	             are good; default false
--	max_series   how many series are remembered at least; default 1000. Only those with
--	             a bad reading or an alarm count
--	state        where data lives: see docs/rules.md
--
-- a:update(series, value [, time]) returns
--	"raised" and "above" or "below"   the alarm begins; or it was on one side and is on
--	                                  the other now
--	"cleared" and "above" or "below"  it is over
--	false                             nothing new
--	nil and the reason                it is no finite number; nothing was changed. Who
--	                                  sends nothing sensible is silent: rules.heartbeat
-- a:active(series): "above" or "below" while there is an alarm, else false.
-- a:acknowledge(series), with `latch`: "cleared" if that ended the alarm,
--	"acknowledged" if it ends by itself when the readings are good, false if there is
--	none.
-- a:forget(series): no alarm, nothing pending; true if there was.
--
-- Readings count in the order in which they come, whatever their time, as no reading
-- may go unheard; when time runs backwards, a delay that is running begins anew. Delays
-- are looked at when a reading comes, not between.
--
-- Memory: two or three short values for a series with a bad reading or an alarm,
-- nothing for one that is well; a reading that changes nothing costs no write. Terms
-- and behaviour: alarm deadband, on-delay, off-delay, latching (ISA-18.2, IEC 62682).
local check = require "rules.check"
local store = require "rules.series"

local M = {}
M.__index = M

--- An alarm; see above.
function M.new(options)
	local kinds = require "rules.options"
	local self = kinds.read("alarm.new", options, kinds.with_series {
		above = { kinds.number },
		below = { kinds.number },
		hysteresis = { kinds.not_negative, default = 0 },
		delay = { kinds.delay, default = 0 },
		clear_delay = { kinds.delay, default = 0 },
		latch = { kinds.flag, default = false },
	})
	local above, below = self.above, self.below
	if not above and not below then
		error("alarm.new: above or below is missing: expected a finite number", 2)
	elseif above and below and above - below <= self.hysteresis then
		error(("alarm.new: above: expected more than below + hysteresis (%s), got %s"):format(
			below + self.hysteresis, above), 2)
	end
	self.series = store.new(self, "alarm")
	return setmetatable(self, M)
end

--- On which side a reading is bad, given the side of the alarm that there is; or nil.
local function bad_side(self, value, side)
	local above, below = self.above, self.below
	if above and value > (side == "above" and above - self.hysteresis or above) then
		return "above"
	elseif below and value < (side == "below" and below + self.hysteresis or below) then
		return "below"
	end
end

--- Has what is pending lasted for `delay`? It is noted in the record since when.
local function has_lasted(record, time, delay)
	if not record.since or time < record.since then
		record.since = time
	end
	return time - record.since >= delay
end

local function stop_waiting(record)
	if record.since then
		record.since = nil
	end
end

--- A bad reading, on `side`.
local function bad(self, name, record, side, time)
	record = record or self.series:add(name, {})
	if record.side == side then
		stop_waiting(record)
		if record.good then
			record.good = nil
		end
		return false
	elseif not record.side and not has_lasted(record, time, self.delay) then
		return false
	end
	stop_waiting(record)
	record.side, record.good, record.acknowledged = side, nil, nil
	return "raised", side
end

--- A good reading.
local function good(self, name, record, time)
	local side = record and record.side
	if not side then
		if record then
			self.series:remove(name)
		end
		return false
	elseif not has_lasted(record, time, self.clear_delay) then
		return false
	elseif self.latch and not record.acknowledged then
		if not record.good then
			record.good = true
		end
		return false
	end
	self.series:remove(name)
	return "cleared", side
end

--- A reading.
function M:update(series, value, time)
	local name = check.series(series)
	local number, why = check.value(value, self)
	if not number then
		return nil, why
	end
	time = check.time(time)
	local record = self.series:get(name)
	local side = bad_side(self, number, record and record.side)
	if side then
		return bad(self, name, record, side, time)
	end
	return good(self, name, record, time)
end

--- On which side there is an alarm, or false.
function M:active(series)
	local record = self.series:peek(check.series(series))
	return record and record.side or false
end

--- Somebody has seen the alarm.
function M:acknowledge(series)
	local name = check.series(series)
	local record = self.series:peek(name)
	if not record or not record.side then
		return false
	elseif record.good then
		self.series:remove(name)
		return "cleared"
	end
	record.acknowledged = true
	return "acknowledged"
end

--- Forgets a series.
function M:forget(series)
	return self.series:remove(check.series(series))
end

return M
