--- Certificates made on the fly with the openssl command: two authorities, and
-- server and client certificates signed by the first. Made once a run.
local file = require "lib.file"
local need = require "lib.need"
local proc = require "lib.proc"
local uv = require "luv"

local M = {}

local made

local function authority(directory, name)
	proc.output(("cd %s && openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 90 " ..
		"-subj '/CN=tests %s' -keyout %s.key -out %s.crt"):format(directory, name, name, name))
end

local function certificate(directory, name, subject, extension)
	file.write(("%s/%s.ext"):format(directory, name), extension)
	proc.output(("cd %s && openssl req -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes " ..
		"-subj '/CN=%s' -keyout %s.key -out %s.csr"):format(directory, subject, name, name))
	proc.output(("cd %s && openssl x509 -req -in %s.csr -CA ca.crt -CAkey ca.key -CAcreateserial -days 90 " ..
		"-extfile %s.ext -out %s.crt"):format(directory, name, name, name))
	return { cert = ("%s/%s.crt"):format(directory, name), key = ("%s/%s.key"):format(directory, name) }
end

--- Returns a table of paths: `ca`, `other_ca` (signed nothing), and `server`,
-- `wrong_host` and `client`, each with `cert` and `key`.
function M.get()
	if made then
		return made
	end
	need.program("openssl")
	local directory = assert(uv.fs_mkdtemp("/tmp/tidegate-certs-XXXXXX"))
	authority(directory, "ca")
	authority(directory, "other")
	made = {
		directory = directory,
		ca = directory .. "/ca.crt",
		other_ca = directory .. "/other.crt",
		server = certificate(directory, "server", "localhost", "subjectAltName=DNS:localhost,IP:127.0.0.1\n"),
		wrong_host = certificate(directory, "wrong", "elsewhere.example", "subjectAltName=DNS:elsewhere.example\n"),
		client = certificate(directory, "client", "gw-client", "extendedKeyUsage=clientAuth\n"),
		named = {},
	}
	return made
end

-- Made when it is first asked for.
local function of(name, extension)
	M.get()
	made.named[name] = made.named[name] or certificate(made.directory, name, name, extension)
	return made.named[name]
end

--- A certificate of the first authority, { cert, key }, for a client of that name.
function M.client(name)
	return of(name, "extendedKeyUsage=clientAuth\n")
end

--- The same for the server of that host name.
function M.host(name)
	return of(name, "subjectAltName=DNS:" .. name .. "\n")
end

--- Removes them; at the end of the run.
function M.remove()
	if made then
		os.execute("rm -rf " .. file.quote(made.directory))
		made = nil
	end
end

return M
