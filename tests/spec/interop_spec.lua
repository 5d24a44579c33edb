--- The same scenarios with every broker: what the standard says, or a deviation that is known of that broker. Here,
-- mosquitto and one that shares nothing with it; `make interop` names all of them in INTEROP and has the results
-- written to INTEROP_RESULTS.
local cjson = require "cjson"
local brokers = require "interop.brokers"
local loop = require "lib.loop"
local scenarios = require "interop.scenarios"

local function record(line)
	local path = os.getenv("INTEROP_RESULTS")
	if path then
		local handle = assert(io.open(path, "a"))
		handle:write(cjson.encode(line), "\n")
		handle:close()
	end
end

-- Runs one scenario; an error that is a known deviation is none.
local function try(kind, scenario, broker)
	local started = loop.now()
	local ok, result = pcall(scenario.run, broker)
	local known = kind.deviates and kind.deviates[scenario.key]
	local line = { of = kind.key, scenario = scenario.key, seconds = loop.now() - started,
		result = ok and "ok" or "failed", note = result }
	if known and not ok and tostring(result):find(known[1]) then
		line.result, line.note, line.seen = "deviation", known[2], result
	elseif known and ok and known.sometimes then
		line.result, line.note = "deviation", known[2]
	elseif known and ok then
		line.result, line.note = "failed", "it does what it is said not to do"
	end
	record(line)
	if line.result == "failed" then
		error(line.note, 0)
	end
end

for _, kind in ipairs(brokers.named(os.getenv("INTEROP") or "mosquitto,aedes")) do
	describe("with " .. kind.name, function()
		local broker

		for _, scenario in ipairs(scenarios) do
			local lacks = kind.lacks and (kind.lacks[scenario.key] or scenario.version == 5 and kind.lacks.v5)
			if lacks then
				record { of = kind.key, scenario = scenario.key, result = "not offered", note = lacks }
			else
				it(scenario.title, function()
					brokers.need(kind)
					broker = broker or brokers.start(kind)
					if not broker.process:running() then
						broker:start()
					end
					try(kind, scenario, broker)
				end)
			end
		end

		it("is done", function()
			if broker then
				broker:kill()
			end
		end)
	end)
end
