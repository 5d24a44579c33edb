--- `make interop`: the agent with each broker and each client that is installed, and the tables of docs/interop.md.
-- With keys as arguments (`make interop ONLY="hivemq paho-c"`) only those run, and nothing is written.
package.path = "tests/?.lua;" .. package.path

local cjson = require "cjson"
local brokers = require "interop.brokers"
local clients = require "interop.clients"
local file = require "lib.file"
local scenarios = require "interop.scenarios"
local uv = require "luv"

local PAGE = "docs/interop.md"
local RESULTS = os.tmpname()

local function wanted(list)
	local kinds = {}
	for _, kind in ipairs(list) do
		local named = #arg == 0
		for _, key in ipairs(arg) do
			named = named or key == kind.key or key == kind.program
		end
		kinds[#kinds + 1] = named and kind or nil
	end
	return kinds
end

local function keys_of(kinds)
	local keys = {}
	for _, kind in ipairs(kinds) do
		keys[#keys + 1] = kind.version() and kind.key or nil
	end
	return table.concat(keys, ",")
end

-- Runs a spec; true if nothing failed.
local function run(spec, kinds)
	local keys = keys_of(kinds)
	local busted = 'lua5.4 "$(command -v busted)" -r one ' .. spec
	return keys == "" or os.execute(("INTEROP=%s INTEROP_RESULTS=%s %s"):format(keys, RESULTS, busted)) == true
end

-- ---- the tables ----

local function results()
	local found = {}
	for _, text in ipairs((file.lines(RESULTS, 0))) do
		local line = cjson.decode(text)
		found[line.of .. " " .. line.scenario] = line
	end
	return found
end

local function capitalized(text)
	return (text:gsub("^%l", string.upper))
end

-- A cell; what needs words gets a number, and the words below the table.
local function cell(kind, scenario, line, notes)
	if not line then
		return "did not end"
	elseif line.result == "ok" then
		return line.note and "ok: " .. line.note or "ok"
	end
	notes[#notes + 1] = ("%d. %s, %s: %s%s."):format(#notes + 1, kind.name, scenario.title, line.note,
		line.seen and (" (seen: %s)"):format(line.seen:gsub("^%S+:%d+: ", "")) or "")
	return ("%s (%d)"):format(line.result == "failed" and "**failed**" or line.result, #notes)
end

-- A table with a column for each kind, and what is to be said below it.
local function render(kinds, rows)
	local found, notes, lines = results(), {}, {}
	local head, rule = { "" }, { "---" }
	for _, kind in ipairs(kinds) do
		local version = kind.version()
		if version then
			local language = kind.language and (" (%s)"):format(kind.language) or ""
			head[#head + 1] = ("%s %s%s"):format(kind.name, version, language)
			rule[#rule + 1] = "---"
		end
	end
	lines[1], lines[2] = table.concat(head, " | "), table.concat(rule, " | ")
	for _, row in ipairs(rows) do
		local cells = { capitalized(row.title) }
		for _, kind in ipairs(kinds) do
			cells[#cells + 1] = kind.version() and cell(kind, row, found[kind.key .. " " .. row.key], notes) or nil
		end
		lines[#lines + 1] = table.concat(cells, " | ")
	end
	for i, line in ipairs(lines) do
		lines[i] = "| " .. line .. " |"
	end
	lines[#lines + 1] = ""
	table.move(notes, 1, #notes, #lines + 1, lines)
	for _, kind in ipairs(kinds) do
		if not kind.version() then
			lines[#lines + 1] = ("- %s: not run, as it is not installed (%s)."):format(kind.name, kind.missing)
		end
	end
	return table.concat(lines, "\n")
end

-- Puts a text between the two marks of that name.
local function replace(page, name, text)
	local first, last = ("<!-- %s: written by make interop -->\n"):format(name), ("\n<!-- end of %s -->"):format(name)
	local from = assert(select(2, page:find(first, 1, true)), "no mark " .. name)
	local to = assert(page:find(last, from, true), "no end of " .. name)
	return page:sub(1, from) .. "\n" .. text .. "\n" .. page:sub(to)
end

local function machine()
	return ("%s; %s, %s."):format(os.date("!%Y-%m-%d"), uv.cpu_info()[1].model, uv.os_uname().release)
end

-- The page's tables: what each is called there, whom it has, what they are asked.
local tables = {
	{ name = "brokers", kinds = wanted(brokers.all), role = "broker" },
	{ name = "sensors", kinds = wanted(clients.sensors), role = "sensor" },
	{ name = "collectors", kinds = wanted(clients.collectors), role = "collector" },
}

local well = run("tests/spec/interop_spec.lua", tables[1].kinds)
well = run("tests/spec/interop_clients_spec.lua", wanted(clients.all)) and well
local page = file.read(PAGE)
for _, part in ipairs(tables) do
	local text = render(part.kinds, scenarios.of(part.role))
	if #part.kinds > 0 then
		print(("\n%s\n\n%s"):format(capitalized(part.name), text))
	end
	page = #arg == 0 and replace(page, part.name, machine() .. "\n\n" .. text) or page
end
if #arg == 0 then
	file.write(PAGE, page)
end
os.remove(RESULTS)
os.exit(well)
