--- A router's root directory with the feed's files in it, and what its init script does there
-- under busybox's shell. The rest of OpenWrt is stood in for by tests/openwrt/rc.sh.
local uv = require "luv"
local file = require "lib.file"
local need = require "lib.need"
local proc = require "lib.proc"

local M = {}

M.feed = "packaging/openwrt/net/tidegate/files/"

local router = {}
router.__index = router

local function at_root(self, text)
	return (text:gsub("'(/%l+/)", function(path)
		return (path == "/srv/" or path == "/etc/" or path == "/tmp/") and "'" .. self.root .. path
	end))
end

--- Writes a file below the root; its directory is made.
function router:write(path, text)
	proc.output("mkdir -p " .. file.quote(self.root .. path:match("^(.*)/")))
	return file.write(self.root .. path, text)
end

--- What is in a file below the root.
function router:read(path)
	return file.read(self.root .. path)
end

--- Whether a file is there.
function router:exists(path)
	return uv.fs_lstat(self.root .. path) ~= nil
end

--- Writes /etc/config/tidegate; paths below /etc, /srv and /tmp are the root's.
function router:configure(text)
	self:write("/etc/config/tidegate", at_root(self, text))
end

-- One line a call, its words in brackets.
local function calls_in(text)
	local calls = {}
	for line in text:gmatch("[^\n]+") do
		local call = {}
		for word in line:gmatch("%[([^%]]*)%]") do
			call[#call + 1] = word
		end
		calls[#calls + 1] = call
	end
	return calls
end

-- A directory with busybox's own sed, sort, chmod and so on, as a router has them.
local function applets(self)
	local directory = self.root .. "/applets"
	if not file.exists(directory) then
		proc.output(("mkdir %s && busybox --install -s %s"):format(directory, directory))
	end
	return directory
end

--- Runs the init script's `start` or `reload`. Returns whether that went well and what it did:
-- `calls` (lists of words), and `logged`, a line each.
function router:run(action)
	local record = self.root .. "/record"
	os.remove(record)
	local process = proc.spawn({ "env", "PATH=" .. applets(self), "ash", uv.cwd() .. "/tests/openwrt/rc.sh", self.init,
		action }, { env = { IPKG_INSTROOT = self.root, RECORD = record }, stdout = self.root .. "/out" })
	local code = process:wait()
	assert(self:read("/out") == "", "the shell complains: " .. self:read("/out"))
	local did = { calls = calls_in(file.read(record)), logged = "" }
	for _, call in ipairs(did.calls) do
		if call[1] == "logger" then
			did.logged = did.logged .. call[#call] .. "\n"
		end
	end
	--- The calls of one name, their words in one line each, sorted.
	function did.of(name)
		local lines = {}
		for _, call in ipairs(did.calls) do
			if call[1] == name then
				lines[#lines + 1] = table.concat(call, " ", 2)
			end
		end
		table.sort(lines)
		return lines
	end
	return code == 0, did
end

--- The agent.lua that was made, as a table; `name` is "agent.lua", or "agent.lua.new" for one that
-- was refused. file(path) in it gives { file = path }.
function router:made(name)
	local text = self:read("/var/etc/tidegate/" .. (name or "agent.lua"))
	return assert(load(text, "=agent.lua", "t", { file = function(path) return { file = path } end }))()
end

--- A string as UCI has it.
function M.quote(text)
	return file.quote(text)
end

local function install(self)
	self.init = uv.cwd() .. "/" .. M.feed .. "tidegate.init"
	self:write("/usr/share/tidegate/uci.sh", file.read(M.feed .. "uci.sh"))
	self:write("/etc/tidegate/scripts/forward.lua", file.read("scripts/examples/forward.lua"))
	proc.output("mkdir -p " .. self.root .. "/usr/bin")
	self.binary = assert(uv.fs_realpath(os.getenv("TIDEGATE") or "build/tidegate"), "run make first")
	assert(uv.fs_symlink(self.binary, self.root .. "/usr/bin/tidegate"))
end

--- A fresh root, or `installed`, one with an unpacked package. `uci` is for /etc/config/tidegate.
function M.new(uci, installed)
	need.program("busybox")
	need.success("[ $(id -u) != 0 ] || ! id tidegate", "root's agent would become the user tidegate of this machine")
	local self = setmetatable({ root = installed or file.directory() }, router)
	self:configure(uci)
	if installed then
		self.init = installed .. "/etc/init.d/tidegate"
	else
		install(self)
	end
	return self
end

return M
