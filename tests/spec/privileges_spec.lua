--- Started as root, the agent becomes somebody else, for good and before anything that matters.
local cleanup = require "lib.cleanup"
local file = require "lib.file"
local gateway = require "lib.gateway"
local http = require "lib.http"
local loop = require "lib.loop"
local need = require "lib.need"
local net = require "lib.net"
local proc = require "lib.proc"
local tidegate = require "lib.tidegate"
local uv = require "luv"

local function id(option, user)
	return tonumber(proc.output(("id %s %s"):format(option, user)))
end

-- The scene with an agent that is to become `user`, in a directory of that user's; not started.
local function scene(user, options)
	need.root()
	options = options or {}
	options.idle = true
	options.config = options.config or {}
	options.config.user = user
	options.config.control = "control.sock"
	local g = gateway.start(options)
	assert(uv.fs_chown(g.agent.directory, id("-u", user), id("-g", user)))
	return g
end

local function assert_passes(g, text)
	g.sensor:publish("sensors/a", text)
	loop.eventually(function()
		local payloads = g.collector:payloads("^sensors/a$")
		return payloads[#payloads] == text
	end, text .. " at the collector")
end

-- The fields of /proc/PID/status, blanks made one.
local function process_status(agent)
	local fields = {}
	for name, value in file.read(("/proc/%d/status"):format(agent:pid())):gmatch("(%w+):%s*([^\n]*)\n") do
		fields[name] = value:gsub("%s+", " "):gsub(" $", "")
	end
	return fields
end

local function assert_is(agent, user)
	local uid, gid = id("-u", user), id("-g", user)
	local status = process_status(agent)
	assert.equal(("%d %d %d %d"):format(uid, uid, uid, uid), status.Uid)
	assert.equal(("%d %d %d %d"):format(gid, gid, gid, gid), status.Gid)
	assert.equal(proc.output("id -G " .. user):gsub("%s+$", ""), status.Groups)
	for _, name in ipairs { "CapInh", "CapPrm", "CapEff", "CapAmb" } do
		assert.equal(("0"):rep(16), status[name], name)
	end
	assert.equal("1", status.NoNewPrivs)
end

local function owner(path)
	return assert(uv.fs_stat(path)).uid
end

-- Options for an agent to which the machine has another /etc/passwd, with this line more.
local function with_user(line)
	need.success("unshare -m true", "cannot make a mount namespace")
	local passwd = file.write(file.directory() .. "/passwd", file.read("/etc/passwd") .. line .. "\n")
	local mount = ("mount --bind %s /etc/passwd && exec \"$@\""):format(passwd)
	return { wrap = function(argv)
		return table.move(argv, 1, #argv, 7, { "unshare", "-m", "sh", "-c", mount, "sh" })
	end }
end

describe("started as root, with `user`, the agent", function()
	it("has the rights of that user alone, and works", function()
		local port = net.free_port()
		local g = scene("nobody", { config = { http = "127.0.0.1:" .. port } })
		g.agent:start()
		g.agent:wait_log("info agent: started as root, goes on as user=nobody\n.*running name=")
		assert_is(g.agent, "nobody")
		g.field:wait_subscribed("gw-field", "sensors/#")
		assert_passes(g, "one")
		local nobody = id("-u", "nobody")
		assert.equal(nobody, owner(g.agent.queue_path))
		assert.equal(nobody, owner(g.agent.directory .. "/control.sock"))
		assert.equal("up", g.agent:link_status("core").state)
		local metrics = http.get(port, "/metrics")
		assert.equal(200, metrics.status)
		assert(metrics.body:find("tidegate_store_bytes_written_total", 1, true), metrics.body)
		assert.is_nil(g.agent:log():find("\n?warn "))
		g.agent:restart()
		assert_passes(g, "two")
		g.agent:signal("sighup")
		g.agent:wait_log("nothing has changed")
		assert.equal(0, g.agent:stop())
	end)

	it("loses its capabilities also where the kernel would let them stay", function()
		local g = scene("nobody", { agent = { wrap = function(argv)
			return table.move(argv, 1, #argv, 3, { "setpriv", "--securebits=+no_setuid_fixup" })
		end } })
		g.agent:start()
		g.agent:wait_log("running name=")
		assert_is(g.agent, "nobody")
	end)

	it("reads secrets as that user: what it cannot read it says at once, and at a reload it goes on as it was", function()
		local g = scene("nobody", { core = { username = "gw" } })
		local secret = file.write(g.agent.directory .. "/secret", "hush\n")
		assert(uv.fs_chmod(secret, 384))
		local text = file.read(g.agent.directory .. "/agent.lua"):gsub('%["username"%]', 'password = file("secret"), %0')
		g.agent:configure(text)
		for _, command in ipairs { "check", "run" } do
			local code, _, err = g.agent:command(command)
			assert.equal(78, code)
			assert(err:find("file: cannot read [^\n]*/secret: Permission denied\n"), err)
			assert(err:find("this is how it is for user nobody, which root becomes to run it", 1, true), err)
		end
		assert(uv.fs_chown(secret, id("-u", "nobody"), 0))
		g.agent:start()
		g.agent:wait_log("running name=")
		assert(uv.fs_chown(secret, 0, 0))
		local code, out = g.agent:command("reload")
		assert.equal(1, code)
		assert(out:find("secret: Permission denied", 1, true), out)
		g.field:wait_subscribed("gw-field", "sensors/#")
		assert_passes(g, "still there")
	end)

	-- A scene whose agent has run as root, which `ending` ended, and is configured to become nobody.
	local function after_root(ending)
		local g = scene("nobody")
		g.config.user = "root"
		g.agent:configure(g.config)
		g.agent:start()
		g.agent:wait_log("running name=")
		g.agent[ending](g.agent)
		g.config.user = "nobody"
		g.agent:configure(g.config)
		return g
	end

	it("says of a database that root has made how to give it away", function()
		local g = after_root("stop")
		assert.equal(0, owner(g.agent.queue_path))
		local code, _, err = g.agent:command("run")
		assert.equal(78, code)
		local cure = err:match("queue%.db belongs to root, and nobody may not write it: (chown nobody [^\n]*)\n")
		assert(cure, err)
		assert(os.execute(cure))
		g.agent:start()
		g.field:wait_subscribed("gw-field", "sensors/#")
		assert_passes(g, "mended")
	end)

	it("says of a control socket that root's agent has left behind how to get rid of it", function()
		local g = after_root("kill")
		assert(os.execute(("chown nobody %s/queue.db*"):format(g.agent.directory)))
		g.agent:start()
		assert.equal(1, (g.agent:wait()))
		local cure = g.agent:log():match("control%.sock belongs to root, and nobody may not use it; " ..
			"if no agent runs there: (rm [^\n]*)\n")
		assert(cure, g.agent:log())
		assert(os.execute(cure))
		g.agent:start()
		g.field:wait_subscribed("gw-field", "sensors/#")
		assert_passes(g, "mended")
	end)

	it("does not start as a user that there is not", function()
		local g = scene("nobody")
		g.config.user = "nobodey"
		g.agent:configure(g.config)
		for _, command in ipairs { "check", "run" } do
			local code, _, err = g.agent:command(command)
			assert.equal(78, code)
			assert(err:find("agent.lua:%d+: user: there is no user \"nobodey\" on this machine\n"), err)
		end
		assert.is_false(file.exists(g.agent.queue_path))
	end)

	it("becomes another one only after a restart", function()
		local g = scene("nobody")
		g.agent:start()
		g.agent:wait_log("running name=")
		g.config.user = "daemon"
		g.agent:configure(g.config)
		g.agent:signal("sighup")
		g.agent:wait_log("warn reload: setting user: takes effect after a restart")
		assert_is(g.agent, "nobody")
	end)
end)

describe("started as root, without `user`, the agent", function()
	-- Where the harness would say that root stays root.
	local function without_user(options)
		need.root()
		local agent = tidegate.new { config = 'return { links = { core = { url = "mqtt://127.0.0.1:1" } }, ' ..
			'store = { path = "queue.db" } }\n', wrap = options.wrap }
		return agent
	end

	it("becomes the user tidegate", function()
		local agent = without_user(with_user("tidegate:x:4711:4711::/nonexistent:/usr/sbin/nologin"))
		assert(uv.fs_chown(agent.directory, 4711, 4711))
		agent:start()
		agent:wait_log("goes on as user=tidegate\n.*running name=")
		local status = process_status(agent)
		assert.equal("4711 4711 4711 4711", status.Uid)
		assert.equal("4711", status.Groups)
		assert.equal(4711, owner(agent.queue_path))
		cleanup.defer_last(function()
			os.execute("rm -f /dev/shm/tidegate-4711-*")
		end)
	end)

	it("says what is in the way of that user", function()
		local agent = without_user(with_user("tidegate:x:4711:4711::/nonexistent:/usr/sbin/nologin"))
		agent:start()
		assert.equal(78, agent:wait())
		agent:wait_log("agent.lua: cannot be read: Permission denied\n" ..
			"error config: [^\n]*agent.lua: this is how it is for user tidegate, which root becomes to run it")
	end)

	it("stays root where there is no such user, and warns", function()
		if os.execute("id tidegate >/dev/null 2>&1") then
			return pending("there is a user tidegate here")
		end
		local agent = without_user({}):start()
		agent:wait_log('warn agent: runs as root: make a user "tidegate", or name one with `user` in agent.lua\n')
		agent:wait_log("running name=")
		assert.equal("0 0 0 0", process_status(agent).Uid)
	end)
end)

describe("not started as root, the agent", function()
	local function as_nobody(argv)
		return table.move(argv, 1, #argv, 5, { "setpriv", "--reuid=nobody", "--regid=nogroup", "--clear-groups" })
	end

	it("is who it is, and says so if `user` is another", function()
		local g = scene("nobody", { agent = { wrap = as_nobody } })
		g.config.user = "daemon"
		g.agent:configure(g.config)
		g.agent:start()
		g.agent:wait_log("warn agent: runs as nobody, and not as `user` says: only root could become \"daemon\"\n")
		g.agent:wait_log("running name=")
		assert.equal("1", process_status(g.agent).NoNewPrivs)
	end)

	it("has nothing to say if `user` is who it is", function()
		local g = scene("nobody", { agent = { wrap = as_nobody } })
		g.agent:start()
		g.agent:wait_log("running name=")
		assert.is_nil(g.agent:log():find("warn "))
	end)
end)
