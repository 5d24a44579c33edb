--- docs/tls.md, word for word: its commands, its files, and every message that it explains.
local cleanup = require "lib.cleanup"
local document = require "lib.document"
local file = require "lib.file"
local loop = require "lib.loop"
local need = require "lib.need"
local net = require "lib.net"
local proc = require "lib.proc"
local uv = require "luv"

local DOCUMENT = "docs/tls.md"
local binary = assert(uv.fs_realpath(os.getenv("TIDEGATE") or "build/tidegate"), "run make first")

-- The scene: everything in one directory, other ports than the document's.
local scene = {}
scene.__index = scene

local function new_scene()
	need.program("mosquitto")
	need.program("openssl")
	local ports = { ["8883"] = net.free_port(), ["8884"] = net.free_port() }
	return setmetatable({ directory = file.directory(), ports = ports }, scene)
end

function scene:path(name)
	return self.directory .. "/" .. name
end

-- As the user who tries it would: root's broker would become the user mosquitto, who cannot come here, and
-- quick reconnects.
function scene:adapt(commands)
	commands = commands:gsub("%f[%d]888[34]%f[%D]", self.ports)
	if uv.getuid() == 0 then
		commands = commands:gsub("(\nuse_identity_as_username true\n)", "%1user root\n")
		commands = commands:gsub("\nreturn {", '\nreturn { user = "root",')
	end
	return (commands:gsub("core = {", '%0 reconnect = { min = "50ms", max = "100ms" },'))
end

function scene:make(heading)
	for _, commands in ipairs(document.blocks(DOCUMENT, "sh", heading)) do
		document.run(self.directory, self:adapt(commands))
	end
end

function scene:start_broker(configuration)
	self.broker_log = self:path("broker.log")
	os.remove(self.broker_log)
	self.broker = proc.spawn({ "mosquitto", "-c", configuration or "mosquitto.conf", "-v" },
		{ cwd = self.directory, stdout = self.broker_log })
	loop.eventually(function()
		return self:broker_says(" running\n")
	end, "mosquitto running")
end

function scene:broker_says(text)
	return file.read(self.broker_log):find(text, 1, true)
end

function scene:start_agent(configuration)
	self.agent_log = self:path("agent.log")
	self.agent = proc.spawn({ binary, "run", "-v", "-c", configuration or "agent.lua" },
		{ cwd = self.directory, stdout = self:path("agent.out"), stderr = self.agent_log })
	cleanup.on_failure(function()
		return "---- agent ----\n" .. file.read(self.agent_log)
	end)
end

-- Waits until the agent's log has one of the texts, a word for word match, behind what it had at `from`.
function scene:agent_says(texts, from)
	return loop.eventually(function()
		local log = file.read(self.agent_log)
		for _, text in ipairs(texts) do
			local at = log:find(text, from or 1, true)
			if at then
				return at
			end
		end
	end, "in the agent's log: " .. table.concat(texts, ", or "))
end

function scene:tidegate(...)
	local out = self:path("out")
	os.remove(out)
	local code = proc.spawn({ binary, ... }, { cwd = self.directory, stdout = out, stderr = out }):wait()
	return code, file.read(out)
end

-- Everything up to the files, and a broker that runs.
local function ready()
	local self = new_scene()
	for _, heading in ipairs { "The certificates", "The broker", "The gateway" } do
		self:make(heading)
	end
	return self
end

-- The certificate of that name, with other dates.
local DATED = [[
cat >dates.conf <<END
[ca]
default_ca = dates
[dates]
database = dates.txt
serial = dates.serial
new_certs_dir = .
certificate = ca.crt
private_key = ca.key
default_md = sha256
policy = dates_policy
unique_subject = no
[dates_policy]
commonName = supplied
END
: >dates.txt; echo 77 >dates.serial
openssl ca -batch -notext -config dates.conf -in NAME.csr -extfile NAME.ext -out NAME.crt -startdate FROM -enddate TO
]]

local function dated(name, from, to)
	return (DATED:gsub("%f[%u]%u+%f[%U]", { NAME = name, FROM = from, TO = to }))
end

local function expired(name)
	return dated(name, "20200101000000Z", "20210101000000Z")
end

local OTHER = [[
openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 1 -subj "/CN=Other" \
	-keyout other.key -out other.crt
]]

-- Rows of the document, known by a message in them: what brings them about. `files` is done before anything starts.
local CONNECTING = {
	["the certificate is refused: hostname mismatch"] = {
		files = "echo 'subjectAltName=DNS:elsewhere.example' >server.ext\n" ..
			dated("server", "20200101000000Z", "20600101000000Z"),
	},
	["the certificate is refused: self-signed certificate in certificate chain"] = {
		files = OTHER, edit = { '"ca.crt"', '"other.crt"' },
	},
	["the certificate is refused: certificate has expired"] = { files = expired("server") },
	["the certificate is refused: certificate is not yet valid"] = {
		files = dated("server", "20600101000000Z", "20610101000000Z"),
	},
	["closed after the TLS handshake: does the broker want a certificate (tls.cert), or another one?"] = {
		edit = { ', cert = "gw-01.crt", key = "gw-01.key"', "" },
	},
	["the broker ends the TLS handshake: unknown ca"] = {
		files = OTHER ..
			"openssl x509 -req -in gw-01.csr -CA other.crt -CAkey other.key -CAcreateserial -days 1 -out gw-01.crt",
	},
	["the broker ends the TLS handshake: certificate expired"] = { files = expired("gw-01") },
	["closed during the TLS handshake: is it the port for TLS?"] = {
		files = "sed -i -E '/file|require|identity/d' mosquitto.conf",
	},
	["the broker closed the connection"] = {
		files = [[sed -i -e s/mqtts:/mqtt:/ -e '/tls =/d' agent.lua]],
	},
	["the broker ends the TLS handshake: handshake failure"] = { psk = true, files = "echo gw-02:c0ffee >psk_file" },
	["the broker ends the TLS handshake: illegal parameter"] = { psk = true, files = "echo gw-01:c0ffee >psk_file" },
	["refused: Connection Refused: not authorised."] = {
		psk = true, files = ": >passwords; sed -i -E 's/use_identity.*/allow_anonymous false/' mosquitto-psk.conf",
	},
}

local CHECKING = {
	["tls.key: is no private key in PEM for `cert`, or locked by another `key_password`: key values mismatch"] =
		"cp server.key gw-01.key",
	["tls.key: is no private key in PEM for `cert`, or locked by another `key_password`: bad decrypt"] =
		"openssl ec -in gw-01.key -aes128 -passout pass:open -out locked.key; mv locked.key gw-01.key",
	["tls.ca: holds no certificates in PEM"] = "cp ca.key ca.crt",
	["tls.key: every user of this machine may read"] = "chmod 755 .; chmod 644 gw-01.key",
	["tls.key: cannot read"] = "rm gw-01.key",
}

-- What is warned of, and not refused.
local WARNED = {
	["tls.cert: expires in 12 days"] = dated("gw-01", "20200101000000Z",
		os.date("!%Y%m%d%H%M%SZ", os.time() + 12 * 24 * 3600 + 1800)),
	["tls.cert: expired on"] = expired("gw-01"),
	["tls.cert: is not valid before"] = dated("gw-01", "20600101000000Z", "20610101000000Z"),
}

-- The one of `cases` that a row of the document is for.
local function case_of(row, cases)
	for _, message in ipairs(row) do
		if cases[message] then
			return cases[message]
		end
	end
end

describe("docs/tls.md", function()
	it("gets a gateway and a broker to show each other certificates, and renews one", function()
		local self = ready()
		self:start_broker()
		local code, out = self:tidegate("check")
		assert.equal("agent.lua: ok (1 link, 1 script)\n", out)
		assert.equal(0, code)
		local collector = proc.spawn({ "mosquitto_sub", "-h", "localhost", "-p", tostring(self.ports["8883"]),
			"--cafile", "ca.crt", "--cert", "gw-01.crt", "--key", "gw-01.key", "-t", "hello/#", "-v", "-C", "1" },
			{ cwd = self.directory, stdout = self:path("collected") })
		loop.eventually(function()
			return self:broker_says("hello/# (QoS 0)")
		end, "the collector's subscription")
		self:start_agent()
		self:agent_says { ("link core: connected peer=localhost:%d session=new"):format(self.ports["8883"]) }
		assert(self:broker_says("as gw-01-core (p2, c0, k60, u'gw-01')"))
		assert.equal(0, (collector:wait()))
		assert.equal("hello/gw-01 here, through core\n", file.read(self:path("collected")))
		code, out = self:tidegate("status")
		assert.equal(0, code)
		assert(out:find("mqtts://localhost:", 1, true), out)

		-- A connection lasts beyond its certificate; the next one needs a new one, which is read from the file.
		document.run(self.directory, expired("gw-01"))
		self.broker:kill("sigkill")
		self.broker:wait()
		self:start_broker()
		self:agent_says { "certificate" }
		local before = #file.read(self.agent_log) + 1
		self:make("Renewal")
		assert.equal(0, (self:tidegate("check")))
		self:agent_says({ "connected peer=localhost" }, before)

		-- And who does not want to wait for that asks for it.
		self:make("Renewal")
		code, out = self:tidegate("reload")
		assert.equal("link core: connected anew\n", out)
		assert.equal(0, code)
		code, out = self:tidegate("reload")
		assert.equal("nothing has changed\n", out)
		assert.equal(0, code)
		self.agent:kill("sigterm")
		assert.equal(0, (self.agent:wait()))
	end)

	it("gets along without certificates", function()
		local self = new_scene()
		self:make("The gateway") -- its rule
		self:make("Without certificates: a pre-shared key")
		self:start_broker("mosquitto-psk.conf")
		self:start_agent("agent-psk.lua")
		self:agent_says { "link core: connected" }
		assert(self:broker_says("u'gw-01'"))
	end)

	it("explains what there is to explain", function()
		local rows, cases = #document.messages(DOCUMENT), 0
		for _ in pairs(CONNECTING) do
			cases = cases + 1
		end
		for _ in pairs(CHECKING) do
			cases = cases + 1
		end
		for _ in pairs(WARNED) do
			cases = cases + 1
		end
		assert.equal(cases, rows)
	end)

	for _, row in ipairs(document.messages(DOCUMENT)) do
		local case, warned = case_of(row, CONNECTING), case_of(row, WARNED)
		local files = case_of(row, CHECKING) or warned
		it("explains: " .. row[1], function()
			local self = ready()
			if files then
				document.run(self.directory, files)
				local code, out = self:tidegate("check")
				assert.equal(warned and 0 or 78, code)
				assert(out:find(row[1], 1, true), out)
				return
			end
			local configuration = case.psk and "agent-psk.lua" or "agent.lua"
			if case.psk then
				self:make("Without certificates: a pre-shared key")
			end
			document.run(self.directory, case.files or "")
			if case.edit then
				local text = file.read(self:path(configuration))
				local from, to = text:find(case.edit[1], 1, true)
				file.write(self:path(configuration), text:sub(1, from - 1) .. case.edit[2] .. text:sub(to + 1))
			end
			self:start_broker(case.psk and "mosquitto-psk.conf")
			self:start_agent(configuration)
			-- With TLS 1.3 the broker's word may be lost behind the end of the connection: then the general
			-- message comes. It is tried so often that each is seen.
			self:agent_says(row)
		end)
	end
end)
