-- What luacheck takes for known. Scripts run in the agent's own world, tests in busted's.
max_line_length = 120

stds.tidegate = {
	-- what a script may define
	globals = {
		"on_message", "on_sent", "on_drop", "on_connect", "on_disconnect", "on_start", "on_stop",
	},
	-- what it is given
	read_globals = {
		"on", "log", "now", "uptime", "every", "after",
		json = { fields = { "encode", "decode", "null" } },
		metric = { fields = { "counter", "gauge" } },
		state = { read_only = false, other_fields = true },
		mqtt = {
			fields = { "conn", "disconnect", "is_connected", "link", "pub", "pubx", "sub", "subx", "unsub" },
		},
		agent = { fields = { "name", "version" } },
		-- Lua 5.4 as far as the agent lets scripts at it
		"_G", "_VERSION", "assert", "collectgarbage", "error", "getmetatable", "ipairs", "load", "next", "pairs",
		"pcall", "print", "rawequal", "rawget", "rawlen", "rawset", "require", "select", "setmetatable", "tonumber",
		"tostring", "type", "warn", "xpcall",
		"coroutine", "math", "table", "utf8",
		string = {
			fields = {
				"byte", "char", "find", "format", "gmatch", "gsub", "len", "lower", "match", "pack", "packsize",
				"rep", "reverse", "sub", "unpack", "upper",
			},
		},
		os = { fields = { "clock", "date", "difftime", "time" } },
	},
}

stds.tidegate_config = {
	read_globals = { "env", "file", "string", "table", "math", "tonumber", "tostring", "ipairs", "pairs" },
}

std = "lua54"
files["scripts"] = { std = "tidegate" }
files["tests/spec"] = { std = "+busted" }
files["agent.lua.example"] = { std = "tidegate_config" }
