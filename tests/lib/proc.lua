--- Child processes: started with their output in files, ended after the spec
-- whatever happens.
local uv = require "luv"
local cleanup = require "lib.cleanup"
local loop = require "lib.loop"

local M = {}

local process = {}
process.__index = process

-- With setpriv the kernel ends the children even if the test run itself is
-- killed; the process id stays that of the program.
local setpriv = os.execute("setpriv --pdeathsig KILL true >/dev/null 2>&1")

local function environment(extra)
	local list = {}
	for name, value in pairs(uv.os_environ()) do
		if extra[name] == nil then
			list[#list + 1] = name .. "=" .. value
		end
	end
	for name, value in pairs(extra) do
		list[#list + 1] = name .. "=" .. value
	end
	return list
end

--- Starts `argv` (a list). Options: `cwd`, `env` (added to ours), `stdout` and
-- `stderr` (files, appended to), `pipes` ({ stdin, stdout }, luv's). Returns a process with `pid`, and once it has
-- ended `code` and `signal`.
function M.spawn(argv, options)
	options = options or {}
	local args = table.move(argv, 1, #argv, 1, {})
	if setpriv then
		table.move({ "setpriv", "--pdeathsig", "KILL" }, 1, 3, 1, table.move(args, 1, #args, 4))
	end
	local program = table.remove(args, 1)
	local out = assert(uv.fs_open(options.stdout or "/dev/null", "a", 420))
	local err = assert(uv.fs_open(options.stderr or options.stdout or "/dev/null", "a", 420))
	local self = setmetatable({ name = argv[1] }, process)
	local pipes = options.pipes or {}
	local handle, pid = uv.spawn(program, {
		args = args,
		cwd = options.cwd,
		env = environment(options.env or {}),
		stdio = { pipes[1], pipes[2] or out, err },
	}, loop.guard(function(code, signal)
		self.code, self.signal = code, signal
		self.handle:close()
	end))
	uv.fs_close(out)
	uv.fs_close(err)
	if not handle then
		error(("cannot start %s: %s"):format(argv[1], pid), 2)
	end
	self.handle, self.pid = handle, pid
	cleanup.defer(function()
		self:destroy()
	end)
	return self
end

--- Runs a shell command to its end and returns what it printed; raises if it
-- failed. The loop stands still meanwhile: for short things only.
function M.output(command)
	local pipe = assert(io.popen("{ " .. command .. "; } 2>&1"))
	local text = pipe:read("a")
	local ok, _, code = pipe:close()
	if not ok then
		error(("`%s` failed (%s): %s"):format(command, code, text), 2)
	end
	return text
end

function process:running()
	return self.code == nil
end

--- Sends a signal ("sigterm"); by default to the process itself.
function process:kill(signal, pid)
	if self:running() then
		uv.kill(pid or self.pid, signal or "sigkill")
	end
end

--- Waits for the end. Returns exit status and signal number (0: none).
function process:wait(seconds)
	if not loop.run_until(function() return self.code end, seconds or loop.deadline) then
		error(("%s (%d) still runs after %g s"):format(self.name, self.pid, seconds or loop.deadline), 2)
	end
	return self.code, self.signal
end

--- Ends it at once.
function process:destroy()
	if self:running() then
		self:kill("sigcont")
		self:kill("sigkill")
		self:wait()
	end
end

--- Process ids of its children.
function process:children()
	local list = {}
	local handle = io.open(("/proc/%d/task/%d/children"):format(self.pid, self.pid))
	if handle then
		for pid in handle:read("a"):gmatch("%d+") do
			list[#list + 1] = math.tointeger(pid)
		end
		handle:close()
	end
	return list
end

return M
