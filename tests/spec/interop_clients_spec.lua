--- The same scenarios with every client as sensor and as collector: here mosquitto's; `make interop` names all.
local ask = require "interop.ask"
local clients = require "interop.clients"

for _, kind in ipairs(ask.wanted(clients.all, "mosquitto-pub-sensor,mosquitto-sub-collector")) do
	describe(("with %s as a %s"):format(kind.name, kind.role), function()
		ask.each(kind, it)
	end)
end
