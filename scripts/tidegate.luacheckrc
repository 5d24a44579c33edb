-- What luacheck may take for known in Tidegate's scripts: the names there are, and no
-- others, so that `io.open`, `os.execute` or a misspelt `mqtt.bup` is found on the desk.
--
--	luacheck --config /usr/local/share/tidegate/tidegate.luacheckrc rules/
--
-- or in a .luacheckrc of your own:
--
--	stds.tidegate = dofile("/usr/local/share/tidegate/tidegate.luacheckrc").stds.tidegate
--	std = "tidegate"

local function fields(...)
	return { fields = { ... } }
end

local tidegate = {
	-- what a script may define
	globals = {
		"on_message", "on_sent", "on_drop", "on_connect", "on_disconnect", "on_start", "on_stop",
	},
	-- what it is given
	read_globals = {
		"on", "every", "after", "now", "uptime",
		agent = fields("name", "version"),
		json = fields("array", "decode", "encode", "null"),
		kdb = { fields = {
			"boolean", "byte", "char", "date", "decode", "dictionary", "encode", "float", "guid", "int", "long",
			"minute", "month", "plain", "raw", "real", "second", "short", "string", "symbol", "table", "time",
			"timespan", "timestamp", "upd",
			null = fields("char", "date", "float", "generic", "guid", "int", "long", "minute", "month", "real",
				"second", "short", "string", "symbol", "time", "timespan", "timestamp"),
			inf = fields("date", "float", "int", "long", "minute", "month", "real", "second", "short", "time",
				"timespan", "timestamp"),
			ninf = fields("date", "float", "int", "long", "minute", "month", "real", "second", "short", "time",
				"timespan", "timestamp"),
		} },
		log = fields("debug", "error", "info", "warn"),
		metric = fields("counter", "gauge"),
		mqtt = fields("conn", "disconnect", "is_connected", "link", "pub", "pubx", "sub", "subx", "unsub"),
		state = { read_only = false, other_fields = true },
		-- Lua 5.4 as far as scripts get it
		"_G", "_VERSION", "assert", "collectgarbage", "error", "getmetatable", "ipairs", "load", "next", "pairs",
		"pcall", "print", "rawequal", "rawget", "rawlen", "rawset", "require", "select", "setmetatable", "tonumber",
		"tostring", "type", "warn", "xpcall",
		coroutine = fields("close", "create", "isyieldable", "resume", "running", "status", "wrap", "yield"),
		math = fields("abs", "acos", "asin", "atan", "ceil", "cos", "deg", "exp", "floor", "fmod", "huge", "log",
			"max", "maxinteger", "min", "mininteger", "modf", "pi", "rad", "random", "randomseed", "sin", "sqrt",
			"tan", "tointeger", "type", "ult"),
		os = fields("clock", "date", "difftime", "time"),
		string = fields("byte", "char", "find", "format", "gmatch", "gsub", "len", "lower", "match", "pack",
			"packsize", "rep", "reverse", "sub", "unpack", "upper"),
		table = fields("concat", "insert", "move", "pack", "remove", "sort", "unpack"),
		utf8 = fields("char", "charpattern", "codepoint", "codes", "len", "offset"),
	},
}

return { stds = { tidegate = tidegate }, std = "tidegate" }
