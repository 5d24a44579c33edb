--- What docs/testing-rules.md shows is what happens.
local file = require "lib.file"
local proc = require "lib.proc"
local uv = require "luv"

local binary = assert(uv.fs_realpath(os.getenv("TIDEGATE") or "build/tidegate"), "run make first")

-- The text of the first fenced block that has `mark` in it.
local function block(text, mark)
	for body in text:gmatch("\n```%w*\n(.-)```") do
		if body:find(mark, 1, true) then
			return body
		end
	end
	error("no block with " .. mark)
end

local function run(directory, argv)
	local out = directory .. "/out"
	local process = proc.spawn(argv, { cwd = directory, stdout = out, stderr = directory .. "/err",
		env = { TIDEGATE = binary } })
	local code = process:wait()
	return code, file.read(out)
end

describe("docs/testing-rules.md", function()
	local text = file.read("docs/testing-rules.md")
	local root = uv.cwd()

	it("shows what tidegate test prints", function()
		local directory = file.directory()
		file.write(directory .. "/doors.lua", block(text, "-- doors.lua:"))
		file.write(directory .. "/doors.jsonl", block(text, '{"at":10,'))
		local code, out = run(directory, { binary, "test", "doors.lua", "--input", "doors.jsonl" })
		assert.equal(block(text, "$ tidegate test"):gsub("^.-\n", "", 1), out)
		assert.equal(0, code)
	end)

	it("shows a spec that passes", function()
		local directory = file.directory()
		file.write(directory .. "/doors.lua", block(text, "-- doors.lua:"))
		file.write(directory .. "/doors_spec.lua", block(text, "-- doors_spec.lua"))
		local code, out = run(directory, { "sh", "-c", 'exec lua5.4 "$(command -v busted)" --lpath="$1/?.lua" doors_spec.lua',
			"sh", root .. "/scripts/testing" })
		assert(out:find("2 successes", 1, true), out)
		assert.equal(0, code)
	end)
end)
