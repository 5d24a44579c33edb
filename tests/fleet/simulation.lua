--- A fleet whose broker was away, as a simulation: gateways try again as agent/retry.c does,
-- the cluster has so much work it can do a second, and connections and messages cost some
-- of it. Discrete events for the connections, a fluid in small steps for the messages.
-- The same seed gives the same run; it knows no clock and no file.
local M = {}

-- A gateway gives a broker so long to answer its CONNECT (docs/configuration.md).
local CONNECT_SECONDS = 15
-- Who is not connected so long after the cluster is back never will be: a cluster that is busy with
-- those who have given up stays so.
local CONNECT_HORIZON = 600
-- A gateway is current when its newest reading is no older at the collector.
M.current_seconds = 2

--- A generator of numbers in [0, 1), the same for the same seed: xorshift of 64 bits.
function M.dice(seed)
	local x = seed * 0x9E3779B97F4A7C15 + 1
	return function()
		x = x ~ (x << 13)
		x = x ~ (x >> 7)
		x = x ~ (x << 17)
		return (x >> 11) / 2.0 ^ 53
	end
end

--- How long a gateway waits before its next attempt after `rounds` failures in a row.
function M.backoff(fleet, rounds, dice)
	local whole = math.min(fleet.reconnect_max, fleet.reconnect_min * 2.0 ^ rounds)
	return fleet.jitter and whole / 2 + whole / 2 * dice() or whole
end

-- ---- connections ----

-- A heap of { time, gateway }.
local function push(heap, event)
	local i = #heap + 1
	while i > 1 and heap[i // 2].time > event.time do
		heap[i], i = heap[i // 2], i // 2
	end
	heap[i] = event
end

local function pop(heap)
	local first, last = heap[1], table.remove(heap)
	if #heap > 0 then
		local i = 1
		while true do
			local child = 2 * i
			if child > #heap then
				break
			end
			if child < #heap and heap[child + 1].time < heap[child].time then
				child = child + 1
			end
			if heap[child].time >= last.time then
				break
			end
			heap[i], i = heap[child], child
		end
		heap[i] = last
	end
	return first
end

-- When each gateway is connected, in seconds after the cluster is back, sorted; and the work
-- that the cluster has done on connections, a list of { from, till }. It answers one CONNECT
-- after the other; it also works on those whose gateway has given up.
local function connect(fleet, dice)
	local heap, up, work, free = {}, {}, {}, 0
	local result = { wait = 0, gave_up = 0, peak = 0 }
	local attempts, first = {}, 1 -- those within the last second
	local function asked(time)
		attempts[#attempts + 1] = time
		while attempts[first] < time - 1 do
			first = first + 1
		end
		result.peak = math.max(result.peak, #attempts - first + 1)
	end
	local function retry(gateway, now)
		push(heap, { time = now + M.backoff(fleet, gateway.rounds, dice), gateway = gateway })
		gateway.rounds, gateway.url = gateway.rounds + 1, 1
	end
	local function give_up(gateway, now)
		if gateway.url == fleet.urls then
			return retry(gateway, now)
		end
		gateway.url = gateway.url + 1
		push(heap, { time = now, gateway = gateway })
	end
	for _ = 1, fleet.gateways do
		retry({ rounds = 0 }, -fleet.outage)
	end
	while #heap > 0 and heap[1].time < CONNECT_HORIZON do
		local event = pop(heap)
		if event.time < 0 then
			retry(event.gateway, event.time)
		else
			asked(event.time)
			local from = math.max(free, event.time)
			free = from + 1 / fleet.connects
			work[#work + 1] = { from = from, till = free }
			result.wait = math.max(result.wait, math.min(free - event.time, CONNECT_SECONDS))
			if free - event.time > CONNECT_SECONDS then
				result.gave_up = result.gave_up + 1
				give_up(event.gateway, event.time + CONNECT_SECONDS)
			else
				up[#up + 1] = free
			end
		end
	end
	table.sort(up)
	return up, work, result
end

-- ---- messages ----

-- Gateways that came up in the same step have the same before them: they are one cohort, with
-- what each of them has waiting: `backlog`, what there was when it came up, and `live`, what
-- came since.

-- Divides `room`: every gateway gets the same, none more than it wants. Returns that share.
local function fair_share(cohorts, room)
	local share, before = 0, -1
	while share > before do
		local left, modest = 0, 0
		before = share
		for _, cohort in ipairs(cohorts) do
			if cohort.wants <= share then
				modest = modest + cohort.wants * cohort.count
			else
				left = left + cohort.count
			end
		end
		if left == 0 then
			return math.huge
		end
		share = (room - modest) / left
	end
	return share
end

-- How much of the newer readings and of the backlog may leave in this step.
local function wanted(cohort, fleet, step)
	local limit = fleet.drain_rate and fleet.drain_rate * step or math.huge
	local backlog = math.min(cohort.backlog, limit)
	if fleet.live_first then
		return cohort.live, backlog
	end
	-- In order: what is new has to wait for the backlog, and for the same limit.
	return cohort.backlog > backlog and 0 or math.min(cohort.live, limit - backlog), backlog
end

local function send(cohort, fleet, step, share)
	local live, backlog = wanted(cohort, fleet, step)
	if fleet.live_first then
		live = math.min(live, share)
		backlog = math.min(backlog, share - live)
	else
		backlog = math.min(backlog, share)
		live = math.min(live, share - backlog)
	end
	cohort.live, cohort.backlog = cohort.live - live, cohort.backlog - backlog
end

-- The seconds of `work` that fall into a step; `at` remembers how far it was read.
local function worked(work, at, from, till)
	local sum = 0
	while work[at.i] and work[at.i].from < till do
		local one = work[at.i]
		sum = sum + math.max(0, math.min(one.till, till) - math.max(one.from, from))
		if one.till > till then
			break
		end
		at.i = at.i + 1
	end
	return math.min(sum, till - from)
end

-- One step of all gateways that are up; returns how many have a backlog, and how many are not current.
local function flow(cohorts, fleet, step, room)
	for _, cohort in ipairs(cohorts) do
		cohort.live = cohort.live + fleet.rate * step
		local live, backlog = wanted(cohort, fleet, step)
		cohort.wants = live + backlog
	end
	local share = fair_share(cohorts, room)
	local waiting, behind = 0, 0
	for _, cohort in ipairs(cohorts) do
		send(cohort, fleet, step, share)
		local late = cohort.live + (fleet.live_first and 0 or cohort.backlog)
		waiting = waiting + (cohort.backlog > 1e-6 and cohort.count or 0)
		behind = behind + (late > fleet.rate * M.current_seconds and cohort.count or 0)
	end
	return waiting, behind
end

local function percentile(sorted, p)
	return sorted[math.max(1, math.ceil(#sorted * p / 100))]
end

--- One run. `fleet`:
--   gateways        how many
--   outage          seconds that the cluster was away
--   rate            readings a second and gateway
--   reconnect_min, reconnect_max, jitter
--   urls            how many URLs each has, tried one after the other without a pause
--   connects        connections a second that the cluster can take, doing nothing else
--   messages        messages a second that it can take, doing nothing else
--   live_first      and drain_rate: as in agent.lua's `queue`
--   step            seconds (default 0.1)
--   horizon         seconds after which to give up (default a day)
-- Returns, in seconds after the cluster is back: `half_up`, `all_up`, `half_current`,
-- `all_current`, `drained` (nil: never); and the `peak` of attempts within a second, the longest
-- `wait` for an answer to CONNECT, `gave_up` attempts that waited too long.
function M.run(fleet, seed)
	local dice = M.dice(seed)
	local up, work, result = connect(fleet, dice)
	local step, horizon = fleet.step or 0.1, fleet.horizon or 86400
	local cohorts, active, at, now = {}, 0, { i = 1 }, 0
	result.half_up, result.all_up = up[math.ceil(fleet.gateways / 2)], up[fleet.gateways]
	if #up < fleet.gateways then
		return result
	end
	while now < horizon and not (result.drained and result.all_current) do
		local till, before = now + step, active
		while active < #up and up[active + 1] <= now do
			active = active + 1
		end
		if active > before then
			cohorts[#cohorts + 1] = { count = active - before, backlog = (fleet.outage + now) * fleet.rate, live = 0 }
		end
		local room = (step - worked(work, at, now, till)) * fleet.messages
		local waiting, behind = flow(cohorts, fleet, step, room)
		behind, now = behind + #up - active, till
		result.half_current = behind <= #up / 2 and (result.half_current or now) or nil
		result.all_current = behind == 0 and (result.all_current or now) or nil
		result.drained = active == #up and waiting == 0 and (result.drained or now) or nil
	end
	return result
end

--- The medians of runs with the seeds 1 to `n`; a field that some run lacks is nil.
function M.median(fleet, n)
	local lists, medians = {}, {}
	for seed = 1, n do
		for name, value in pairs(M.run(fleet, seed)) do
			lists[name] = lists[name] or {}
			table.insert(lists[name], value)
		end
	end
	for name, list in pairs(lists) do
		table.sort(list)
		medians[name] = #list == n and percentile(list, 50) or nil
	end
	return medians
end

return M
