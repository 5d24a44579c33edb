--- Heartbeat: tells who has fallen silent, and who is back.
--
--	local heartbeat = require "rules.heartbeat"
--	local alive = heartbeat.new { after = "10m", state = "alive" }
--
--	on("sensors/#", function(topic, _, msg)
--		local back, away = alive:seen(topic, msg.time)
--		if back then
--			log.info("%s is back after %.0f s", topic, away)
--		end
--	end)
--
--	every(10, function()
--		for topic, silence in alive:silent() do
--			log.warn("%s has been silent for %.0f s", topic, silence)
--		end
--	end)
--
-- heartbeat.new(options):
--	after       seconds without a sign of life that make a series silent; required
--	max_series  how many series are remembered at least; default 1000. More would
--	            be forgotten instead of told
--	state       where data lives: see docs/rules.md
--
-- h:seen(series [, time]): a sign of life. Returns
--	true and seconds  the series had been told as silent, and for how long it was
--	false             it had not
-- h:expect(series [, time]): watch a series that may never give a sign of life; it is
--	silent if it has given none `after` seconds from now. Nothing happens if it is
--	known. True if it was not.
-- h:silent([time]): an iterator over those that have fallen silent since it was asked
--	last, each told once: series, seconds since its last sign of life; sorted by name.
--	They count as told when this returns.
-- h:is_silent(series): was it told, and has not come back since?
-- h:forget(series): watch it no longer; true if it was.
--
-- A sign of life that is older than the last counts, but does not take back the time,
-- unless it is older by more than `after`: then the clock was set back. When the
-- object is new (also after a restart), and when h:silent() was not asked for a day
-- longer than `after` or the clock jumped so far, everybody gets `after` seconds from
-- then: nobody is called silent for what the agent could not hear.
--
-- Memory: one number a series, and whether it is silent. h:seen changes the data each
-- time; h:silent takes time in proportion to the number of series.
local check = require "rules.check"
local store = require "rules.series"

local M = {}
M.__index = M

local JUMP = 86400 -- seconds, beyond `after`

local OPTIONS = check.with_series {
	after = { check.duration, required = true },
}

--- A heartbeat; see above.
function M.new(options)
	options = check.options("heartbeat.new", options, OPTIONS)
	return setmetatable({ after = options.after, series = store.new(options, "heartbeat") }, M)
end

--- A sign of life.
function M:seen(series, time)
	local name = check.series(series)
	time = check.time(time)
	local record = self.series:get(name)
	if not record then
		self.series:add(name, { time = time })
		return false
	end
	local last = record.time
	if time > last or last - time > self.after then
		record.time = time
	end
	if not record.silent then
		return false
	end
	record.silent = nil
	return true, math.max(0, time - last)
end

--- Watches a series from now on.
function M:expect(series, time)
	local name = check.series(series)
	time = check.time(time)
	if self.series:get(name) then
		return false
	end
	self.series:add(name, { time = time })
	return true
end

--- From when on silence counts at least.
local function listening_since(self, time)
	if not self.asked or math.abs(time - self.asked) > self.after + JUMP or time < self.since then
		self.since = time
	end
	self.asked = time
	return self.since
end

--- Those that have fallen silent, each told once.
function M:silent(time)
	time = check.time(time)
	local since = listening_since(self, time)
	local names = self.series:names(function(record)
		if record.time - time > self.after then
			record.time = time
		end
		return not record.silent and time - math.max(record.time, since) >= self.after
	end)
	local lengths = {}
	for i, name in ipairs(names) do
		local record = self.series:get(name)
		record.silent = true
		lengths[i] = time - record.time
	end
	local i = 0
	return function()
		i = i + 1
		return names[i], lengths[i]
	end
end

--- Was it told, and has not come back since?
function M:is_silent(series)
	local record = self.series:get(check.series(series))
	return record ~= nil and record.silent == true
end

--- Watches a series no longer.
function M:forget(series)
	return self.series:remove(check.series(series))
end

return M
