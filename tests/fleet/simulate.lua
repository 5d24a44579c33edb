--- The simulation by itself: what it says of a fleet of one's own.
--
--	lua5.4 tests/fleet/simulate.lua [FILE] [key=value...]
--
-- Without keys: predictions beside what `make fleet` measured, and larger fleets. With keys: one
-- fleet, whose keys are those of tests/fleet/simulation.lua (gateways, outage, rate, reconnect_min,
-- reconnect_max, jitter, urls, connects, messages, live_first, drain_rate, step) and of which what is
-- not said is as in the table of larger fleets:
--
--	lua5.4 tests/fleet/simulate.lua gateways=5000 outage=7200 connects=500 messages=20000 live_first=true
--
-- FILE has the figures (build/fleet/figures.jsonl, or if that is not there, those of the run that
-- docs/fleet.md quotes).
package.path = "tests/?.lua;" .. package.path

local file = require "lib.file"
local figures = require "fleet.figures"
local prediction = require "fleet.prediction"
local simulation = require "fleet.simulation"

local path = file.exists("build/fleet/figures.jsonl") and "build/fleet/figures.jsonl" or "tests/fleet/measured.jsonl"
local own, fleet = false, setmetatable({ gateways = 1000, jitter = true }, { __index = prediction.typical })

local function say(...)
	print((...):format(select(2, ...)))
end

for _, word in ipairs(arg) do
	local key, value = word:match("^([%a_]+)=(.+)$")
	if key then
		own, fleet[key] = true, tonumber(value) or value == "true"
	else
		path = word
	end
end
local measured = figures.load(path)
if own then
	local known = prediction.fleet(measured)
	fleet.connects, fleet.messages = fleet.connects or known.connects, fleet.messages or known.messages
	say("| %s |", prediction.head)
	say("|%s", (" ---: |"):rep(7))
	say("| %s |", prediction.row(simulation.run(fleet, 1)))
else
	say("figures of %s", path)
	prediction.check(measured, say)
	say("")
	prediction.larger(measured, say)
end
