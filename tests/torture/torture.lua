--- `make torture`: the long form of everything that kills, cuts, breaks and fills, and a
-- table of what came of it. Arguments are Lua patterns: only tests whose names match one of
-- them run.
--
-- Settings: TORTURE_SEED repeats a run; BUILD is where the programs are (build).
package.path = "tests/?.lua;" .. package.path

local screens = require "demo.screen"

local build = os.getenv("BUILD") or "build"
local seed = os.getenv("TORTURE_SEED") or tostring(os.time() % 100000)

-- What runs: a name and a command.
local tests = {
	{ "power_cut", build .. "/tests/power_cut 50000" },
	{ "faults", build .. "/tests/faults 1" },
	{ "pages", build .. "/tests/pages 0" },
}
for _, name in ipairs { "kill", "network", "flaps", "faults", "space", "kdb_once" } do
	tests[#tests + 1] = { name .. "_spec", "lua5.4 \"$(command -v busted)\" -r one tests/spec/" .. name .. "_spec.lua" }
end

local function wanted(name)
	for _, pattern in ipairs(arg) do
		if name:find(pattern) then
			return true
		end
	end
	return #arg == 0
end

-- A line of figures as a table.
local function parse(line)
	local figures = {}
	for key, text in line:gmatch('"([%a_]+)":"([^"]*)"') do
		figures[key] = text
	end
	for key, number in line:gmatch('"([%a_]+)":([%d.]+)') do
		figures[key] = tonumber(number)
	end
	return figures
end

-- Runs a command, shows what it says, and gathers its figures into `rows`. False: it failed.
local function run(name, command, rows)
	print("== " .. name)
	local pipe = assert(io.popen(("TORTURE=long TORTURE_SEED=%s %s 2>&1"):format(seed, command)))
	for line in pipe:lines() do
		print(line)
		if line:find("^figures: ") then
			rows[#rows + 1] = parse(line)
		end
	end
	return pipe:close() == true
end

-- What must be 0 beside what is lost and out of order.
local function otherwise_wrong(row)
	return (row.invented or 0) + (row.reused or 0) + (row.broken or 0)
end

local columns = {
	{ "cases", function(row) return row.cases end },
	{ "acknowledged", function(row) return row.acknowledged or row.promised end },
	{ "lost", function(row) return row.lost end },
	{ "out of order", function(row) return row.out_of_order end },
	{ "otherwise wrong", otherwise_wrong },
	{ "duplicates", function(row) return row.duplicates end },
	{ "seconds", function(row) return math.floor(row.seconds + 0.5) end },
}

local function print_row(name, cells)
	print("| " .. name .. " | " .. table.concat(cells, " | ") .. " |")
end

local function print_table(rows)
	local titles, rules, sums = {}, {}, {}
	for i, column in ipairs(columns) do
		titles[i], rules[i], sums[i] = column[1], "---:", 0
	end
	print_row("test", titles)
	print_row("---", rules)
	for _, row in ipairs(rows) do
		local cells = {}
		for i, column in ipairs(columns) do
			local value = column[2](row) or 0
			cells[i], sums[i] = screens.grouped(value), sums[i] + value
		end
		print_row(row.test, cells)
	end
	for i, sum in ipairs(sums) do
		sums[i] = screens.grouped(sum)
	end
	print_row("all", sums)
end

local rows, failed = {}, {}
for _, test in ipairs(tests) do
	if wanted(test[1]) and not run(test[1], test[2], rows) then
		failed[#failed + 1] = test[1]
	end
end
print()
print_table(rows)
print(("\n%s; again with TORTURE_SEED=%s make torture"):format(#failed == 0 and "all well" or
	"failed: " .. table.concat(failed, ", "), seed))
os.exit(#failed == 0 and #rows > 0)
