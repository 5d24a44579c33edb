--- Loaded by busted before the specs (see .busted): runs the clean-up after each
-- spec, and prints what its processes logged if it failed.
--
-- The modules are loaded here so that all spec files share them: busted gives
-- each file modules of its own otherwise, and luv wants to be loaded once.
local busted = require "busted"
require "luv"
for _, name in ipairs { "loop", "cleanup", "need", "file", "proc", "net", "certs", "packet", "client", "broker",
		"fake_broker", "tidegate", "gateway", "trace" } do
	require("lib." .. name)
end
local cleanup = require "lib.cleanup"
local need = require "lib.need"

local failed = false

busted.subscribe({ "test", "start" }, function(element)
	need.pending = element.env and element.env.pending or need.pending
	return nil, true
end)

busted.subscribe({ "test", "end" }, function(_, _, status)
	failed = status == "failure" or status == "error"
	return nil, true
end)

busted.after_each(function()
	local problems = cleanup.run()
	io.stderr:write(cleanup.finish(failed or #problems > 0))
	if #problems > 0 then
		error(table.concat(problems, "\n"), 0)
	end
end)
