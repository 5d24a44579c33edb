--- What all of the rules library does with many series: rules.series.
local fake_agent = require "lib.fake_agent"
local property = require "lib.property"

describe("series", function()
	local agent, deadband

	before_each(function()
		agent = fake_agent.new()
		deadband = agent:require "rules.deadband"
	end)

	local function count(root)
		local n = 0
		for _ in pairs(root.series or {}) do
			n = n + 1
		end
		return n
	end

	--- The entries of state whose keys begin so.
	local function entries(name)
		local found = {}
		for key in pairs(agent.state) do
			found[#found + 1] = key:find(name .. "|", 1, true) == 1 and key or nil
		end
		return found
	end

	it("are forgotten when there are too many, those unused for longest first", function()
		local root = {}
		local d = deadband.new { by = 1, max_series = 3, state = root }
		for i = 1, 6 do
			assert.is_true(d:changed("s" .. i, 1))
		end
		assert.is_false(d:changed("s1", 1)) -- 4 5 6 were used last; with 1, 1 2 3 have their last chance
		assert.equal(4, count(root))
		assert.is_true(d:changed("s2", 1))
		assert.is_false(d:changed("s4", 1))
		assert.is_false(d:changed("s1", 1))
	end)

	it("are all kept while there are no more than max_series, however they are used", function()
		local d = deadband.new { by = 1, max_series = 50 }
		for i = 1, 500 do
			assert.equal(i <= 50, d:changed((i * 7) % 50, 1))
		end
	end)

	it("keep the max_series used last, and never more than twice as many", function()
		property.holds(50, function()
			local max, root, used = math.random(1, 10), {}, {}
			local name_in_state = property.one_of(nil, "x" .. math.random(1e9))
			local d = deadband.new { by = 1, max_series = max, state = name_in_state or root }
			for _ = 1, 300 do
				local name = math.random(15)
				local recent
				for i = 1, math.min(max, #used) do
					recent = recent or used[i] == name
				end
				if recent then
					assert.is_false(d:changed(name, 1))
				else
					d:changed(name, 1)
				end
				for i = #used, 1, -1 do
					if used[i] == name then
						table.remove(used, i)
					end
				end
				table.insert(used, 1, name)
				assert(count(root) <= 2 * max)
			end
			if name_in_state then
				assert(#entries(name_in_state) <= 2 * max)
			end
		end)
	end)

	it("take a forgotten one's room again", function()
		local d = deadband.new { by = 1, max_series = 2 }
		assert.is_true(d:changed("a", 1))
		for i = 1, 10 do
			assert.is_true(d:changed("b" .. i, 1))
			assert.is_true(d:forget("b" .. i))
			assert.is_false(d:changed("a", 1))
		end
	end)

	it("have an entry of state each", function()
		local d = deadband.new { by = 1, state = "d" }
		for _, name in ipairs { "a/b", "a|b", 7, "#7", "##7", "7", "" } do
			assert.is_true(d:changed(name, 1))
			assert.is_false(d:changed(name, 1))
		end
		local keys = entries("d")
		table.sort(keys)
		assert.same({ "d|", "d|###7", "d|##7", "d|#7", "d|7", "d|a/b", "d|a|b" }, keys)
		local names = agent:require "rules.series".new({ state = "d", max_series = 1000 }, "deadband"):names()
		assert.same({ 7, "", "##7", "#7", "7", "a/b", "a|b" }, names)
		agent.state.d = nil -- begin anew
		assert.is_true(d:changed("a/b", 1))
		assert.same({ "d|a/b" }, entries("d"))
	end)

	it("may live in a table that is part of state", function()
		agent.state.rooms = {}
		local d = deadband.new { by = 1, state = agent.state.rooms }
		assert.is_true(d:changed("a", 1))
		agent = agent:restart()
		d = agent:require "rules.deadband".new { by = 1, state = agent.state.rooms }
		assert.is_false(d:changed("a", 1))
	end)

	it("are as they were when a handler fails", function()
		local d = deadband.new { by = 1, max_series = 2, state = "d" }
		agent:call(function()
			d:changed("a", 1)
			d:changed("b", 1)
		end)
		assert.is_false(agent:call(function()
			for i = 1, 5 do
				d:changed("c" .. i, 1)
			end
			d:changed("a", 9)
			error("thrown")
		end))
		assert.is_false(d:changed("a", 1))
		assert.is_false(d:changed("b", 1))
		assert.is_true(d:changed("c1", 1))
		agent = fake_agent.new()
		d = agent:require "rules.deadband".new { state = "d" }
		assert.is_false(agent:call(function()
			d:changed("a", 1)
			error("thrown")
		end))
		assert.is_nil(agent.state.d)
		assert.is_true(d:changed("a", 1))
		assert.is_false(d:changed("a", 1))
	end)

	it("begin anew when their data is of another make, and are not mixed up", function()
		local store = agent:require "rules.series"
		local root = {}
		store.new({ state = root, max_series = 9 }, "window 10"):add("a", { n = 1 })
		assert.equal(1, store.new({ state = root, max_series = 9 }, "window 10"):get("a").n)
		assert.is_nil(store.new({ state = root, max_series = 9 }, "window 20"):get("a"))
		assert.error_matches(function()
			deadband.new({ state = root }):changed("a", 1)
		end, "state: that table holds data of rules.window: give each object a place of its own", 1, true)
		assert.error_matches(function()
			deadband.new({ state = { mine = 1 } }):changed("a", 1)
		end, "state: that table holds something else: give each object a place of its own", 1, true)
		agent.state.n = 5
		assert.error_matches(function()
			deadband.new({ state = "n" }):changed("a", 1)
		end, "state.n: expected a table, found number", 1, true)
	end)
end)
