--- What `make fleet` has measured: as lines of JSON in a file that the simulation reads, and
-- the arithmetic of it.
local cjson = require "cjson"
local file = require "lib.file"

local M = {}

--- The value below which `p` percent of a list are; the list is left as it is.
function M.percentile(list, p)
	local sorted = table.move(list, 1, #list, 1, {})
	table.sort(sorted)
	return sorted[math.max(1, math.ceil(#sorted * p / 100))]
end

function M.median(list)
	return M.percentile(list, 50)
end

--- The differences of two lists, one by one.
function M.minus(after, before)
	local list = {}
	for i, value in ipairs(after) do
		list[i] = value - before[i]
	end
	return list
end

--- The most of the sorted times within `seconds`.
function M.most_within(times, seconds)
	local most, first = 0, 1
	for last = 1, #times do
		while times[last] - times[first] > seconds do
			first = first + 1
		end
		most = math.max(most, last - first + 1)
	end
	return most
end

--- How many a second the sorted times are between the p-th and the (100 - p)-th percentile; the
-- ends are left out, for there the few decide.
function M.pace(times, p)
	local from, till = math.ceil(#times * p / 100), math.floor(#times * (100 - p) / 100)
	return (till - from) / math.max(times[till] - times[from], 0.001)
end

--- A file of figures, empty at first. `:add(name, figures)` appends a line.
function M.create(path)
	file.write(path, "")
	return {
		add = function(_, name, figures)
			local line = { figure = name }
			for key, value in pairs(figures) do
				line[key] = math.type(value) == "float" and math.floor(value * 10000 + 0.5) / 10000 or value
			end
			local handle = assert(io.open(path, "a"))
			assert(handle:write(cjson.encode(line), "\n"))
			assert(handle:close())
			return line
		end,
	}
end

--- Reads such a file: figures by name.
function M.load(path)
	local all = {}
	for text in file.read(path):gmatch("[^\n]+") do
		local line = cjson.decode(text)
		all[line.figure] = line
	end
	return all
end

return M
