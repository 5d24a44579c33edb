--- A real mosquitto on a free port, with a configuration made here and a data
-- directory of its own; it can be stopped, killed and started again on both.
local cleanup = require "lib.cleanup"
local client = require "lib.client"
local file = require "lib.file"
local loop = require "lib.loop"
local need = require "lib.need"
local net = require "lib.net"
local proc = require "lib.proc"

local M = {}

local broker = {}
broker.__index = broker

local function listener(lines, port, more)
	lines[#lines + 1] = ("listener %d 127.0.0.1"):format(port)
	for _, line in ipairs(more) do
		lines[#lines + 1] = line
	end
end

local function access(self, lines)
	local options = self.options
	lines[#lines + 1] = "allow_anonymous " .. tostring(options.users == nil)
	if options.users then
		local path = self.directory .. "/passwords"
		local entries = {}
		for name, password in pairs(options.users) do
			entries[#entries + 1] = name .. ":" .. password .. "\n"
		end
		file.write(path, table.concat(entries))
		proc.output("mosquitto_passwd -U " .. path)
		lines[#lines + 1] = "password_file " .. path
	end
	if options.acl then
		lines[#lines + 1] = "acl_file " .. file.write(self.directory .. "/acl", options.acl)
		os.execute("chmod 600 " .. self.directory .. "/acl")
	end
end

local function write_configuration(self)
	local options = self.options
	local lines = { "user root", "log_type all", "log_dest stderr", "connection_messages true",
		"persistence " .. tostring(options.persistence == true), "persistence_location " .. self.directory .. "/",
		"max_queued_messages " .. (options.max_queued or 0), "queue_qos0_messages false" }
	access(self, lines)
	for _, line in ipairs(options.lines or {}) do
		lines[#lines + 1] = line
	end
	listener(lines, self.port, options.listener or {})
	if options.tls then
		listener(lines, self.tls_port, { "cafile " .. options.tls.ca, "certfile " .. options.tls.cert,
			"keyfile " .. options.tls.key, "require_certificate " .. tostring(options.tls.require_certificate == true),
			table.unpack(options.tls.lines or {}) })
	end
	if options.psk then
		local entries = {}
		for identity, key in pairs(options.psk) do
			entries[#entries + 1] = identity .. ":" .. key .. "\n"
		end
		listener(lines, self.psk_port, { "psk_hint tests",
			"psk_file " .. file.write(self.directory .. "/psk", table.concat(entries)) })
	end
	file.write(self.directory .. "/mosquitto.conf", table.concat(lines, "\n") .. "\n")
end

--- Starts a broker and waits until it takes connections. Options:
--   persistence   keep sessions and messages across :stop() and :start()
--   users         { name = password }: no anonymous clients
--   acl           text of an ACL file
--   tls           { ca, cert, key, require_certificate, lines }: a second listener, `tls_port`
--   psk           { identity = key in hexadecimal digits }: another one, `psk_port`
--   listener      lines for the plain listener; lines: for the top
--   max_queued    messages kept for a client that is away (default: no limit)
-- `port` is the plain listener's.
function M.start(options)
	need.program("mosquitto")
	local self = setmetatable({ options = options or {}, directory = file.directory(), port = net.free_port(), seen = {} },
		broker)
	self.tls_port = self.options.tls and net.free_port()
	self.psk_port = self.options.psk and net.free_port()
	self.log_path = self.directory .. "/mosquitto.log"
	write_configuration(self)
	self:start()
	cleanup.on_failure(function()
		return os.getenv("TIDEGATE_BROKER_LOG") and
			("---- broker on port %d ----\n%s"):format(self.port, self:log()) or ""
	end)
	return self
end

--- Starts it again after :stop() or :kill(), on the same ports and data.
function broker:start()
	local runs = select(2, self:log():gsub(" running\n", ""))
	self.process = proc.spawn({ "mosquitto", "-c", self.directory .. "/mosquitto.conf" }, { stdout = self.log_path })
	loop.eventually(function()
		if not self.process:running() then
			error("mosquitto ended: " .. self:log(), 0)
		end
		return select(2, self:log():gsub(" running\n", "")) > runs
	end, "mosquitto running")
	return self
end

--- Ends it with TERM; with persistence it writes its database first.
function broker:stop()
	self.process:kill("sigterm")
	self.process:wait()
end

--- Ends it with KILL.
function broker:kill()
	self.process:destroy()
end

--- Gives it other users, and has it read them; who is connected stays.
function broker:set_users(users)
	local before = self:occurrences("Reloading config.")
	self.options.users = users
	access(self, {})
	self.process:kill("sighup")
	loop.eventually(function()
		return self:occurrences("Reloading config.") > before
	end, "mosquitto reads its users")
end

--- Everything it has logged.
function broker:log()
	return file.read(self.log_path)
end

--- How often the plain text occurs in its log. Reads only what is new since it
-- was last asked for the same text.
function broker:occurrences(text)
	local seen = self.seen[text] or { offset = 0, count = 0 }
	self.seen[text] = seen
	local log = assert(io.open(self.log_path, "rb"))
	log:seek("set", seen.offset)
	for line in log:lines("L") do
		if line:sub(-1) ~= "\n" then
			break
		end
		seen.offset = seen.offset + #line
		seen.count = seen.count + (line:find(text, 1, true) and 1 or 0)
	end
	log:close()
	return seen.count
end

--- How many times a client of that id has been welcomed.
function broker:connections(client_id)
	return self:occurrences((" as %s ("):format(client_id))
end

--- Waits until `client_id` has been welcomed `n` times (default 1).
function broker:wait_connected(client_id, n)
	loop.eventually(function()
		return self:connections(client_id) >= (n or 1)
	end, ("%s connects to the broker"):format(client_id))
end

--- Waits until the broker has taken a subscription of `client_id` to `filter`.
function broker:wait_subscribed(client_id, filter)
	local pattern = ("\n[%%d]+: %s %%d %s\n"):format(client_id:gsub("%p", "%%%0"), filter:gsub("%p", "%%%0"))
	loop.eventually(function()
		return self:log():find(pattern)
	end, ("%s subscribes to %s"):format(client_id, filter))
end

--- Waits until a client has acknowledged to it everything of QoS 1 that `sensor`, another
-- one, has published: it must have subscribed to that at QoS 1.
function broker:wait_acknowledged(client_id, sensor, seconds)
	local sent = ("Received PUBLISH from %s (d0, q1"):format(sensor.client_id)
	loop.eventually(function()
		return self:occurrences("Received PUBACK from " .. client_id) >= self:occurrences(sent)
	end, client_id .. " acknowledges everything", seconds)
end

--- A test client connected to it; see tests/lib/client.lua.
function broker:client(options)
	return client.connect(self.port, options)
end

return M
