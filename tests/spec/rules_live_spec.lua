--- The rules library in a running agent.
local file = require "lib.file"
local tidegate = require "lib.tidegate"
local uv = require "luv"

local CONFIG = { links = { core = { url = "mqtt://127.0.0.1:1" } } }

describe("the rules library", function()
	it("is found beside where the program is installed", function()
		local prefix = file.directory()
		for _, directory in ipairs { "/bin", "/share", "/share/tidegate", "/share/tidegate/scripts" } do
			assert(uv.fs_mkdir(prefix .. directory, 493))
		end
		local a = tidegate.new { config = CONFIG, scripts = { ["rules.lua"] = [[
			local deadband = require "rules.deadband"
			log.info("changed: %s", deadband.new { by = 1 }:changed("a", 5))
		]] } }
		assert(uv.fs_copyfile(a.binary, prefix .. "/bin/tidegate"))
		a.binary = prefix .. "/bin/tidegate"
		assert.equal(78, a:start():wait())
		assert.truthy(a:log():find("module 'rules.deadband' not found", 1, true))
		assert.truthy(a:log():find(prefix .. "/share/tidegate/scripts/lib/rules/deadband.lua", 1, true))
		assert(uv.fs_symlink(uv.fs_realpath("scripts/lib"), prefix .. "/share/tidegate/scripts/lib"))
		a:start():wait_log("changed: true")
	end)

	it("does with data in state what it does with data in memory", function()
		tidegate.start { config = CONFIG, scripts = {
			["both_ways.lua"] = file.read("tests/lib/both_ways.lua"),
			["rules.lua"] = [[
				local step, n = require "both_ways"(3), 0
				every(0.01, function()
					for _ = 1, 10 do
						step()
					end
					n = n + 1
					if n == 40 then
						log.info("agreed")
					end
				end)
			]],
		} }:wait_log("script rules.lua: (%l+)", 60)
	end)

	it("remembers over a restart what is in state", function()
		local a = tidegate.start { config = CONFIG, scripts = { ["rules.lua"] = [[
			local level = require "rules.deadband".new { by = 1, state = "levels" }
			local minute = require "rules.window".new { state = "minute", percentiles = true }
			function on_start()
				local changed = level:changed("tanks/a", 5)
				minute:add("tanks/a", changed and 2 or 4)
				log.info("changed=%s mean=%s", changed, minute:mean("tanks/a"))
			end
		]] } }
		a:wait_log("changed=true mean=2.0")
		a:restart():wait_log("changed=false mean=3.0")
	end)
end)
