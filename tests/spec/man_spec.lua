--- Manual pages and completion know every command, option and key that there is.
local file = require "lib.file"
local need = require "lib.need"
local proc = require "lib.proc"
local uv = require "luv"

local binary = file.quote(assert(uv.fs_realpath(os.getenv("TIDEGATE") or "build/tidegate"), "run make first"))

local function commands()
	local list = {}
	for name in proc.output(binary .. " help"):gmatch("\n  (%l+)%s") do
		list[#list + 1] = name
	end
	assert(#list >= 10)
	return list
end

-- As in the command's usage.
local function options(command)
	local usage, list = proc.output(binary .. " help " .. command):match("^(.-)\n\n"), {}
	for option in usage:gmatch("%[(%-[%w-]+)") do
		list[#list + 1] = option
	end
	return list
end

-- The part of a page between a line and the next that matches one of the patterns.
local function section(page, start, ends)
	local from = assert(select(2, page:find("\n" .. start .. "\n", 1, true)), start)
	local text = page:sub(from)
	local to = #text
	for _, mark in ipairs(ends) do
		to = math.min(to, text:find("\n" .. mark, 2, true) or to)
	end
	return text:sub(1, to)
end

-- What the completion offers for the last of `words`.
local function complete(...)
	local words = { "tidegate", ... }
	local quoted = {}
	for i, word in ipairs(words) do
		quoted[i] = file.quote(word)
	end
	local script = ("source packaging/completion/tidegate.bash; COMP_WORDS=(%s); COMP_CWORD=%d; _tidegate; " ..
		'printf "%%s\\n" "${COMPREPLY[@]}"'):format(table.concat(quoted, " "), #words - 1)
	local list = {}
	for word in proc.output("bash -c " .. file.quote(script)):gmatch("[^\n]+") do
		list[#list + 1] = word
	end
	table.sort(list)
	return list
end

describe("tidegate(1)", function()
	local page = file.read("docs/man/tidegate.1")

	it("has every command, with its options", function()
		local synopsis = section(page, ".Sh SYNOPSIS", { "%.Sh" })
		for _, command in ipairs(commands()) do
			assert(synopsis:find("\n.Cm " .. command .. "%f[\n ]"), command .. " is not in the synopsis")
			local text = section(page, ".It Cm " .. command, { "%.It Cm %l+\n", "%.Sh" })
			for _, option in ipairs(options(command)) do
				assert(text:find("Fl " .. option:sub(2), 1, true), command .. " " .. option)
			end
		end
	end)
end)

describe("tidegate.lua(5)", function()
	local page = file.read("docs/man/tidegate.lua.5")
	-- Where the keys of each table in the source are.
	local places = {
		config = { ".Sh TOP LEVEL" },
		store = { ".Ss store" },
		limits = { ".Ss limits" },
		log = { ".Ss log" },
		link = { ".Ss All links", ".Ss MQTT links", ".Ss kdb+ links" },
		kdb_batch = { ".Ss batch" },
		subscription = { ".Ss subscribe" },
		announcement = { ".Ss will and birth" },
		reconnect = { ".Ss reconnect" },
		queue = { ".Ss queue" },
		tls = { ".Ss tls" },
	}

	it("has every key", function()
		local n = 0
		for _, source in ipairs { "config", "config_link", "config_kdb" } do
			local text = file.read("agent/" .. source .. ".c"):gsub("KEY_FIRST", '"[1]"')
			for name, body in text:gmatch("const struct field ([%w_]+)_fields%[%] = (%b{})") do
				local where = ""
				for _, place in ipairs(assert(places[name], name .. " has no place in the page")) do
					where = where .. section(page, place, { "%.Ss", "%.Sh" })
				end
				for key in body:gmatch('%.key = "([^"]+)"') do
					assert(where:find("\n.It Va " .. key .. "\n", 1, true), name .. "." .. key .. " is missing")
					n = n + 1
				end
			end
		end
		assert(n >= 70, "only " .. n .. " keys were found in the source")
	end)
end)

describe("completion for zsh", function()
	local text = file.read("packaging/completion/_tidegate")
	for name, words in text:gmatch("\n(_tidegate_%l+)=%('([^%[']+)") do
		text = text:gsub("%$" .. name .. "%f[^%w_]", "'" .. words .. "[")
	end

	it("offers every command, and every option of each", function()
		for _, command in ipairs(commands()) do
			assert(text:find("\n\t\t'" .. command .. ":", 1, true), command)
			local branch = text:match("\n\t[%l| ]*%f[%l]" .. command .. "%f[^%l][%l| ]*%)(.-);;") or ""
			for _, option in ipairs(options(command)) do
				assert(branch:find("[^%w-]" .. option:gsub("%-", "%%-") .. "%["), command .. " " .. option)
			end
		end
	end)

	it("is understood by zsh", function()
		need.program("zsh")
		assert.equal("", proc.output("zsh -n packaging/completion/_tidegate 2>&1"))
	end)
end)

describe("completion for bash", function()
	it("offers every command, and every option of each", function()
		local list = commands()
		table.sort(list)
		assert.same(list, complete(""))
		assert.same(list, complete("help", ""))
		for _, command in ipairs(list) do
			local wanted = options(command)
			if #wanted > 0 then
				table.sort(wanted)
				local seen, unique = {}, {}
				for _, option in ipairs(wanted) do
					if not seen[option] then
						unique[#unique + 1] = option
					end
					seen[option] = true
				end
				assert.same(unique, complete(command, "-"))
			end
		end
	end)

	it("offers what is begun, words, and files", function()
		assert.same({ "reload", "replay" }, complete("re"))
		assert.same({ "export", "list", "purge", "show" }, complete("queue", ""))
		assert.same({ "list", "purge", "retry", "show" }, complete("dead", ""))
		assert.same({ "decode" }, complete("kdb", "d"))
		assert.same({ "agent.lua.example" }, complete("run", "-c", "agent.l"))
		assert.same({ "README.md" }, complete("test", "READ"))
		assert.same({}, complete("replay", "x", "--for", ""))
	end)
end)
