--- Loaded by busted before the specs (see .busted): runs the clean-up after each
-- spec, and prints what its processes logged if it failed.
--
-- The modules are loaded here so that all spec files share them: busted gives
-- each file modules of its own otherwise, and luv wants to be loaded once.
local busted = require "busted"
require "luv"
for _, name in ipairs { "loop", "cleanup", "need", "file", "proc", "net", "proxy", "certs", "packet", "client",
		"client_rules", "broker", "fake_broker", "mqtt_collector", "tidegate", "gateway", "trace" } do
	require("lib." .. name)
end
local certs = require "lib.certs"
local cleanup = require "lib.cleanup"
local loop = require "lib.loop"
local need = require "lib.need"

local failed, name = false, nil

busted.subscribe({ "test", "start" }, function(element)
	need.pending = element.env and element.env.pending or need.pending
	return nil, true
end)

busted.subscribe({ "test", "end" }, function(element, _, status)
	name = element.name
	failed = status == "failure" or status == "error"
	return nil, true
end)

busted.subscribe({ "exit" }, function()
	cleanup.close()
	certs.remove()
	loop.close()
	return nil, true
end)

busted.after_each(function()
	local problems = cleanup.run()
	loop.settle()
	io.stderr:write(cleanup.finish(failed or #problems > 0))
	if #problems > 0 then
		error(("after %q: %s"):format(name, table.concat(problems, "\n")), 0)
	end
end)
