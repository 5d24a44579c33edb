--- A collector behind a broker, in a process that can be killed. Like most, it stands on a library
-- that acknowledges to the broker when a message has come, whatever the program has done with it
-- until then; the program takes one after the other, and puts it into a file.
--
--	lua5.4 tests/tools/mqtt_collector.lua PORT FILE EACH_TURN [ACK_TOPIC [naive]]
--
-- With ACK_TOPIC it keeps the rule of agent/ack_line.h: it holds a message if it holds the one
-- that message follows, and then says so. In the file: `+ INSTANCE SEQ PAYLOAD` for what it
-- holds, `= SEQ` for what came again, `! SEQ` for what came too soon; a naive one takes that, too.
package.path = arg[0]:match("^(.*)tools/") .. "?.lua;" .. package.path
local client = require "lib.client"
local loop = require "lib.loop"

local port, path, each_turn, ack_topic = math.tointeger(arg[1]), arg[2], math.tointeger(arg[3]), arg[4]
local naive = arg[5] ~= nil
local marks = {} -- the last number it holds, by instance

for line in io.open(path, "a+"):lines() do
	local instance, seq = line:match("^%+ (%S+) (%d+) ")
	if instance then
		marks[instance] = math.tointeger(seq)
	end
end
local file = assert(io.open(path, "a"))

local function write(...)
	file:write(table.concat({ ... }, " "), "\n")
end

-- Returns the instance it can say something about.
local function take(payload)
	local instance, seq, after, reading = payload:match('^{"instance":"(%x+)","seq":(%d+),"after":(%d+)}\n(.*)$')
	if not ack_topic or not instance then
		write("+ - 0", payload)
		return nil
	end
	local mark = marks[instance] or 0
	seq, after = math.tointeger(seq), math.tointeger(after)
	if seq <= mark then
		write("=", seq)
	elseif after <= mark or naive then
		write("+", instance, seq, reading)
		marks[instance] = seq
	else
		write("!", seq)
		return nil
	end
	return instance
end

local function acknowledge(connection, instance)
	connection:post(ack_topic, ('{"instance":"%s","seq":%d}'):format(instance, marks[instance]), { qos = 0 })
end

local function connect(connection)
	if connection then
		connection:reconnect()
	else
		connection = client.connect(port, { client_id = "collector", clean = false })
	end
	return connection:subscribe("sensors/#", 1)
end

local connection
local backlog, first = {}, 1
while true do
	if not connection or connection.closed then
		local ok, result = pcall(connect, connection)
		connection = ok and result or connection
		loop.turn(ok and 0.001 or 0.1)
	end
	loop.turn(first <= #backlog and 0.001 or 0.01)
	if connection then
		table.move(connection.messages, 1, #connection.messages, #backlog + 1, backlog)
		connection.messages = {}
	end
	local said
	for _ = 1, math.min(each_turn, #backlog - first + 1) do
		said = take(backlog[first].payload) or said
		first = first + 1
	end
	if first > #backlog then
		backlog, first = {}, 1
	end
	file:flush()
	if said and not connection.closed then
		acknowledge(connection, said)
	end
end
