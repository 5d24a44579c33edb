--- How the specs ask: each scenario of a broker, or of a client in a role. What the standard says passes, and so does a
-- deviation that is known of that one. The results go to INTEROP_RESULTS, if that is a file, a line of JSON each.
local cjson = require "cjson"
local brokers = require "interop.brokers"
local loop = require "lib.loop"
local scenarios = require "interop.scenarios"

local M = {}

local function record(line)
	local path = os.getenv("INTEROP_RESULTS")
	if path then
		local handle = assert(io.open(path, "a"))
		handle:write(cjson.encode(line), "\n")
		handle:close()
	end
end

-- Runs one scenario with the broker that `get` returns; an error that is a known deviation is none.
local function try(kind, scenario, get)
	local started = loop.now()
	local ok, result = pcall(function()
		return scenario.run(get())
	end)
	local known = kind.deviates and kind.deviates[scenario.key]
	local line = { of = kind.key, scenario = scenario.key, seconds = loop.now() - started,
		result = ok and "ok" or "failed", note = result }
	if known and not ok and tostring(result):find(known[1]) then
		line.result, line.note, line.seen = "deviation", known[2], result
	elseif known and ok and known.sometimes then
		line.result, line.note = "deviation", known[2] .. " (not in this run)"
	elseif known and ok then
		line.result, line.note = "failed", "it does what it is said not to do"
	end
	record(line)
	if line.result == "failed" then
		error(line.note, 0)
	end
end

--- Asks one kind all that is asked of its role, a test for each, inside of a `describe`; `it` is busted's.
function M.each(kind, it)
	local broker

	local function running()
		broker = broker or brokers.start(kind.broker or kind, kind.role and kind)
		return broker.process:running() and broker or broker:start()
	end

	for _, scenario in ipairs(scenarios.of(kind.role or "broker")) do
		local lacks = kind.lacks and (kind.lacks[scenario.key] or scenario.version == 5 and kind.lacks.v5)
		if lacks then
			record { of = kind.key, scenario = scenario.key, result = "not offered", note = lacks }
		else
			it(scenario.title, function()
				brokers.need(kind)
				try(kind, scenario, running)
			end)
		end
	end

	it("is done", function()
		if broker then
			broker:kill()
		end
	end)
end

--- Those of a list that are named in the environment's INTEROP, or else in `default` (keys, separated by commas).
function M.wanted(list, default)
	local named, wanted = "," .. (os.getenv("INTEROP") or default) .. ",", {}
	for _, kind in ipairs(list) do
		wanted[#wanted + 1] = named:find("," .. kind.key .. ",", 1, true) and kind or nil
	end
	return wanted
end

return M
