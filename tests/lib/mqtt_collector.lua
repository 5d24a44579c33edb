--- A collector behind a broker, killed and started again as a spec likes: see
-- tests/tools/mqtt_collector.lua.
local file = require "lib.file"
local loop = require "lib.loop"
local proc = require "lib.proc"

local M = {}

local collector = {}
collector.__index = collector

--- Starts one that subscribes to `sensors/#` at QoS 1 with a session of its own. Options:
--   port        of the broker
--   ack_topic   where it acknowledges; nil: it does not
--   naive       it does not look at what a message follows
--   each_turn   how many messages it takes at a time (default 50)
function M.start(options)
	local self = setmetatable({ options = options, directory = file.directory() }, collector)
	self.path = self.directory .. "/held"
	return self:start()
end

--- Starts it again, with what it has in its file.
function collector:start()
	local options = self.options
	self.process = proc.spawn({ "lua5.4", "tests/tools/mqtt_collector.lua", tostring(options.port), self.path,
		tostring(options.each_turn or 50), options.ack_topic, options.naive and "naive" },
		{ stdout = self.directory .. "/log" })
	return self
end

--- kill -9.
function collector:kill()
	self.process:destroy()
end

--- What it holds: the numbers of the readings "r1", "r2", ... in order, and how many messages came
-- again, or too soon.
function collector:held()
	local list, again, too_soon = {}, 0, 0
	for line in file.read(self.path):gmatch("([^\n]*)\n") do
		local reading = line:match("^%+ %S+ %d+ r(%d+)$")
		if reading then
			list[#list + 1] = math.tointeger(reading)
		elseif line:sub(1, 1) == "=" then
			again = again + 1
		elseif line:sub(1, 1) == "!" then
			too_soon = too_soon + 1
		end
	end
	return list, again, too_soon
end

--- Waits until it holds `n` different readings; false if it stops getting any for `patience` seconds.
function collector:wait_held(n, patience)
	local distinct, since = 0, loop.now()
	return loop.run_until(function()
		local seen, count = {}, 0
		for _, reading in ipairs((self:held())) do
			count = count + (seen[reading] and 0 or 1)
			seen[reading] = true
		end
		if count > distinct then
			distinct, since = count, loop.now()
		end
		loop.run_until(function() return false end, 0.1)
		return count >= n or loop.now() - since > patience
	end, 120) and distinct >= n
end

return M
