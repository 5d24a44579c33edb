--- Reads what `strace -f -yy -xx` wrote: the system calls of a program in the
-- order that counts. A call that waits (a read, a sync) stands where it returned;
-- a call that lets bytes go (a write) where it began.
local file = require "lib.file"

local M = {}

--- The command line to trace the calls this module understands, into `path`.
function M.command(path, argv)
	local calls = "read,recvfrom,write,sendto,writev,sendmsg,pwrite64,fdatasync,fsync"
	local line = { "strace", "-f", "-yy", "-xx", "-s", "1000000", "-o", path, "-e", "trace=" .. calls }
	return table.move(argv, 1, #argv, #line + 1, line)
end

local waits = { read = true, recvfrom = true, fdatasync = true, fsync = true }

local function unescape(text)
	return (text:gsub("\\x(%x%x)", function(hex)
		return string.char(tonumber(hex, 16))
	end))
end

-- "name(3<what>, "\x41...", 5) = 5" into a table.
local function parse(text)
	local name, descriptor, rest = text:match("^(%w+)%(%d+<(.-)>([,)].*)$")
	if not name or rest:find("MSG_PEEK", 1, true) then
		return nil
	end
	local result = math.tointeger(tonumber(rest:match("%)%s+= (%-?%d+)[^%d\n]*$")) or -1)
	local data = {}
	for literal in rest:gmatch('"([^"]*)"') do
		data[#data + 1] = unescape(literal)
	end
	local bytes = table.concat(data)
	return { name = name, on = unescape(descriptor), result = result, data = result > 0 and bytes:sub(1, result) or bytes }
end

--- Returns the calls as a list of { name, on, data, result }: `on` is what the
-- descriptor is (a path, or "TCP:[here->there]" with addresses), `data` the bytes.
function M.calls(path)
	local calls, unfinished = {}, {}
	for line in file.read(path):gmatch("[^\n]+") do
		local pid, text = line:match("^(%d+)%s+(.*)$")
		local started = text and text:match("^(.*) <unfinished %.%.%.>$")
		local resumed = text and text:match("^<%.%.%. %w+ resumed>(.*)$")
		if started then
			unfinished[pid] = { text = started, place = #calls + 1 }
			calls[#calls + 1] = false
		elseif resumed and unfinished[pid] then
			local call = parse(unfinished[pid].text .. resumed)
			if call and not waits[call.name] then
				calls[unfinished[pid].place] = call
			else
				calls[#calls + 1] = call or false
			end
			unfinished[pid] = nil
		elseif text then
			calls[#calls + 1] = parse(text) or false
		end
	end
	local list = {}
	for i = 1, #calls do
		if calls[i] then
			list[#list + 1] = calls[i]
		end
	end
	return list
end

return M
