--- The tests' event loop: everything in tests/lib hangs on luv's one default
-- loop, which turns only while a spec waits for something. A spec reads like a
-- straight line; sockets, processes and timers move on inside `eventually`.
local uv = require "luv"

local M = {}

-- Seconds that `eventually` waits unless told otherwise: far more than needed,
-- so that a busy machine fails nothing.
M.deadline = 15

-- A write to a connection that the other side has closed is no reason to die.
local broken_pipe = uv.new_signal()
broken_pipe:start("sigpipe", function() end)
broken_pipe:unref()

-- The first error raised in a callback since the last wait; luv itself would
-- end the whole process on it.
local callback_error

--- Wraps a luv callback so that its error surfaces in the waiting spec.
function M.guard(fn)
	return function(...)
		local ok, err = xpcall(fn, debug.traceback, ...)
		if not ok then
			callback_error = callback_error or err
		end
	end
end

local function raise_callback_error()
	local err = callback_error
	callback_error = nil
	if err then
		error("in a callback: " .. err, 0)
	end
end

--- Turns the loop once, for at most `seconds`. The timer repeats: one that is
-- overdue when the loop begins fires before the loop waits, and if it were gone
-- then, nothing would end the wait.
function M.turn(seconds)
	local timer = uv.new_timer()
	local ms = math.max(1, math.floor(seconds * 1000))
	timer:start(ms, ms, function() end)
	uv.run("once")
	timer:close()
	uv.run("nowait")
	raise_callback_error()
end

--- Lets handles that were closed finish closing: luv must not meet them when the
-- program ends.
function M.settle()
	uv.run("nowait")
	uv.run("nowait")
end

--- Closes everything that is left; at the end of the run.
function M.close()
	uv.walk(function(handle)
		if not handle:is_closing() then
			handle:close()
		end
	end)
	M.settle()
end

--- Seconds on a monotonic clock.
function M.now()
	return uv.hrtime() / 1e9
end

--- Turns the loop until `fn` returns something true, and returns that; nil
-- after `seconds`.
function M.run_until(fn, seconds)
	local deadline = M.now() + seconds
	while true do
		local value = fn()
		if value then
			return value
		end
		if M.now() >= deadline then
			return nil
		end
		M.turn(0.01)
	end
end

--- Waits until `fn` returns something true, and returns that. An error in `fn`
-- (a failed assertion) counts as "not yet"; the last one is raised when time is
-- up. `what` says what was waited for.
function M.eventually(fn, what, seconds)
	local last
	local value = M.run_until(function()
		local ok, result = pcall(fn)
		last = not ok and result or nil
		return ok and result
	end, seconds or M.deadline)
	if value then
		return value
	end
	if last ~= nil then
		error(last, 0)
	end
	error(("%s: not within %g s"):format(what or "what was waited for did not happen", seconds or M.deadline), 2)
end

--- Checks that `fn` stays true for `seconds`: for what must not happen. The one
-- way to let time pass.
function M.consistently(fn, what, seconds)
	local broken = M.run_until(function()
		return not fn()
	end, seconds)
	if broken then
		error((what or "what should have stayed so") .. ": did not last", 2)
	end
end

return M
