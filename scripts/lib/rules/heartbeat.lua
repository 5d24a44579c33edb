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
-- Memory: one number a series, and whether it is silent; in memory and, with `state`,
-- there too. In `state` the time is kept no more precisely than to half of `after`, so a
-- series is written twice in `after` and not with each sign of life; only how long one
-- was silent is less exact after a restart. h:silent takes time in proportion to the
-- number of series.
local check = require "rules.check"
local store = require "rules.series"

local M = {}
M.__index = M

local JUMP = 86400 -- seconds, beyond `after`

--- A heartbeat; see above.
function M.new(options)
	local kinds = require "rules.options"
	options = kinds.read("heartbeat.new", options, kinds.with_series {
		after = { kinds.duration, required = true },
	})
	return setmetatable({
		after = options.after,
		series = store.new(options, "heartbeat"),
		exact = options.state and store.new({ max_series = options.max_series }, "heartbeat") or nil,
	}, M)
end

--- When its last sign of life was; and when it can have been at the latest, which
-- differs where only `state` knows.
local function last_of(self, name, record)
	local exact = self.exact and self.exact:peek(name)
	if exact then
		return exact.time, exact.time
	end
	return record.time, record.time + (self.exact and self.after / 2 or 0)
end

--- Notes a sign of life, in `state` if it is worth a write.
local function note(self, name, record, time)
	if not self.exact then
		record.time = time
		return
	end
	local exact = self.exact:peek(name) or self.exact:add(name, {})
	exact.time = time
	if math.abs(time - record.time) >= self.after / 2 then
		record.time = time
	end
end

local function watch(self, name, time)
	note(self, name, self.series:add(name, { time = time }), time)
end

--- A sign of life.
function M:seen(series, time)
	local name = check.series(series)
	time = check.time(time)
	local record = self.series:get(name)
	if self.exact then
		self.exact:get(name) -- both forget the same
	end
	if not record then
		watch(self, name, time)
		return false
	end
	local last = last_of(self, name, record)
	if time > last or last - time > self.after then
		note(self, name, record, time)
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
	watch(self, name, time)
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
	local names = self.series:names(function(record, name)
		local last, latest = last_of(self, name, record)
		if last - time > self.after then
			note(self, name, record, time)
			latest = time
		end
		return not record.silent and time - math.max(latest, since) >= self.after
	end)
	local lengths = {}
	for i, name in ipairs(names) do
		local record = self.series:peek(name)
		record.silent = true
		lengths[i] = time - (last_of(self, name, record))
	end
	local i = 0
	return function()
		i = i + 1
		return names[i], lengths[i]
	end
end

--- Was it told, and has not come back since?
function M:is_silent(series)
	local record = self.series:peek(check.series(series))
	return record ~= nil and record.silent == true
end

--- Watches a series no longer.
function M:forget(series)
	local name = check.series(series)
	if self.exact then
		self.exact:remove(name)
	end
	return self.series:remove(name)
end

return M
