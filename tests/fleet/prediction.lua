--- What the simulation says of the fleet that was measured, beside what was measured; and of
-- larger ones. It is told how many connections and how many messages a second the cluster can
-- take, which the first half of the run has measured, and nothing of the second half.
local simulation = require "fleet.simulation"

local M = {}

-- A gateway is current when its newest reading is no older at the collector.
M.current_seconds = simulation.current_seconds

-- A prediction may be wrong by this factor, either way, where the measured figure is not tiny.
local BOUND = 2
local TINY_SECONDS = 0.5

local RUNS = 21

-- `fleet` with some fields of its own.
local function with(fleet, more)
	return setmetatable(more, { __index = fleet })
end

--- The fleet that was measured, as the simulation wants it, but for its outage.
function M.fleet(figures)
	local setting = figures.setting
	return { gateways = setting.agents, rate = setting.rate, reconnect_min = setting.reconnect_min,
		reconnect_max = setting.reconnect_max, urls = setting.urls, connects = figures.blip_without_jitter.connects,
		messages = figures.outage_without_jitter.messages }
end

local function compare(say, what, predicted, measured)
	local ratio = predicted / measured
	local tiny = measured < TINY_SECONDS and predicted < TINY_SECONDS
	local well = tiny or ratio <= BOUND and ratio >= 1 / BOUND
	say("| %s | %.2f | %.2f | %.2f%s |", what, predicted, measured, ratio, well and "" or ", out of bounds")
	return well
end

--- Prints predictions beside what was measured; returns whether all are within their bound.
function M.check(figures, say)
	local fleet = M.fleet(figures)
	local jitter, in_step = figures.outage_with_jitter, figures.outage_without_jitter
	local rough = simulation.median(with(fleet, { outage = in_step.outage, jitter = false }), 1)
	local smooth = simulation.median(with(fleet, { outage = jitter.outage, jitter = true, live_first = true,
		drain_rate = figures.setting.drain_rate }), RUNS)
	say("predicted from %.0f connections and %.0f messages a second", fleet.connects, fleet.messages)
	say("| seconds after the cluster was back | predicted | measured | ratio |")
	say("| --- | ---: | ---: | ---: |")
	local well = true
	for _, row in ipairs {
		{ "without jitter: half up", rough.half_up, in_step.half_up },
		{ "without jitter: all up", rough.all_up, in_step.all_up },
		{ "with jitter: half up", smooth.half_up, jitter.half_up },
		{ "with jitter: all up", smooth.all_up, jitter.all_up },
		{ "with jitter, live-first: half fresh", smooth.half_current, jitter.half_current },
		{ "with jitter, live-first: all fresh", smooth.all_current, jitter.all_current },
		{ "with jitter, rate: backlog gone", smooth.drained, jitter.drained },
	} do
		well = compare(say, table.unpack(row)) and well
	end
	say("bound: a factor of %g either way, or both below %g s: %s", BOUND, TINY_SECONDS, well and "kept" or "not kept")
	return well
end

-- ---- what cannot be measured here ----

-- Gateways with a reading every ten seconds each, the cluster away for an hour.
M.typical = { rate = 0.1, outage = 3600, reconnect_min = 1, reconnect_max = 60, urls = 3, step = 0.5 }

local WAYS = {
	{ "no jitter, in order", jitter = false },
	{ "jitter, in order", jitter = true },
	{ "jitter, live-first", jitter = true, live_first = true },
	{ "jitter, live-first, rate 0.5", jitter = true, live_first = true, drain_rate = 0.5 },
}

local function cell(format, value)
	return value and format:format(value) or "never"
end

--- One row of figures of a simulated run, as text between bars.
function M.row(result)
	return ("%d | %s | %d | %s | %s | %s | %s"):format(result.peak, cell("%.1f", result.wait), result.gave_up,
		cell("%.0f", result.all_up), cell("%.0f", result.half_current), cell("%.0f", result.all_current),
		cell("%.0f", result.drained))
end

M.head = "connect in the worst second | longest wait for an answer, s | attempts that gave up | all up after, s | " ..
	"half fresh after, s | all fresh after, s | backlog gone after, s"

--- Prints what larger fleets would do on a cluster that can do as much as the one that was measured.
function M.larger(figures, say)
	local measured = M.fleet(figures)
	local typical = with(M.typical, { connects = measured.connects, messages = measured.messages })
	say("a reading every %g s and gateway; an hour without a cluster that takes %.0f connections and %.0f messages a " ..
		"second", 1 / typical.rate, typical.connects, typical.messages)
	say("| gateways | | %s |", M.head)
	say("| ---: | --- |%s", (" ---: |"):rep(7))
	for _, gateways in ipairs { 200, 1000, 10000 } do
		for _, way in ipairs(WAYS) do
			say("| %d | %s | %s |", gateways, way[1], M.row(simulation.run(with(typical, { gateways = gateways,
				jitter = way.jitter, live_first = way.live_first, drain_rate = way.drain_rate }), 1)))
		end
	end
end

return M
