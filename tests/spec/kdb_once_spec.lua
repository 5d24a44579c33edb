--- exactly_once: each row is applied once, whatever is killed. Rows are made by a script that
-- counts in `state`, which is committed together with the rows; so what was produced is 1 to N,
-- for some N, and the collector must have just that.
local figures = require "torture.figures"
local gateway = require "lib.kdb_gateway"
local loop = require "lib.loop"
local need = require "lib.need"

local ONCE = { exactly_once = true, batch = { rows = 40, delay = "30ms" }, timeout = "400ms",
	reconnect = { min = "10ms", max = "50ms" } }

-- Rows by themselves, as long as state.until is not reached.
local PRODUCE = [[
	local function produce()
		for _ = 1, 7 do
			local n = (state.n or 0) + 1
			state.n = n
			assert(kdb.upd(n % 3 == 0 and "alarm" or "sensor", { "pump", n, n / 4 }))
		end
	end
	local timer = every(0.01, produce)
	function on_message(topic)
		if timer then timer:cancel() end
		timer = nil
		log.info("produced %d", state.n)
	end
]]

local TABLES = { sensor = gateway.tables.sensor, alarm = gateway.tables.sensor }

local function merged(base, more)
	local both = {}
	for _, from in ipairs { base, more or {} } do
		for key, value in pairs(from) do
			both[key] = value
		end
	end
	return both
end

local function start(options)
	return gateway.start(merged({ collector = { tables = TABLES }, link = merged(ONCE, { tables = TABLES }) }, options))
end

-- Of all tables: how often each number was applied; and in each table, they go up.
local function assert_each_once(g, n)
	local times = {}
	for _, name in ipairs { "sensor", "alarm" } do
		local last = 0
		for _, number in ipairs(g:numbers(name)) do
			assert(number > last, ("%s: row %d comes after row %d"):format(name, number, last))
			last = number
			times[number] = (times[number] or 0) + 1
		end
	end
	for number = 1, n do
		assert(times[number] == 1, ("row %d was applied %d times"):format(number, times[number] or 0))
	end
	assert(not times[n + 1], "and nothing else was")
end

local function skipped(g)
	local calls, rows = 0, 0
	for _, call in ipairs(g.collector:calls(".tidegate.upd")) do
		if call.skipped then
			calls, rows = calls + 1, rows + call.rows
		end
	end
	return calls, rows
end

-- Calls that were answered as usual.
local function answered(g)
	local n = 0
	for _, call in ipairs(g.collector:calls(".tidegate.upd")) do
		n = n + (call.did == "" and 1 or 0)
	end
	return n
end

describe("exactly once:", function()
	it("a call names the agent, the instance, and its first and last row", function()
		local g = start()
		g:send_rows(1, 5)
		local rows = g.collector:wait_rows(5)
		local instance = g.agent:wait_log("instance=(%x+)")
		assert.equal("gw", rows[1].agent)
		assert.equal(instance, (rows[1].instance:gsub("-", "")))
		assert(rows[1].first > 0 and rows[5].last >= rows[1].first)
		g.agent:wait_log("link hist is exactly_once: every turn is committed before anything is sent")
	end)

	it("a batch whose reply was lost comes again as it was, and is skipped", function()
		local g = start { collector = { tables = TABLES, faults = { { ["do"] = "apply, hang up", times = 1 } } } }
		g:send_rows(1, 20)
		g.collector:wait_rows(1)
		g:send_rows(21, 60)
		g:wait_empty()
		g:wait_numbers(1, 60)
		assert.equal(1, (skipped(g)))
	end)

	it("also by another process, which would make larger batches", function()
		local g = start { collector = { tables = TABLES, faults = { { ["do"] = "apply, say nothing" } } } }
		g:send_rows(1, 20)
		g.collector:wait_rows(1)
		g:await_taken() -- else the field broker sends them again
		g.agent:kill()
		g.collector:set { faults = {} }
		g.config.links.hist.batch = { rows = 1000 }
		g.agent:configure(g.config)
		g:start(true)
		g:send_rows(21, 60)
		g:wait_empty()
		g:wait_numbers(1, 60)
		assert(skipped(g) >= 1)
		for _, call in ipairs(g.collector:calls()) do
			assert.equal("", call.error or "")
		end
	end)

	it("also after a reload that makes larger batches", function()
		local g = start { collector = { tables = TABLES, faults = { { ["do"] = "apply, say nothing" } } } }
		g:send_rows(1, 20)
		g.collector:wait_rows(1)
		g:send_rows(21, 60)
		g.config.links.hist.batch = { rows = 1000 }
		g.agent:configure(g.config)
		assert.equal(0, (g.agent:command("reload")))
		g.collector:set { faults = {} }
		g:wait_empty()
		g:wait_numbers(1, 60)
		assert(skipped(g) >= 1)
		for _, call in ipairs(g.collector:calls()) do
			assert.equal("", call.error or "")
		end
	end)

	it("rows that are never taken are left out, and nothing is mixed up by that", function()
		local g = start { collector = { tables = TABLES, faults = {
			{ ["do"] = "error", text = "type", column = 2, value = 7 }, { ["do"] = "apply, hang up", times = 1 } } } }
		g:send_rows(1, 30)
		g:wait_empty()
		assert.equal(1, #g:dead())
		g.collector:set { faults = {} }
		assert.equal(0, (g.agent:command("dead", "retry")))
		g.collector:wait_rows(30)
		local numbers = g:numbers()
		assert.equal(7, numbers[30])
		table.sort(numbers)
		for i = 1, 30 do
			assert.equal(i, numbers[i])
		end
	end)

	it("also when the disk is full, which makes room by that", function()
		need.root()
		need.success("unshare -m true", "cannot make a mount namespace")
		local g
		g = gateway.start { idle = true, collector = { tables = TABLES }, link = merged(ONCE, { tables = TABLES }),
			script = [[
				local weight = ("x"):rep(1000)
				function on_message(topic, payload)
					assert(kdb.upd("sensor", json.decode(payload), { ctx = weight }))
				end
			]],
			agent = { wrap = function(argv)
				local mount = ("mkdir -p %s/small && mount -t tmpfs -o size=8m tmpfs %s/small && exec \"$@\""):format(
					g.agent.directory, g.agent.directory)
				return table.move(argv, 1, #argv, 7, { "unshare", "-m", "sh", "-c", mount, "sh" })
			end } }
		g.config.store = { path = g.agent.directory .. "/small/queue.db" }
		g.agent:configure(g.config)
		g.collector:kill()
		g:start()
		g:send_rows(1, 6000)
		g.agent:wait_log("the disk is nearly full; nothing is acknowledged until")
		g.collector:start()
		g:wait_numbers(1, 6000, 90)
		g.agent:wait_log("the store can be written again")
	end)

	it("through kills of the agent, lost replies, and restarts of the collector", function()
		local seconds = figures.sized(12, 300)
		math.randomseed(figures.seed)
		local g = start { script = PRODUCE }
		local kills, restarts, faults = 0, 0, 0
		local began, before = loop.now(), 0
		while loop.now() - began < seconds do
			loop.run_until(function() return false end, 0.1 + math.random() * 0.4)
			-- An answer between two accidents may come before the first happens; three in a row would be taken for
			-- the batch's fault.
			loop.eventually(function() return answered(g) > before end, "an answer")
			before = answered(g)
			local what = math.random(5)
			if what <= 2 then
				g.agent:kill()
				g:start()
				kills = kills + 1
			elseif what == 3 then
				g.collector:kill()
				loop.run_until(function() return false end, math.random() * 0.2)
				g.collector.options.faults = {} -- they would happen once more
				g.collector:start()
				restarts = restarts + 1
			else
				local kinds = { "apply, hang up", "apply, say nothing", "hang up", "half a reply" }
				g.collector:set { faults = { { ["do"] = kinds[math.random(#kinds)], times = 1 } } }
				faults = faults + 1
			end
		end
		g.collector:set { faults = {} }
		g:send({})
		local n = math.tointeger(tonumber((g.agent:wait_log("produced (%d+)"))))
		g:wait_empty(30)
		assert_each_once(g, n)
		local calls, rows = skipped(g)
		figures.print { test = "rows to kdb+, exactly once", cases = kills + restarts + faults, acknowledged = n,
			delivered = n, lost = 0, out_of_order = 0, duplicates = 0, seconds = loop.now() - began,
			more = ("%d kills, %d restarts of the collector, %d replies lost; %d calls with %d rows recognised"):format(
				kills, restarts, faults, calls, rows) }
		assert.same({}, g:dead())
	end)
end)
