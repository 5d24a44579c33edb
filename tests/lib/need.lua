--- What a spec cannot do without. On a user's machine the spec is then
-- pending; where CI=true it fails, so that nothing is skipped unseen.
local M = {}

-- Set by tests/lib/helper.lua at the start of each spec.
M.pending = error

--- What is needed is not there, for the reason given.
function M.missing(reason)
	if os.getenv("CI") == "true" then
		error(reason .. ", and in CI nothing may be skipped", 0)
	end
	M.pending(reason)
end

--- Needs a program in the search path.
function M.program(name)
	if not os.execute("command -v " .. name .. " >/dev/null 2>&1") then
		M.missing(name .. " is not installed")
	end
end

--- Needs the libraries of the collector that stands in for a kdb+ one; returns the directory
-- they are in, as `make test` has installed them.
function M.collector()
	M.program("node")
	local path = require "luv".fs_realpath(os.getenv("COLLECTOR") or "build/collector/node_modules")
	if not path then
		M.missing("node-q is not installed (make build/collector/node_modules/.package-lock.json)")
	end
	return path
end

--- Needs the program that makes calls of Paho's C client; returns its path.
function M.paho_calls()
	local path = require "luv".fs_realpath(os.getenv("PAHO_CALLS") or "build/paho_calls")
	if not path then
		M.missing("paho_calls is not built (libpaho-mqtt-dev, make build/paho_calls)")
	end
	return path
end

--- Needs the rights of root.
function M.root()
	if require "luv".getuid() ~= 0 then
		M.missing("needs root")
	end
end

--- Needs the shell command to succeed; `reason` says what it tried.
function M.success(command, reason)
	if not os.execute(command .. " >/dev/null 2>&1") then
		M.missing(reason)
	end
end

return M
