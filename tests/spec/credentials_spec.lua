--- What a broker is shown: user names and passwords, as configured.
local fake_broker = require "lib.fake_broker"
local tidegate = require "lib.tidegate"

-- The CONNECT packet of a link with these keys.
local function connect(keys, credentials)
	local fake = fake_broker.start()
	keys.url = ("mqtt://%s127.0.0.1:%d"):format(credentials or "", fake.port)
	tidegate.start { config = { links = { core = keys } } }
	return fake:wait_for("connect", 1)[1]
end

describe("a broker is shown", function()
	it("user and password of the URL", function()
		local packet = connect({}, "joe:pass%20word@")
		assert.equal("joe", packet.username)
		assert.equal("pass word", packet.password)
	end)

	it("user and password of the link before those of the URL", function()
		local packet = connect({ username = "me", password = "mine" }, "joe:secret@")
		assert.equal("me", packet.username)
		assert.equal("mine", packet.password)
	end)

	it("on version 5 a password without a user name", function()
		local packet = connect({ version = "5", password = "token" })
		assert.is_nil(packet.username)
		assert.equal("token", packet.password)
	end)

	it("nothing, if nothing is configured", function()
		local packet = connect {}
		assert.is_nil(packet.username)
		assert.is_nil(packet.password)
	end)
end)
