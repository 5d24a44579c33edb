--- Damaged and foreign databases, as an unattended gateway meets them: it goes on with
-- what can be salvaged, and keeps what it found.
local file = require "lib.file"
local gateway = require "lib.gateway"
local loop = require "lib.loop"
local need = require "lib.need"

local PAGE = 4096
local PER_PAGE = 4 -- readings with the weight below

-- Each takes about a kilobyte in the database.
local heavy = [[
	local weight = ("x"):rep(900)
	function on_message(topic, payload)
		assert(mqtt.pub(topic, payload, { ctx = weight }))
	end
]]

--- Fills `count` pages of the file with rubbish, from the share `from` of it on.
local function spoil(path, from, count)
	local handle = assert(io.open(path, "r+b"))
	local pages = handle:seek("end") // PAGE
	handle:seek("set", math.floor(pages * from) * PAGE)
	handle:write(("\xa5"):rep(PAGE * count))
	handle:close()
end

local function moved_files(g)
	local found = {}
	for name in io.popen("ls " .. g.agent.directory):lines() do
		if name:find("^queue%.db%.corrupt%-%d+%-%d+$") then
			found[#found + 1] = g.agent.directory .. "/" .. name
		end
	end
	return found
end

--- Raises unless the readings came in order; returns how many of 1 to n did not come.
local function missing(g, n)
	local have, highest, count = {}, 0, n
	for place, reading in ipairs(g:readings()) do
		if not have[reading] then
			assert(reading > highest, ("reading %d came at place %d, after %d"):format(reading, place, highest))
			have[reading], highest = true, reading
			count = reading <= n and count - 1 or count
		end
	end
	return count
end

local function wait_for_reading(g, n)
	loop.eventually(function()
		for _, reading in ipairs(g:readings()) do
			if reading == n then
				return true
			end
		end
	end, "the collector has reading " .. n, 60)
end

local N = 6000 -- more than the log takes before it is written to the database

local function with_backlog(options)
	options.down = true
	options.script = heavy
	local g = gateway.start(options)
	g:publish_readings(1, N)
	g:await_taken(60)
	return g
end

describe("a damaged database", function()
	it("is salvaged when the agent starts, but for what was on the damaged pages", function()
		local g = with_backlog {}
		g.agent:stop()
		spoil(g.agent.queue_path, 0.5, 3)
		g:start()
		g.uplink.restore()
		g:publish_readings(N + 1, N + 10)
		wait_for_reading(g, N + 10)
		local lost = missing(g, N)
		assert.truthy(lost > 0 and lost <= 3 * PER_PAGE, lost .. " are missing")
		g.agent:wait_log("salvaged messages=%d+ unreadable_places=%d+ times=1")
		assert.equal(1, #moved_files(g))
	end)

	it("is replaced when that shows while it is in use, and nothing that was acknowledged later is lost", function()
		local g = with_backlog {}
		local pid = g.agent:pid()
		spoil(g.agent.queue_path, 0.4, 2)
		g:publish_readings(N + 1, N + 100)
		g.uplink.restore()
		g:publish_readings(N + 101, N + 200)
		g.agent:wait_log("the database is corrupt; nothing more is acknowledged", 30)
		g:publish_readings(N + 201, N + 210)
		wait_for_reading(g, N + 210)
		local lost = missing(g, N + 210)
		assert.truthy(lost > 0 and lost <= 2 * PER_PAGE, lost .. " are missing")
		assert.equal(pid, g.agent:pid())
		assert.equal(1, #moved_files(g))
		local _, instances = g.agent:log():gsub("running name=", "")
		assert.equal(2, instances)
	end)

	for what, contents in pairs {
		["no database at all"] = ("Somebody's thesis. "):rep(1000),
		["a database with a broken header"] = ("\0"):rep(PAGE) .. ("x"):rep(PAGE),
	} do
		it("makes room for a new one if it is " .. what, function()
			local g = gateway.start { idle = true }
			file.write(g.agent.queue_path, contents)
			g:start(true)
			g:publish_readings(1, 10)
			assert.equal(0, gateway.assert_in_order(g:wait_readings(10)))
			g.agent:wait_log("the database was damaged %(file is not a database%)")
			assert.equal(contents, file.read(moved_files(g)[1]))
		end)
	end

	it("of another program is moved aside as it is", function()
		need.program("sqlite3")
		local g = gateway.start { idle = true }
		g.agent.process = { running = function() return false end }
		g.agent:sql("CREATE TABLE precious (x); INSERT INTO precious VALUES (42)")
		local before = file.read(g.agent.queue_path)
		g:start(true)
		g.agent:wait_log("is an SQLite database, but not Tidegate's")
		assert.equal(before, file.read(moved_files(g)[1]))
	end)

	it("of a newer version is refused and stays", function()
		need.program("sqlite3")
		local g = gateway.start()
		g.agent:stop()
		local version = g.agent:sql("PRAGMA user_version")[1][1]
		g.agent:sql("PRAGMA user_version = 99")
		local before = file.read(g.agent.queue_path)
		g.agent:start()
		assert.equal(1, (g.agent:wait()))
		assert.truthy(g.agent:log():find("has schema version 99, this program knows", 1, true))
		assert.equal(before, file.read(g.agent.queue_path))
		assert.equal(0, #moved_files(g))
		g.agent:sql("PRAGMA user_version = " .. version)
		g:start(true)
	end)
end)

describe("a database that an outage has made large", function()
	it("is small again when the outage is over", function()
		local g = gateway.start { down = true, script = heavy }
		g:publish_readings(1, 20000)
		g:await_taken(60)
		assert.truthy(file.size(g.agent.queue_path) > 10 * 1024 * 1024)
		g.uplink.restore()
		g:wait_readings(20000, 60)
		loop.eventually(function()
			return file.size(g.agent.queue_path) < 512 * 1024 and file.size(g.agent.queue_path .. "-wal") < 512 * 1024
		end, "the file is small")
	end)
end)
