--- What a spec started, it ends. Modules that start something leave a function
-- here; tests/lib/helper.lua runs them, last first, after each spec, whether it
-- passed or failed.
local M = {}

local deferred, last, reports = {}, {}, {}
local lasting = { deferred = {}, last = {} }

--- Has `fn` run after the current spec. It may raise: the spec then counts as
-- failed.
function M.defer(fn)
	deferred[#deferred + 1] = fn
end

--- Has `fn` run after all that, and after the reports.
function M.defer_last(fn)
	last[#last + 1] = fn
end

--- Calls `fn`; what that starts lasts for the whole run instead, until M.close().
function M.outlive(fn)
	local spec_deferred, spec_last, spec_reports = deferred, last, reports
	deferred, last, reports = lasting.deferred, lasting.last, {}
	local ok, err = pcall(fn)
	deferred, last, reports = spec_deferred, spec_last, spec_reports
	if not ok then
		error(err, 0)
	end
end

--- Has `fn` run after the current spec if that failed; what it returns (a text)
-- is printed.
function M.on_failure(fn)
	reports[#reports + 1] = fn
end

--- Runs everything left here. Returns the problems met, as a list of texts.
function M.run()
	local problems = {}
	while #deferred > 0 do
		local ok, err = pcall(table.remove(deferred))
		if not ok then
			problems[#problems + 1] = tostring(err)
		end
	end
	return problems
end

--- Ends the spec: returns what its modules have to say about its failure, if it
-- failed, and runs what was left for last.
function M.finish(failed)
	local texts = {}
	for _, fn in ipairs(failed and reports or {}) do
		local ok, text = pcall(fn)
		texts[#texts + 1] = tostring(text or (not ok and "(no report)") or "")
	end
	reports = {}
	for _, fn in ipairs(last) do
		fn()
	end
	last = {}
	return table.concat(texts)
end

--- Ends what was to last for the whole run.
function M.close()
	deferred, last = lasting.deferred, lasting.last
	M.run()
	M.finish(false)
end

return M
