-- What luacheck takes for known. Scripts run in the agent's own world, tests in busted's.
max_line_length = 120

stds.tidegate = dofile("scripts/tidegate.luacheckrc").stds.tidegate

stds.tidegate_config = {
	read_globals = { "env", "file", "string", "table", "math", "tonumber", "tostring", "ipairs", "pairs" },
}

std = "lua54"
files["scripts"] = { std = "tidegate" }
files["scripts/testing"] = { std = "min" } -- runs in busted, on whatever Lua that has
files["tests/spec"] = { std = "+busted" }
files["tests/cross"] = { std = "+busted" }
files["tests/fleet/rules.lua"] = { std = "tidegate" }
files["agent.lua.example"] = { std = "tidegate_config" }
files["scripts/meta"] = { ignore = { "1", "212", "241" } } -- it declares
