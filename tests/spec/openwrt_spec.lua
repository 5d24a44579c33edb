--- OpenWrt: agent.lua from UCI, and what procd is told. No OpenWrt runs here: busybox's shell does,
-- with what is around an init script stood in for (tests/openwrt/rc.sh).
local broker = require "lib.broker"
local certs = require "lib.certs"
local file = require "lib.file"
local loop = require "lib.loop"
local openwrt = require "lib.openwrt"
local proc = require "lib.proc"
local uv = require "luv"

local AGENT = "config agent 'agent'\n\toption enabled '1'\n\toption store '/srv/tidegate/queue.db'\n"
local FIELD = "config link 'field'\n\toption url 'mqtt://127.0.0.1:1883'\n\tlist subscribe 'sensors/#'\n"
local CORE = "config link 'core'\n\toption url 'mqtt://127.0.0.1:1884'\n\toption default '1'\n"

local function started(uci)
	local router = openwrt.new(uci)
	local well, did = router:run("start")
	assert.truthy(well, did.logged)
	assert.equal("", did.logged)
	return router, did
end

-- It was not started, and `text` is in the log.
local function refused(uci, text)
	local router = openwrt.new(uci)
	local well, did = router:run("start")
	assert.falsy(well)
	assert.truthy(did.logged:find(text, 1, true), did.logged .. "instead of " .. text)
	assert.same({}, did.of("procd_open_instance"))
	return router
end

describe("on OpenWrt", function()
	it("the file that is shipped does nothing until it is enabled", function()
		local router = openwrt.new(file.read(openwrt.feed .. "tidegate.config"))
		local well, did = router:run("start")
		assert.truthy(well)
		assert.same({}, did.of("procd_open_instance"))
		assert.truthy(did.logged:find("enabled", 1, true))
		assert.same({ "tidegate" }, did.of("procd_add_reload_trigger"))
	end)

	it("the file that is shipped works once it is enabled", function()
		local router, did = started(file.read(openwrt.feed .. "tidegate.config"):gsub("enabled '0'", "enabled '1'"))
		local made = router:made()
		assert.same({ url = nil, urls = { "mqtt://127.0.0.1:1883" }, subscribe = { "sensors/#" },
			queue = { max_bytes = "16MB" } }, made.links.field)
		assert.equal(router.root .. "/srv/tidegate/queue.db", made.store.path)
		assert.equal("syslog", made.log.target)
		assert.same({ router.root .. "/etc/tidegate/scripts/*.lua" }, made.scripts)
		assert.same({ router.root .. "/srv/tidegate" }, did.of("procd_add_restart_mount_trigger"))
	end)

	it("procd is told how to run it", function()
		local router, did = started(AGENT .. FIELD .. CORE)
		local told = did.of("procd_set_param")
		assert.same({ "command /usr/bin/tidegate run -c " .. router.root .. "/var/etc/tidegate/agent.lua", "group tidegate",
			"limits core=0", "no_new_privs 1", "respawn 3600 5 0", "stderr 1", "stdout 1", "term_timeout 30",
			"user tidegate" }, told)
		local owned = table.concat(did.of("chown"), "\n")
		for _, line in ipairs { "-hR root:tidegate /etc/tidegate", "tidegate:tidegate /srv/tidegate",
				"tidegate:tidegate /var/run/tidegate", "root:tidegate /var/etc/tidegate/agent.lua.new" } do
			assert.truthy(owned:find(line:gsub("/", router.root .. "/", 1), 1, true), line .. " in\n" .. owned)
		end
	end)

	it("agent.lua is for root to write and for the agent to read, and the directories are", function()
		local router = started(AGENT .. FIELD .. CORE)
		for path, mode in pairs { ["/var/etc/tidegate/agent.lua"] = 416, ["/var/etc/tidegate"] = 488,
				["/var/run/tidegate"] = 488, ["/srv/tidegate"] = 488, ["/etc/tidegate/scripts/forward.lua"] = 416 } do
			assert.equal(mode, uv.fs_stat(router.root .. path).mode & 511, path)
		end
	end)

	it("the commands find agent.lua, and a file of the owner's there stays", function()
		local router = started(AGENT .. FIELD .. CORE)
		assert.equal(router:read("/var/etc/tidegate/agent.lua"), router:read("/etc/tidegate/agent.lua"))
		proc.output("rm -r " .. router.root .. "/var") -- a reboot
		assert.truthy((router:run("start")))
		assert.equal(router:read("/var/etc/tidegate/agent.lua"), router:read("/etc/tidegate/agent.lua"))
		os.remove(router.root .. "/etc/tidegate/agent.lua")
		router:write("/etc/tidegate/agent.lua", "mine")
		assert.truthy((router:run("start")))
		assert.equal("mine", router:read("/etc/tidegate/agent.lua"))
	end)

	it("the jail has the directories that it needs, and no file that could be replaced", function()
		local router = openwrt.new(AGENT .. "\tlist jail_mount '/usr/lib/x'\n\tlist jail_mount_rw '/mnt/y'\n" .. FIELD ..
			CORE:gsub("mqtt:", "mqtts:") .. "\toption ca '/etc/certificates/ca.pem'\n\toption username 'gw'\n" ..
			"\toption password_file '/etc/secrets/core'\n")
		router:write("/etc/certificates/ca.pem", file.read(certs.get().ca))
		router:write("/etc/secrets/core", "secret\n")
		local well, did = router:run("start")
		assert.truthy(well, did.logged)
		assert.same({ "tidegate log procfs ronly" }, did.of("procd_add_jail"))
		local root = router.root
		assert.same({ "/dev/shm", "/mnt/y", root .. "/srv/tidegate", root .. "/var/run/tidegate" },
			did.of("procd_add_jail_mount_rw"))
		local readable = { "/etc/TZ", "/etc/hosts", "/etc/ssl", "/usr/lib/libmicrohttpd.so.12", "/usr/lib/x",
			"/usr/share/tidegate" }
		for _, path in ipairs { "/etc/certificates", "/etc/secrets", "/etc/tidegate", "/etc/tidegate/scripts",
				"/var/etc/tidegate" } do
			readable[#readable + 1] = root .. path
		end
		table.sort(readable)
		assert.same(readable, did.of("procd_add_jail_mount"))
	end)

	it("there is no jail if the owner does not want one", function()
		local _, did = started(AGENT .. "\toption jail '0'\n" .. FIELD .. CORE)
		assert.same({}, did.of("procd_add_jail"))
		assert.same({}, did.of("procd_add_jail_mount"))
	end)
end)

describe("agent.lua from UCI", function()
	it("has every option where it belongs", function()
		local router = openwrt.new(AGENT .. [[
	option name 'gw-07'
	option http '127.0.0.1:9464'
	option durability 'normal'
	option linger '0'
	option memory '4MB'
	option call '100ms'
	option state '65536'
	option log_level 'debug'
	option log_target 'stderr'
	list script '/etc/tidegate/scripts/*.lua'
	list script '/etc/tidegate/more/a.lua'
]] .. FIELD .. [[
config link 'core'
	list url 'mqtts://a.example.com'
	list url 'mqtts://b.example.com:8884'
	option default 'yes'
	option client_id 'c'
	option username 'u'
	option password 'p'
	option version '5'
	option clean_session 'off'
	option session_expiry 'never'
	option keepalive '30'
	option receive_maximum '50'
	option window '200'
	option ack_timeout '1m'
	option socks5 'socks5://127.0.0.1:1080'
	option bind '127.0.0.1'
	option ack_topic 'acks'
	option ack_window '500'
	option ca '/etc/ca.pem'
	option capath '/etc/certs'
	option cert '/etc/cert.pem'
	option key '/etc/key.pem'
	option key_password 'kp'
	option ciphers 'ECDHE'
	option tls_version 'tlsv1.3'
	option alpn 'x-amzn-mqtt-ca'
	option psk 'abcd'
	option identity 'i'
	option insecure '0'
	option verify_host '1'
	option reconnect_min '500ms'
	option reconnect_max '2m'
	option max_bytes '1048576'
	option max_messages '1000'
	option ttl '7d'
	option overflow 'hold'
	option order 'live-first'
	option rate '12.5'
	option will_topic 'gw/state'
	option will_payload 'offline'
	option will_qos '1'
	option will_retain '1'
	option birth_topic 'gw/state'
	option birth_payload 'online'
	option birth_qos '1'
	option birth_retain '1'
]])
		router:run("start") -- it is refused: there are no such certificates
		local root = router.root
		local announced = function(payload)
			return { topic = "gw/state", payload = payload, qos = 1, retain = true }
		end
		assert.same({
			name = "gw-07", http = "127.0.0.1:9464",
			store = { path = root .. "/srv/tidegate/queue.db", durability = "normal", linger = 0 },
			limits = { memory = "4MB", call = "100ms", state = 65536 },
			log = { level = "debug", target = "stderr" },
			scripts = { root .. "/etc/tidegate/scripts/*.lua", root .. "/etc/tidegate/more/a.lua" },
			control = root .. "/var/run/tidegate/control.sock",
			links = {
				field = { urls = { "mqtt://127.0.0.1:1883" }, subscribe = { "sensors/#" }, queue = { max_bytes = "16MB" } },
				core = {
					urls = { "mqtts://a.example.com", "mqtts://b.example.com:8884" }, default = true, client_id = "c",
					username = "u", password = "p", version = "5", clean_session = false, session_expiry = "never",
					keepalive = 30, receive_maximum = 50, window = 200, ack_timeout = "1m",
					socks5 = "socks5://127.0.0.1:1080", bind = "127.0.0.1", ack_topic = "acks", ack_window = 500,
					tls = { ca = root .. "/etc/ca.pem", capath = root .. "/etc/certs", cert = root .. "/etc/cert.pem",
						key = root .. "/etc/key.pem", key_password = "kp", ciphers = "ECDHE", version = "tlsv1.3",
						alpn = "x-amzn-mqtt-ca", psk = "abcd", identity = "i", insecure = false, verify_host = true },
					reconnect = { min = "500ms", max = "2m" },
					queue = { max_bytes = 1048576, max_messages = 1000, ttl = "7d", overflow = "hold", order = "live-first",
						rate = 12.5 },
					will = announced("offline"), birth = announced("online"),
				},
			},
		}, router:made("agent.lua.new"))
	end)

	it("has every key of a link that UCI can give, and the agent knows them all", function()
		local _, did = openwrt.new(AGENT .. FIELD .. CORE .. "\toption ca '/etc/ca.pem'\n"):run("start")
		assert.truthy(did.logged:find("cannot read", 1, true), did.logged)
		assert.falsy(did.logged:find("unknown key", 1, true), did.logged)
	end)

	it("quotes whatever a value is", function()
		local nasty = { [["]], [[\]], [[\\"]], [['"'"']], "a\nb", "a\n", "\n", "\n\n", "a\\\n", "a\rb\r\n", "\r", "$(id)",
			"`id`", "$HOME", "${x:-y}", "%s%d%%", "]]", "]==]", "--", "-n", "-e", "a;b|c&d", "*", "~", "\\n", "\\065", "\t ",
			"\xff\xfe\x80", "gr\xc3\xbc\xc3\x9fe", "#{}", "a.", ".", "\\.", ".\n.", (("x\"\\\n"):rep(300)) }
		math.randomseed(20261122)
		for _ = 1, 60 do
			local bytes = {}
			for i = 1, math.random(40) do
				bytes[i] = string.char(math.random(1, 255))
			end
			nasty[#nasty + 1] = table.concat(bytes)
		end
		local uci = AGENT .. FIELD .. CORE
		for i, text in ipairs(nasty) do
			uci = uci .. ("config link 'n%d'\n\toption url 'mqtt://127.0.0.1'\n"):format(i) ..
				("\toption password %s\n\tlist subscribe %s\n"):format(openwrt.quote(text), openwrt.quote(text))
		end
		local router = openwrt.new("")
		router:write("/etc/config/tidegate", (uci:gsub("'/srv/", "'" .. router.root .. "/srv/")))
		router:run("start")
		local made = router:made("agent.lua.new")
		for i, text in ipairs(nasty) do
			assert.equal(text, made.links["n" .. i].password, "password " .. i)
			assert.equal(text, made.links["n" .. i].subscribe[1], "filter " .. i)
		end
	end)

	it("reaches the broker with a password that is hard to quote", function()
		local password = [[it's "a" \back\slash $(x) `y` %s ]] .. "\xc3\xa9"
		local users = broker.start({ users = { gw = password } })
		local router = started(AGENT .. FIELD .. CORE:gsub("1884", tostring(users.port)) ..
			"\toption username 'gw'\n\toption client_id 'gw-core'\n\toption password " .. openwrt.quote(password) .. "\n")
		proc.spawn({ router.binary, "run", "-c", router.root .. "/var/etc/tidegate/agent.lua" },
			{ stdout = router.root .. "/log" })
		users:wait_connected("gw-core")
	end)

	it("carries readings from one broker to the other", function()
		local field, core = broker.start(), broker.start()
		local collector = core:client()
		collector:subscribe("#", 1)
		local router, did = started(AGENT .. "\toption name 'gw'\n\toption log_target 'stderr'\n" ..
			FIELD:gsub("1883", tostring(field.port)) .. CORE:gsub("1884", tostring(core.port)))
		local command = did.of("procd_set_param")[1]:gsub("^command /usr/bin/tidegate ", "")
		local argv = { router.binary }
		for word in command:gmatch("%S+") do
			argv[#argv + 1] = word
		end
		local agent = proc.spawn(argv, { stdout = router.root .. "/log" })
		field:wait_subscribed("gw-field", "sensors/#")
		field:client():publish("sensors/a", "21.5", { qos = 1 })
		loop.eventually(function()
			return collector.messages[1] and collector.messages[1].payload == "21.5"
		end, "the reading arrives")
		agent:kill("sigterm")
		assert.equal(0, (agent:wait()))
	end)

	local values = {
		{ "window", "many", "core: window: expected a number, got 'many'" },
		{ "window", "1 or 2", "core: window: expected a number" },
		{ "window", "-1", "core: window: expected a number" },
		{ "rate", "1.2.3", "core: rate: expected a number" },
		{ "rate", "1e9", "core: rate: expected a number" },
		{ "window", "os.exit()", "core: window: expected a number" },
		{ "clean_session", "maybe", "core: clean_session: expected 1 or 0, got 'maybe'" },
		{ "ca", "ca.pem", "core: ca: expected an absolute path without blanks, got 'ca.pem'" },
		{ "ca", "/etc/my ca.pem", "core: ca: expected an absolute path without blanks" },
		{ "password_file", "core.secret", "core: password_file: expected an absolute path" },
		{ "windw", "5", "core: unknown option 'windw'" },
		{ "overflow", "drop", "links.core.queue.overflow: " }, -- the agent's own words from here on
		{ "ttl", "7 days", "links.core.queue.ttl: " },
		{ "window", "0", "links.core.window: " },
		{ "ca", "/nowhere/ca.pem", "links.core.tls.ca: cannot read /nowhere/ca.pem" },
	}
	for _, value in ipairs(values) do
		it(("is not made of %s '%s'"):format(value[1], value[2]), function()
			local router = refused(AGENT .. FIELD .. CORE .. ("\toption %s '%s'\n"):format(value[1], value[2]), value[3])
			assert.falsy(router:exists("/var/etc/tidegate/agent.lua"))
		end)
	end

	local files = {
		["an option that the agent does not have"] = { AGENT .. "\toption nmae 'x'\n" .. FIELD,
			"agent: unknown option 'nmae'" },
		["a list where one value is expected"] = { AGENT .. FIELD .. CORE .. "\tlist password 'x'\n",
			"core: no list expected: 'password'" },
		["a section of another kind"] = { AGENT .. FIELD .. "config broker 'b'\n\toption url 'x'\n",
			"unknown section 'broker'" },
		["a link without a name"] = { AGENT .. FIELD .. "config link\n\toption url 'mqtt://127.0.0.1'\n",
			"a link without a name" },
		["two agents"] = { AGENT .. FIELD .. "config agent 'other'\n", "'other' instead of 'agent'" },
		["a relative store"] = { AGENT:gsub("/srv/tidegate/", "") .. FIELD, "agent: store: expected an absolute path" },
		["a relative script"] = { AGENT .. "\tlist script 'scripts/*.lua'\n" .. FIELD,
			"agent: script: expected an absolute path" },
		["a password twice"] = { AGENT .. FIELD .. CORE .. "\toption password 'x'\n\toption password_file '/etc/x'\n",
			"core: password and password_file" },
	}
	for what, case in pairs(files) do
		it("is not made of a file with " .. what, function()
			refused(case[1], case[2])
		end)
	end

	it("is not started without an agent's section", function()
		local well, did = openwrt.new(FIELD):run("start")
		assert.truthy(well)
		assert.truthy(did.logged:find("config agent 'agent'", 1, true), did.logged)
		assert.same({}, did.of("procd_open_instance"))
	end)

	it("logs no password that it refuses", function()
		local _, did = openwrt.new(AGENT .. FIELD .. CORE .. "\toption password 'hunter2'\n" ..
			"\toption key_password 'hunter2'\n\toption psk 'hunter2'\n\toption window 'x'\n"):run("start")
		assert.falsy(did.logged:find("hunter2", 1, true))
	end)
end)

describe("a reload on OpenWrt", function()
	local function position(did, name)
		for i, call in ipairs(did.calls) do
			if call[1] == name then
				return i
			end
		end
	end

	it("makes agent.lua anew, signals, and lets procd see whether that is enough", function()
		local router = started(AGENT .. FIELD .. CORE)
		router:configure(AGENT .. FIELD .. CORE .. "\toption window '7'\n")
		local well, did = router:run("reload")
		assert.truthy(well, did.logged)
		assert.equal(7, router:made().links.core.window)
		assert.same({ "tidegate * HUP" }, did.of("procd_send_signal"))
		assert.truthy(position(did, "procd_send_signal") < position(did, "procd_open_instance"))
	end)

	it("with a mistake leaves the agent and its file alone", function()
		local router = started(AGENT .. FIELD .. CORE)
		local before, jail = router:read("/var/etc/tidegate/agent.lua"), router:read("/var/etc/tidegate/jail")
		for _, mistake in ipairs { "\toption window 'x'\n", "\toption overflow 'x'\n", "\toption store 'x'\n" } do
			router:configure(AGENT:gsub("/srv", "/srv/other") .. FIELD .. CORE .. mistake)
			local well, did = router:run("reload")
			assert.falsy(well)
			assert.same({}, did.of("procd_send_signal"))
			assert.same({}, did.of("start"))
			assert.equal(before, router:read("/var/etc/tidegate/agent.lua"))
			assert.equal(jail, router:read("/var/etc/tidegate/jail"))
			assert.equal(416, uv.fs_stat(router.root .. "/var/etc/tidegate/agent.lua").mode & 511)
		end
	end)

	it("and so does a start: the agent that runs is not stopped for a mistake", function()
		local router, first = started(AGENT .. FIELD .. CORE)
		router:configure(AGENT:gsub("/srv", "/srv/other") .. FIELD .. CORE .. "\toption window 'x'\n")
		local well, did = router:run("start")
		assert.truthy(well)
		assert.truthy(did.logged:find("window", 1, true))
		assert.same(first.of("procd_set_param"), did.of("procd_set_param"))
		assert.same(first.of("procd_add_jail_mount_rw"), did.of("procd_add_jail_mount_rw"))
	end)

	it("stops an agent that is not enabled any more", function()
		local router = started(AGENT .. FIELD .. CORE)
		router:configure(AGENT:gsub("enabled '1'", "enabled '0'") .. FIELD .. CORE)
		local well, did = router:run("reload")
		assert.truthy(well)
		assert.same({ "" }, did.of("start"))
		assert.same({}, did.of("procd_open_instance"))
		assert.same({}, did.of("procd_send_signal"))
	end)

	it("is understood by the agent that runs", function()
		local field, core = broker.start(), broker.start()
		local uci = AGENT .. "\toption name 'gw'\n\toption log_target 'stderr'\n" ..
			FIELD:gsub("1883", tostring(field.port)) .. CORE:gsub("1884", tostring(core.port))
		local router = started(uci)
		local agent = proc.spawn({ router.binary, "run", "-c", router.root .. "/var/etc/tidegate/agent.lua" },
			{ stdout = router.root .. "/log" })
		field:wait_subscribed("gw-field", "sensors/#")
		router:configure(uci:gsub("sensors/#", "meters/#"))
		assert.truthy((router:run("reload")))
		agent:kill("sighup")
		field:wait_subscribed("gw-field", "meters/#")
		agent:kill("sigterm")
		assert.equal(0, (agent:wait()))
	end)
end)

describe("a file of the owner's own on OpenWrt", function()
	it("is used as it is", function()
		local router = openwrt.new(AGENT .. "\toption config '/etc/tidegate/agent.lua'\n")
		router:write("/etc/tidegate/agent.lua", ([[return { links = { core = { url = "mqtt://127.0.0.1" } },
			store = { path = "%s/srv/tidegate/queue.db" } }]]):format(router.root))
		local well, did = router:run("start")
		assert.truthy(well, did.logged)
		assert.equal("command /usr/bin/tidegate run -c " .. router.root .. "/etc/tidegate/agent.lua",
			did.of("procd_set_param")[1])
		assert.falsy(router:exists("/var/etc/tidegate/agent.lua"))
		assert.same({ "/dev/shm", router.root .. "/srv/tidegate", router.root .. "/var/run/tidegate" },
			did.of("procd_add_jail_mount_rw"))
		router:write("/etc/tidegate/agent.lua", "return {")
		well, did = router:run("reload")
		assert.falsy(well)
		assert.same({}, did.of("procd_send_signal"))
	end)
end)

describe("the queue on OpenWrt", function()
	local MOUNT = "config mount\n\toption target '%s'\n\toption enabled '%d'\n"

	it("waits for the stick that it is on", function()
		local router = openwrt.new(AGENT .. FIELD .. CORE)
		router:write("/etc/config/fstab", MOUNT:format(router.root .. "/srv", 1))
		local well, did = router:run("start")
		assert.falsy(well)
		assert.truthy(did.logged:find("waiting for " .. router.root .. "/srv to be mounted", 1, true), did.logged)
		assert.falsy(router:exists("/srv/tidegate"))
		assert.same({ router.root .. "/srv/tidegate" }, did.of("procd_add_restart_mount_trigger"))
	end)

	it("waits for it also after it was there", function()
		local router = started(AGENT .. FIELD .. CORE)
		router:write("/etc/config/fstab", MOUNT:format(router.root .. "/srv/tidegate", 1))
		local well, did = router:run("start")
		assert.falsy(well)
		assert.same({}, did.of("procd_open_instance"))
	end)

	it("waits for no other and none that is off", function()
		local router = openwrt.new(AGENT .. FIELD .. CORE)
		router:write("/etc/config/fstab", MOUNT:format(router.root .. "/srv", 0) .. MOUNT:format(router.root .. "/sr", 1) ..
			MOUNT:format("/proc", 1))
		local well, did = router:run("start")
		assert.truthy(well, did.logged)
		assert.truthy(router:exists("/srv/tidegate"))
	end)

	it("is warned of where a reboot would lose it", function()
		local router = openwrt.new((AGENT:gsub("/srv/tidegate", "/tmp/queue")) .. FIELD .. CORE)
		local _, did = router:run("start")
		assert.truthy(did.logged:find("is in memory: a reboot loses what waits", 1, true), did.logged)
	end)

	it("leaves a directory that was there to its owner", function()
		local router = openwrt.new(AGENT .. FIELD .. CORE)
		router:write("/srv/tidegate/other", "")
		local well, did = router:run("start")
		assert.truthy(well)
		assert.falsy(table.concat(did.of("chown"), "\n"):find("/srv/", 1, true))
	end)
end)
