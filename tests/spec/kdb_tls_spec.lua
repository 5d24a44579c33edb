--- kdbs://: whom the agent believes, and what it says if it does not.
local certs = require "lib.certs"
local gateway = require "lib.kdb_gateway"
local loop = require "lib.loop"
local net = require "lib.net"

-- A collector with the certificate of `pair`, a link to it with `tls`.
local function start(pair, tls, scheme, client_ca)
	local port = net.free_port()
	return gateway.start {
		collector = { port = port, tls = pair and { cert = pair.cert, key = pair.key, ca = client_ca } or nil },
		url = (scheme or "kdbs") .. "://gw:secret@127.0.0.1:" .. port,
		link = { tls = tls, batch = { delay = "20ms" } },
		apart = true,
	}
end

local function assert_delivers(g, n)
	g:send_rows(1, n)
	g:wait_numbers(1, n)
	g:wait_empty()
end

local function assert_refuses(g, words)
	g.agent:wait_log(words)
	g:send_rows(1, 1)
	loop.consistently(function()
		return #g.collector:rows() == 0
	end, "nothing is sent", 0.3)
end

describe("kdbs://", function()
	it("delivers rows", function()
		assert_delivers(start(certs.get().server, { ca = certs.get().ca }), 3000)
	end)

	it("refuses a certificate of another authority", function()
		assert_refuses(start(certs.get().server, { ca = certs.get().other_ca }), "the certificate is refused")
	end)

	it("refuses one that none of the system's authorities has signed", function()
		assert_refuses(start(certs.get().server), "the certificate is refused")
	end)

	it("refuses another host's certificate", function()
		assert_refuses(start(certs.get().wrong_host, { ca = certs.get().ca }), "the certificate is refused: .*mismatch")
	end)

	it("takes it where names are not looked at", function()
		assert_delivers(start(certs.get().wrong_host, { ca = certs.get().ca, verify_host = false }), 10)
	end)

	it("but not from another authority", function()
		assert_refuses(start(certs.get().wrong_host, { ca = certs.get().other_ca, verify_host = false }),
			"the certificate is refused")
	end)

	it("shows its own certificate to who asks for it", function()
		local client = certs.get().client
		assert_delivers(start(certs.get().server, { ca = certs.get().ca, cert = client.cert, key = client.key }, nil,
			certs.get().ca), 10)
	end)

	it("says when there is no TLS", function()
		assert_refuses(start(nil, { ca = certs.get().ca }), "if the port has no TLS, use kdb://")
	end)

	it("or when there is, and kdb:// was meant to do", function()
		assert_refuses(start(certs.get().server, nil, "kdb"), "or one with TLS: closed without an answer")
	end)
end)
