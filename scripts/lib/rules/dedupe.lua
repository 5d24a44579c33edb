--- Dedupe: lets a value through the first time, and repeats of it not.
--
--	local dedupe = require "rules.dedupe"
--	local doors = dedupe.new { within = "1h" }
--
--	on("doors/+", function(topic, payload, msg)
--		if doors:first(topic, payload, msg.time) then
--			mqtt.pub(topic, payload)
--		end
--	end)
--
-- dedupe.new(options):
--	remember    a value is a repeat if it is among so many that were let through last;
--	            default 1: it is the same as the last one. More than 1 is for message
--	            numbers and the like, which may come again after others
--	within      seconds: what was let through longer ago may come again; default for ever
--	max_series  how many series are remembered at least; default 1000
--	state       where data lives: see docs/rules.md
--
-- d:first(series, value [, time]) returns
--	true                it is let through
--	false               it is a repeat
--	nil and the reason  there is no value, or it is no finite number; nothing was changed
-- d:forget(series) forgets what came; true if there was something.
--
-- A value is a string, a number or a boolean; 21 and 21.0 are the same. It is kept as
-- it is: of long payloads, give the part that tells them apart.
--
-- Time matters for `within` only. Values count in the order in which they come; one
-- that is older than its last by `within` or more is let through, as the clock was set
-- back.
--
-- Memory: `remember` values a series, and their times with `within`. Each call takes
-- the same time however many are remembered; a repeat changes nothing.
local check = require "rules.check"
local store = require "rules.series"

local M = {}
M.__index = M

--- A dedupe; see above.
function M.new(options)
	local kinds = require "rules.options"
	options = kinds.read("dedupe.new", options, kinds.with_series {
		remember = { kinds.integer(1, 10000), default = 1 },
		within = { kinds.duration },
	})
	return setmetatable({
		remember = options.remember,
		within = options.within,
		series = store.new(options, ("dedupe %d"):format(options.remember)),
	}, M)
end

--- What tells a value from others: a string; or nil and the reason.
local function identity_of(value, object)
	local kind = math.type(value) or type(value)
	if kind == "string" then
		return value
	elseif kind == "integer" or kind == "boolean" then
		return tostring(value)
	elseif kind == "nil" or kind == "userdata" then
		return check.no_value(object)
	elseif kind ~= "float" then
		error(("value: expected a string, a number or a boolean, got %s"):format(kind), 3)
	elseif not check.is_finite(value) then
		return nil, "not a finite number: " .. value
	end
	return ("%.17g"):format(value)
end

--- Lets a value through: the n-th of its series has slot n % remember.
local function pass(self, record, value, time)
	local n, seen, slots = record.n, record.seen, record.slots
	local slot = n % self.remember + 1
	local forgotten = slots[slot]
	-- It may have been let through again since.
	if forgotten ~= nil and forgotten ~= value and seen[forgotten] == n - self.remember then
		seen[forgotten] = nil
	end
	slots[slot] = value
	seen[value] = n
	record.n = n + 1
	if self.within then
		record.times[slot] = time
	end
	return true
end

--- Is it the first of its kind?
function M:first(series, value, time)
	local name = check.series(series)
	local identity, why = identity_of(value, self)
	if not identity then
		return nil, why
	end
	time = self.within and check.time(time)
	local record = self.series:get(name) or self.series:add(name, { n = 0, seen = {}, slots = {}, times = {} })
	local n = record.seen[identity]
	if not n then
		return pass(self, record, identity, time)
	elseif not self.within then
		return false
	end
	local before = record.times[n % self.remember + 1]
	return (not before or math.abs(time - before) >= self.within) and pass(self, record, identity, time)
end

--- Forgets a series.
function M:forget(series)
	return self.series:remove(check.series(series))
end

return M
