--- What is measured of kdb+: what its wire costs in CPU time.
local file = require "lib.file"
local proc = require "lib.proc"
local lab = require "bench.lab"

local M = {}

--- A list of rounds of kdb_encode.c: `copy` and `encode`, nanoseconds for four columns of 100,000
-- floats, and `ratio` of the two; `rows`, `read` and `compress`, nanoseconds a row of batches of
-- 500, and `smaller`, how many times smaller they become.
function M.encoding(rounds)
	local output = proc.output(("%s %d"):format(file.quote(lab.program("KDB_ENCODE", "build/kdb_encode")), rounds))
	local results = {}
	for copy, encode, rows, read, compress, smaller in output:gmatch(
		"vector (%d+) (%d+)\nrows (%d+)\nread (%d+)\ncompress (%d+) (%S+)\n") do
		copy, encode = tonumber(copy), tonumber(encode)
		results[#results + 1] = {
			copy = copy, encode = encode, ratio = encode / copy, rows = tonumber(rows), read = tonumber(read),
			compress = tonumber(compress), smaller = tonumber(smaller),
		}
	end
	return results
end

return M
