--- Stands between the agent and the system: a wall clock and a boot as the spec wants
-- them, a kill at a given acknowledgement. See tests/tools/shim.c; $SHIM is the
-- library, build/shim.so by default.
local uv = require "luv"
local file = require "lib.file"

local M = {}

local shim = {}
shim.__index = shim

--- Adds it to the environment `env` of an agent, from its next start on.
function M.preload(env)
	local path = os.getenv("SHIM") or "build/shim.so"
	env.LD_PRELOAD = assert(uv.fs_realpath(path), path .. " is not there: run make build/shim.so first")
	env.ASAN_OPTIONS = "verify_asan_link_order=0"
	return env
end

local function overwrite(self)
	local handle = assert(io.open(self.path, "r+b"))
	handle:write(string.pack("<i8i8z", self.wall_ms, self.boot_ms, self.boot))
	handle:close()
end

--- Gives the agent whose environment is `env` clocks that can be set.
function M.clock(env)
	local self = setmetatable({ path = file.directory() .. "/clock", wall_ms = 0, boot_ms = 0, boot = "" }, shim)
	file.write(self.path, ("\0"):rep(64))
	M.preload(env).SHIM_CLOCK = self.path
	return self
end

--- Sets the agent's wall clock to `seconds` since 1970, at once.
function shim:set(seconds)
	local now, micro = uv.gettimeofday()
	self.wall_ms = math.floor(seconds * 1000) - now * 1000 - micro // 1000
	overwrite(self)
end

--- What the agent's wall clock says, in seconds since 1970.
function shim:now()
	local now, micro = uv.gettimeofday()
	return now + micro / 1e6 + self.wall_ms / 1000
end

--- Lets the machine have been booted a moment ago, under another name; for the
-- agent's next start. Its wall clock is set to `seconds`.
function shim:boot_again(name, seconds)
	self.boot_ms, self.boot = -math.floor(uv.uptime() * 1000) + 5000, name
	self:set(seconds)
end

return M
