--- Throttle: lets messages through no more often than so often.
--
--	local throttle = require "rules.throttle"
--	local calm = throttle.new { every = 60, burst = 3 }
--
--	on("sensors/+/event", function(topic, payload, msg)
--		if calm:allow(topic, msg.time) then
--			mqtt.pub(topic, payload)
--		end
--	end)
--
-- throttle.new(options):
--	every       seconds: in the long run, one message in so long; required
--	burst       how many may follow one another at once after a quiet time: one that
--	            lasted burst × every; default 1
--	max_series  how many series are remembered at least; default 1000
--	state       where data lives: see docs/rules.md
--
-- t:allow(series [, time]) returns
--	true               the message may pass, and counts
--	false and seconds  it may not; one may pass in so long
-- t:forget(series) makes its next message the first; true if there was one.
--
-- Messages count in the order in which they come. If time runs backwards by more than
-- 2 × burst × every, the clock was set back, and the series begins anew.
--
-- Memory: one number a series. What is held back is not written down, so it costs no
-- write to `state`. Algorithm: the generic cell rate algorithm, virtual scheduling
-- (ITU-T I.371).
local check = require "rules.check"
local store = require "rules.series"

local M = {}
M.__index = M

--- A throttle; see above.
function M.new(options)
	local kinds = require "rules.options"
	options = kinds.read("throttle.new", options, kinds.with_series {
		every = { kinds.duration, required = true },
		burst = { kinds.integer(1, 1000000), default = 1 },
	})
	return setmetatable({
		every = options.every,
		ahead = options.every * (options.burst - 1), -- how far `due` may be ahead of time
		series = store.new(options, "throttle"),
	}, M)
end

--- May a message pass now?
function M:allow(series, time)
	local name = check.series(series)
	time = check.time(time)
	local record = self.series:get(name)
	if not record then
		self.series:add(name, { due = time + self.every })
		return true
	end
	-- When a message would be due if they came evenly.
	local due = record.due
	if due - time > 2 * (self.ahead + self.every) then
		due = time
	end
	local wait = due - self.ahead - time
	if wait > 0 then
		return false, wait
	end
	record.due = math.max(due, time) + self.every
	return true
end

--- Forgets a series.
function M:forget(series)
	return self.series:remove(check.series(series))
end

return M
