--- Three nodes of RabbitMQ on this machine, joined to a cluster: private ones, with files,
-- ports, a cookie and an epmd of their own, that end with the program. What is asked of
-- them is asked by erl_call, which takes milliseconds; rabbitmqctl takes seconds.
local uv = require "luv"
local cleanup = require "lib.cleanup"
local file = require "lib.file"
local loop = require "lib.loop"
local net = require "lib.net"
local proc = require "lib.proc"
local lab = require "bench.lab"

local M = {}

-- Where the collectors' messages wait.
M.queue = "fleet"

local NODES = 3
local COOKIE = "tidegate"
-- Seconds for a cluster to form on a busy machine.
local PATIENCE = 240

local CONFIGURATION = [[
listeners.tcp.1 = 127.0.0.1:%d
mqtt.listeners.tcp.1 = 127.0.0.1:%d
mqtt.tcp_listen_options.sndbuf = 32768
mqtt.tcp_listen_options.recbuf = 32768
mqtt.tcp_listen_options.buffer = 32768
cluster_formation.peer_discovery_backend = classic_config
cluster_formation.classic_config.nodes.1 = %s
cluster_formation.classic_config.nodes.2 = %s
cluster_formation.classic_config.nodes.3 = %s
cluster_partition_handling = pause_minority
raft.wal_max_size_bytes = 64000000
log.file = false
log.console = true
log.console.level = warning
]]

local cluster = {}
cluster.__index = cluster

-- Where the package is unpacked to: installed, it would start a service. What nodes are asked is
-- asked of their insides, which other versions have otherwise.
local function home()
	local pattern = (os.getenv("RABBITMQ") or "build/rabbitmq") .. "/usr/lib/rabbitmq/lib/rabbitmq_server-3.10.*"
	local path = io.popen("ls -d " .. pattern .. " 2>/dev/null"):read("l")
	return path and uv.fs_realpath(path) or lab.fail("%s is not there: make fleet unpacks that of Debian 12", pattern)
end

-- A node's environment. It takes its cookie from HOME.
local function environment(self, node)
	return {
		HOME = self.directory,
		RABBITMQ_HOME = self.home,
		RABBITMQ_NODENAME = node.name,
		RABBITMQ_MNESIA_BASE = node.directory .. "/mnesia",
		RABBITMQ_LOG_BASE = node.directory,
		RABBITMQ_CONFIG_FILE = node.directory .. "/rabbitmq.conf",
		RABBITMQ_ENABLED_PLUGINS_FILE = self.directory .. "/enabled_plugins",
		RABBITMQ_PID_FILE = node.directory .. "/pid",
		RABBITMQ_DIST_PORT = tostring(node.distribution_port),
		-- Schedulers that have nothing to do sleep: here they share two cores with everything else.
		RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS = "-kernel inet_dist_use_interface {127,0,0,1}" ..
			" +sbwt none +sbwtdcpu none +sbwtdio none",
		RUNNING_UNDER_SYSTEMD = "true", -- one process, which ends on TERM
		ERL_EPMD_PORT = tostring(self.epmd_port),
		ERL_EPMD_ADDRESS = "127.0.0.1",
	}
end

local function configure(self)
	file.write(self.directory .. "/.erlang.cookie", COOKIE)
	assert(os.execute("chmod 400 " .. file.quote(self.directory .. "/.erlang.cookie")))
	file.write(self.directory .. "/enabled_plugins", "[rabbitmq_mqtt].\n")
	for _, node in ipairs(self.nodes) do
		assert(uv.fs_mkdir(node.directory, 448))
		file.write(node.directory .. "/rabbitmq.conf", CONFIGURATION:format(node.amqp_port, node.mqtt_port,
			self.nodes[1].name, self.nodes[2].name, self.nodes[3].name))
	end
end

--- Asks a node (its number) to evaluate an Erlang expression. Returns what erl_call prints of
-- its value, or nil if there is no answer.
function cluster:ask(i, expression)
	local path = file.write(self.directory .. "/ask", expression .. ".\n")
	local command = ("ERL_EPMD_PORT=%d HOME=%s erl_call -r -sname %s -c %s -e <%s 2>&1"):format(self.epmd_port,
		file.quote(self.directory), self.nodes[i].name, COOKIE, file.quote(path))
	local ok, text = pcall(proc.output, command)
	return ok and text:match("^{ok, (.*)}%s*$") or nil, text
end

-- The same, and an error ends the program.
local function demand(self, i, expression)
	local answer, text = self:ask(i, expression)
	return answer or lab.fail("%s: %s: %s", self.nodes[i].name, expression, text)
end

--- Starts a node, the first time or again after :kill().
function cluster:start(i)
	local node = self.nodes[i]
	node.process = proc.spawn({ self.home .. "/sbin/rabbitmq-server" },
		{ cwd = node.directory, env = environment(self, node), stdout = node.log_path })
end

-- What a node says once it is one of so many, also among those that keep account of MQTT's client
-- ids together: one that is not among them is seconds late with each CONNECT.
local JOINED = "case rabbit:is_running() andalso ra:members({mqtt_node, node()}) of " ..
	"{ok, Members, _} -> {length(rabbit_nodes:all_running()), length(Members)}; _ -> no end"

--- Waits until `n` nodes run and know of each other.
function cluster:wait(n)
	local wanted = ("{%d, %d}"):format(n, n)
	local ready = loop.run_until(function()
		for i, node in ipairs(self.nodes) do
			if node.process and not node.process:running() then
				lab.fail("%s ended:\n%s", node.name, file.read(node.log_path):sub(-4000))
			end
			if node.process and self:ask(i, JOINED) ~= wanted then
				lab.sleep(0.3)
				return false
			end
		end
		return true
	end, PATIENCE)
	if not ready then
		lab.fail("no cluster of %d nodes within %d seconds", n, PATIENCE)
	end
end

--- Starts all nodes below `directory`, one after the other, for the first founds what the others
-- join: those that start at the same time can found it twice.
function M.start(directory)
	local self = setmetatable({ directory = directory .. "/cluster", home = home(), epmd_port = net.free_port(),
		nodes = {} }, cluster)
	assert(uv.fs_mkdir(self.directory, 448))
	for i = 1, NODES do
		local path = ("%s/node%d"):format(self.directory, i)
		self.nodes[i] = { name = ("fleet%d-%d@localhost"):format(i, uv.os_getpid()), directory = path,
			log_path = path .. "/log", mqtt_port = net.free_port(), amqp_port = net.free_port(),
			distribution_port = net.free_port() }
	end
	configure(self)
	proc.spawn({ "epmd", "-port", tostring(self.epmd_port), "-address", "127.0.0.1" })
	cleanup.defer(function() -- at once: there is nothing here to be kept
		for _, node in ipairs(self.nodes) do
			if node.process then
				node.process:destroy()
			end
		end
	end)
	for i = 1, NODES do
		self:start(i)
		self:wait(i)
	end
	return self
end

--- Takes all MQTT clients' connections and refuses new ones, on all nodes; collectors stay.
function cluster:close()
	demand(self, 1, "rpc:multicall(rabbit_nodes:all_running(), rabbit_maintenance, suspend_all_client_listeners, [])," ..
		'rabbit_mqtt:close_all_client_connections("outage")')
end

--- Takes connections again.
function cluster:open()
	demand(self, 1, "rpc:multicall(rabbit_nodes:all_running(), rabbit_maintenance, resume_all_client_listeners, [])")
end

local LOOKUP = ('{ok, Q} = rabbit_amqqueue:lookup(rabbit_misc:r(<<"/">>, queue, <<"%s">>)), '):format(M.queue)

--- The number of the node that leads the queue: what is published anywhere goes through it.
function cluster:leader()
	local status = demand(self, 1, LOOKUP .. "{_, Leader} = amqqueue:get_pid(Q), Leader")
	for i, node in ipairs(self.nodes) do
		if status:find(node.name, 1, true) then
			return i
		end
	end
	lab.fail("no node leads the queue: %s", status)
end

--- How many nodes hold a copy of the queue and take part, as node `i` has it.
function cluster:copies(i)
	return tonumber((demand(self, i, LOOKUP ..
		"[{online, Nodes}] = rabbit_quorum_queue:info(Q, [online]), length(Nodes)")))
end

--- How many MQTT clients a node has.
function cluster:clients(i)
	return tonumber((demand(self, i, "length([P || {_, P} <- rabbit_mqtt_collector:list(), node(P) =:= node()])")))
end

--- kill -9 of a node. Nothing of it ends in order.
function cluster:kill(i)
	local node = self.nodes[i]
	node.process:destroy()
	node.process = nil
end

--- Starts it again and waits until it is one of the cluster.
function cluster:revive(i)
	self:start(i)
	self:wait(NODES)
end

--- Bytes that the nodes' Erlang has in use, together, when all garbage is collected.
function cluster:allocated()
	return tonumber((demand(self, 1, "Nodes = rabbit_nodes:all_running(), {Lists, []} = rpc:multicall(Nodes, erlang, " ..
		"processes, []), [rpc:call(node(P), erlang, garbage_collect, [P]) || P <- lists:append(Lists)], " ..
		"{Bytes, []} = rpc:multicall(Nodes, erlang, memory, [total]), lists:sum(Bytes)")))
end

--- CPU seconds and resident bytes of the nodes that run, together.
function cluster:usage()
	local cpu, memory = 0, 0
	for _, node in ipairs(self.nodes) do
		if node.process then
			local usage = lab.usage(node.process.pid)
			cpu, memory = cpu + usage.cpu, memory + usage.memory
		end
	end
	return { cpu = cpu, memory = memory }
end

return M
