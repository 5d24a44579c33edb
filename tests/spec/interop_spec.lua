--- The same scenarios with every broker: here mosquitto and one that shares nothing with it; `make interop` names all.
local ask = require "interop.ask"
local brokers = require "interop.brokers"

for _, kind in ipairs(ask.wanted(brokers.all, "mosquitto,aedes")) do
	describe("with " .. kind.name, function()
		ask.each(kind, it)
	end)
end
