--- What the specs of reloads share.
local cjson = require "cjson"
local gateway = require "lib.gateway"
local loop = require "lib.loop"

local M = {}

--- A gateway (lib/gateway.lua, with its options) that has a control socket.
function M.start(options)
	options = options or {}
	options.config = options.config or {}
	options.config.control = "control.sock"
	return gateway.start(options)
end

--- `tidegate reload`: exit status, and what it printed on both.
function M.reload(g)
	local code, out, err = g.agent:command("reload")
	return code, out .. err
end

--- Reloads, which must succeed; returns what was printed.
function M.must_reload(g)
	local code, text = M.reload(g)
	assert(code == 0, text)
	return text
end

--- The lines of `status --json`: { problem, script, link, queue }, by name but for the texts of problems.
function M.status(g)
	local code, out, err = g.agent:command("status", "--json")
	assert(code == 0, err)
	local lines = { problem = {}, script = {}, link = {}, queue = {} }
	for text in out:gmatch("[^\n]+") do
		local line = cjson.decode(text)
		if line.kind == "problem" then
			table.insert(lines.problem, line.text)
		elseif lines[line.kind] then
			lines[line.kind][line.script or line.link] = line
		end
	end
	return lines
end

--- Where `text` stands in the agent's log; nil: nowhere.
function M.log_has(g, text)
	return g.agent:log():find(text, 1, true)
end

local asked = 0

--- Sends a reading, on `topic` (default: sensors/a), and returns what comes back on out/...
function M.ask(g, topic)
	asked = asked + 1
	local payload = "ask " .. asked
	g.sensor:publish(topic or "sensors/a", payload)
	return loop.eventually(function()
		for _, message in ipairs(g.collector.messages) do
			if message.topic:find("^out") and message.payload:find(payload, 1, true) then
				return message.payload
			end
		end
	end, "an answer to " .. payload)
end

--- A script that says which version it is; `more` is Lua before its handler.
function M.version(n, more)
	return ([[
		%s
		on("sensors/+", function(topic, payload) mqtt.pub("out", "v%s " .. payload) end)
	]]):format(more or "", n)
end

--- Checks that the agent runs version `n` of that script.
function M.assert_version(g, n)
	local answer = M.ask(g)
	assert(answer:find("^v" .. n .. " "), answer)
end

return M
