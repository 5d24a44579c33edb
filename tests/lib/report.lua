--- busted's output: one line a spec, what went wrong below it, and one plain line
-- with the counts at the end.
return function()
	local busted = require "busted"
	local handler = require "busted.outputHandlers.base"()
	local started
	local passed, failed, pending = 0, 0, 0

	local function say(word, name, more)
		io.write(("%-7s %s%s\n"):format(word, name, more or ""))
		io.flush()
	end

	local function indented(text)
		return (tostring(text):gsub("[^\n]+", "        %0"))
	end

	handler.testStart = function()
		started = busted.monotime()
		return nil, true
	end

	handler.testEnd = function(element, _, status)
		local name = handler.getFullName(element)
		local seconds = (" (%.1f s)"):format(busted.monotime() - started)
		if status == "success" then
			passed = passed + 1
			say("ok", name, seconds)
		elseif status == "pending" then
			pending = pending + 1
			local entry = handler.pendings[#handler.pendings]
			say("pending", name, entry and entry.message and ": " .. tostring(entry.message))
		else
			failed = failed + 1
			say("FAILED", name, seconds)
		end
		return nil, true
	end

	local function problem(element, _, message, trace)
		if element.descriptor ~= "it" then
			failed = failed + 1
			say("FAILED", handler.getFullName(element))
		end
		io.write(indented(message or "no message"), "\n")
		if element.descriptor == "it" and trace and trace.traceback and os.getenv("SPEC_TRACEBACK") then
			io.write(indented(trace.traceback), "\n")
		end
		io.flush()
		return nil, true
	end

	handler.suiteEnd = function()
		io.write(("\n%d passed, %d failed"):format(passed, failed))
		io.write(pending > 0 and (", %d pending\n"):format(pending) or "\n")
		return nil, true
	end

	busted.subscribe({ "test", "start" }, handler.testStart, { predicate = handler.cancelOnPending })
	busted.subscribe({ "test", "end" }, handler.testEnd, { predicate = handler.cancelOnPending })
	busted.subscribe({ "suite", "end" }, handler.suiteEnd)
	busted.subscribe({ "error" }, problem)
	busted.subscribe({ "failure" }, problem)
	return handler
end
