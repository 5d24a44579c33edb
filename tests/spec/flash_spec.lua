--- Flash is spared: a reading that the collector acknowledges in time is never
-- written; one that must wait is written with others.
local cjson = require "cjson"
local file = require "lib.file"
local gateway = require "lib.gateway"
local loop = require "lib.loop"
local lab = require "bench.lab"

local RATE, COUNT = 100, 1000
local LINGER = 0.25

-- What the store has done so far: commits and bytes, and how many messages wait.
local function look(g)
	local code, out, err = g.agent:command("status", "--json")
	assert(code == 0, err)
	local seen = {}
	for text in out:gmatch("[^\n]+") do
		local line = cjson.decode(text)
		if line.kind == "store" then
			seen.commits = line.commits
			seen.written = line.bytes_written
		elseif line.kind == "queue" and line.link == "core" then
			seen.waiting = line.messages
		end
	end
	-- the kernel's word, not the agent's
	local io = file.read(("/proc/%d/io"):format(g.agent:pid()))
	assert.equal(seen.written, tonumber(io:match("\nwrite_bytes: (%d+)")))
	return seen
end

-- Sends `count` readings at a steady pace and waits until `waiting` of them wait in the
-- queue. Says what that cost the store in commits and bytes, and how long it took.
local function steady(g, count, waiting)
	local before, started = loop.eventually(function() return look(g) end), loop.now()
	local publisher = lab.load("publish", file.directory(), { port = g.field.port, topic = "sensors/a", rate = RATE,
		count = count, size = 64 })
	assert(publisher:finish(count / RATE + loop.deadline), "the field broker takes them all")
	local after = loop.eventually(function()
		local now = look(g)
		return now.waiting == waiting and now
	end, waiting .. " readings wait")
	return after.commits - before.commits, after.written - before.written, loop.now() - started
end

-- What starting wrote is written, and what the first readings cost is paid.
local function quiet(g)
	local last
	loop.eventually(function()
		local now = look(g)
		local same = last and now.commits == last.commits and now.written == last.written
		last = now
		return same and now.waiting == 0
	end, "the store comes to rest")
end

describe("at a steady 100 readings a second", function()
	it("nothing is committed or written while the uplink takes them", function()
		-- A machine that is busy with other tests must not make the collector late: neither for `linger`, of which each
		-- try takes three, nor for a broker that waits for the acknowledgement of what it has sent.
		local g = gateway.start { idle = true, config = { control = "control.sock" },
			field_broker = { lines = { "max_inflight_messages 1000" } } }
		g.config.store = { path = g.agent.queue_path, linger = "1s" }
		g.agent:configure(g.config)
		g:start(true)
		g:publish_readings(1, 10)
		g:wait_readings(10)
		-- If both stand still for a moment, what is under way is committed. That happens; every time it is the agent.
		local commits, written
		for times = 1, 10 do
			quiet(g)
			commits, written = steady(g, 3 * RATE, 0)
			g.collector:wait_for(10 + times * 3 * RATE)
			if commits == 0 then
				break
			end
		end
		assert.equal(0, commits)
		assert.equal(0, written)
	end)

	it("commits stay within the bound while the uplink is down", function()
		local g = gateway.start { down = true, config = { control = "control.sock" } }
		local commits, written, seconds = steady(g, COUNT, COUNT)
		-- One for each linger, or sooner for as many as mosquitto keeps in flight.
		local bound = math.max(seconds / LINGER, COUNT / 20) + 1
		assert(commits <= bound, ("%d commits in %.1f s, %g at most"):format(commits, seconds, bound))
		assert(written <= 600 * COUNT, ("%d bytes for %d readings"):format(written, COUNT))
		g.uplink.restore()
		g.collector:wait_for(COUNT, 30)
	end)
end)
