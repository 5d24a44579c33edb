--- What comes with Tidegate to be copied works as it is.
local file = require "lib.file"
local gateway = require "lib.gateway"
local loop = require "lib.loop"
local proc = require "lib.proc"
local uv = require "luv"

local binary = assert(uv.fs_realpath(os.getenv("TIDEGATE") or "build/tidegate"), "run make first")

local function example(name)
	return file.read("scripts/examples/" .. name)
end

describe("agent.lua.example", function()
	it("passes check when it is laid out as README says", function()
		local directory = file.directory()
		assert(uv.fs_mkdir(directory .. "/scripts", 448))
		file.write(directory .. "/agent.lua", file.read("agent.lua.example"))
		file.write(directory .. "/scripts/forward.lua", example("forward.lua"))
		local out = directory .. "/out"
		local check = proc.spawn({ binary, "check" }, { cwd = directory, stdout = out,
			env = { TIDEGATE_STORE = directory .. "/queue.db", TIDEGATE_USER = "root" } })
		local code = check:wait()
		assert.equal("agent.lua: ok (2 links, 1 script)\n", file.read(out))
		assert.equal(0, code)
	end)
end)

describe("health.lua", function()
	it("counts what came in, beside a script that forwards it", function()
		local g = gateway.start { agent = { scripts = {
			["forward.lua"] = example("forward.lua"),
			["health.lua"] = example("health.lua"),
		} } }
		assert.equal("received=0 outages=0 away=0s queued=0", g.collector:wait_topic("gateways/gw/health").payload)
		for i = 1, 5 do
			g.sensor:publish("sensors/a", "r" .. i)
		end
		g.collector:wait_for(6)
		g.uplink.cut()
		g.agent:wait_log("uplink lost")
		g.sensor:publish("sensors/a", "r6")
		g:await_taken()
		g.uplink.restore()
		local line = loop.eventually(function()
			return g.collector:payloads("^gateways/gw/health$")[2]
		end, "the line of its return")
		-- The cut may have swallowed acknowledgements: then those readings are in the queue still.
		assert(line:find("^received=6 outages=1 away=%d+s queued=[1-6]$"), line)
	end)
end)

describe("convert.lua", function()
	it("makes Celsius of Fahrenheit and lets nothing else through", function()
		local g = gateway.start { script = example("convert.lua") }
		for _, payload in ipairs { "71.6 F", "warm", "99999", "-40" } do
			g.sensor:publish("sensors/hall/fahrenheit", payload)
		end
		g.collector:wait_for(2)
		assert.same({ "22.0", "-40.0" }, g.collector:payloads("^temperature/hall$"))
	end)
end)

describe("tidegate test, given an example and its input,", function()
	local scan = assert(uv.fs_scandir("scripts/examples"))
	local names = {}
	for name in function() return uv.fs_scandir_next(scan) end do
		names[#names + 1] = name:match("^(.*)%.input%.jsonl$")
	end
	table.sort(names)
	for _, name in ipairs(names) do
		-- tidegate test scripts/examples/NAME.lua --input scripts/examples/NAME.input.jsonl >scripts/examples/NAME.output.txt
		it("prints scripts/examples/" .. name .. ".output.txt", function()
			local path, out = "scripts/examples/" .. name, os.tmpname()
			local process = proc.spawn({ binary, "test", path .. ".lua", "--input", path .. ".input.jsonl" },
				{ stdout = out, stderr = out, env = { TZ = "UTC0" } })
			local code = process:wait()
			local printed = file.read(out)
			os.remove(out)
			assert.equal(file.read(path .. ".output.txt"), printed)
			assert.equal(0, code)
		end)
	end
end)
