--- The examples that use the rules library, on the messages that come with them.
local cjson = require "cjson"
local fake_agent = require "lib.fake_agent"

local START = 1782864000

local function run(name, options)
	local agent = fake_agent.new { time = options and options.time or START, state = options and options.state }
	agent:load(("scripts/examples/%s.lua"):format(name)):play(("scripts/examples/%s.input.jsonl"):format(name))
	assert.same({}, agent.errors)
	return agent
end

--- What was published: { seconds since the start, topic, payload, decoded if it is an object }...
local function published(agent)
	local list = {}
	for _, message in ipairs(agent.published) do
		local payload = message.payload
		payload = payload:find("^{") and cjson.decode(payload) or tonumber(payload) or payload
		list[#list + 1] = { math.floor(message.time - agent.started), message.topic, payload }
	end
	return list
end

local function texts(agent, level)
	local list = {}
	for _, line in ipairs(agent.logged) do
		list[#list + 1] = line.level == level and line.text or nil
	end
	return list
end

describe("the example", function()
	it("cold_chain.lua raises, latches and clears alarms, and misses a thermometer", function()
		local agent = run "cold_chain"
		assert.same({
			{ 660, "alarms/fridges/milk", { event = "raised", why = "above", celsius = 8.9, at = START + 660 } },
			{ 720, "alarms/fridges/milk", { event = "acknowledged", why = "above", at = START + 720 } },
			{ 840, "alarms/fridges/milk", { event = "cleared", why = "above", celsius = 7.5, at = START + 840 } },
			{ 1860, "alarms/fridges/fish", { event = "silent", why = "no reading for half an hour", at = START + 1860 } },
			{ 2000, "alarms/fridges/fish", { event = "back", why = "good", celsius = 3.1, at = START + 2000 } },
			{ 2660, "alarms/fridges/fish", { event = "raised", why = "below", celsius = 1.9, at = START + 2660 } },
			{ 2780, "alarms/fridges/fish", { event = "cleared", why = "below", at = START + 2780 } },
		}, published(agent))
		assert.same({ 'fridges/milk/temp: not a number: "error"' }, texts(agent, "warn"))
		assert.equal(4.4, agent.metrics['fridge_celsius{fridge="milk"}'])
	end)

	it("energy_meter.lua makes kilowatt-hours and watts of pulses, over a wrap, a reset and a restart", function()
		local agent = run "energy_meter"
		assert.same({
			{ 60, "energy/cellar", { kwh = 1234.54, watts = 7920 } }, -- 40 pulses; 33 in 15 s
			{ 60, "energy/heat_pump", { kwh = 0.025, watts = 1800 } }, -- 25 in 50 s
			{ 120, "energy/cellar", { kwh = 1234.551, watts = 720 } }, -- 11 in 55 s
			{ 120, "energy/heat_pump", { kwh = 0.028, watts = 180 } }, -- reset, 3 in 60 s
			{ 240, "energy/cellar", { kwh = 1234.551, watts = 0 } },
		}, published(agent))
		assert.equal(51, agent.metrics['meter_pulses{meter="cellar"}'])
		agent = agent:restart(agent.time + 3600):load("scripts/examples/energy_meter.lua")
		agent:message("meters/cellar/pulses", "1015")
		agent:advance(60)
		-- 1,000 pulses in the 3,641 s since the last reading
		assert.same({ { 60, "energy/cellar", { kwh = 1235.551, watts = 989 } } }, published(agent))
	end)

	it("vibration.lua sums a minute up, and raises an alarm when it shakes for long", function()
		local agent = run "vibration"
		local function minute(motor, peak, rms, samples)
			return "motors/" .. motor .. "/vibration/minute",
				{ peak = peak, p95 = peak, rms = rms, crest = 1.41, samples = samples }
		end
		assert.same({
			{ 60, minute("fan", 0.2, 0.1414, 100) }, -- 0.2 by the root of 2
			{ 60, minute("pump", 0.998, 0.7072, 50) },
			{ 120, minute("pump", 0.998, 0.7072, 50) },
			{ 180, minute("pump", 0.998, 0.7072, 50) },
			{ 180, "alarms/motors/pump", "raised" },
			{ 240, minute("pump", 0.599, 0.4243, 50) },
			{ 300, minute("pump", 0.2, 0.1414, 50) },
			{ 300, "alarms/motors/pump", "cleared" },
		}, published(agent))
		assert.equal(1, #texts(agent, "warn"))
	end)

	it("zigbee2mqtt.lua passes on what has changed", function()
		local agent = run "zigbee2mqtt"
		assert.same({
			{ 1, "home/hall/online", "true" },
			{ 2, "home/door/online", "true" },
			{ 3, "home/hall/temperature", 21.4 },
			{ 3, "home/hall/humidity", 44 },
			{ 3, "home/hall/battery", 100 },
			{ 123, "home/hall/temperature", 21.6 },
			{ 123, "home/hall/humidity", 46 },
			{ 130, "home/door/battery", 87 },
			{ 130, "home/door/contact", "true" },
			{ 150, "home/door/contact", "false" },
			{ 170, "home/door/online", "false" },
			{ 3750, "home/door/battery", 87 },
			{ 3750, "home/door/contact", "false" },
		}, published(agent))
		assert.equal(1, #texts(agent, "warn"))
	end)

	it("tasmota.lua takes JSON apart", function()
		local agent = run "tasmota"
		assert.same({
			{ 0, "home/plug/online", "true" },
			{ 10, "home/plug/ENERGY/Power", 84 },
			{ 10, "home/plug/ENERGY/Total", 12.3 },
			{ 10, "home/plug/ENERGY/Voltage", 231 },
			{ 20, "home/cellar/AM2301/Humidity", 61 },
			{ 20, "home/cellar/AM2301/Temperature", 14.2 },
			{ 310, "home/plug/ENERGY/Power", 120 },
			{ 400, "home/plug/online", "false" },
			{ 920, "home/cellar/AM2301/Temperature", 14.3 },
		}, published(agent))
		assert.equal(1, #texts(agent, "warn"))
	end)

	it("daily_extremes.lua tells each day's lowest and highest, over a restart", function()
		local noon = START + 12 * 3600
		local agent = run("daily_extremes", { time = noon })
		local function day(i, min, max, mean, readings)
			return { day = os.date("%Y-%m-%d", noon + i * 86400), min = min, max = max, mean = mean, readings = readings }
		end
		local function told(a)
			local list = {}
			for i, message in ipairs(published(a)) do
				list[i] = { message[2], message[3] }
			end
			return list
		end
		assert.same({
			{ "daily/cellar", day(0, 14, 14, 14, 1) }, { "daily/roof", day(0, 12.1, 27.9, 21.5, 3) },
			{ "daily/cellar", day(1, 14.5, 14.5, 14.5, 1) }, { "daily/roof", day(1, 19, 21, 20, 2) },
		}, told(agent))
		agent:message("sensors/roof/temp", "10")
		agent = agent:restart():load("scripts/examples/daily_extremes.lua")
		agent:message("sensors/roof/temp", "20")
		agent:advance(86400)
		assert.same({ { "daily/roof", day(2, 10, 20, 15, 2) } }, told(agent))
	end)

	it("silence.lua tells who is silent and who is back", function()
		local agent = run "silence"
		assert.same({
			{ 610, "alarms/silent/boiler", "silent" },
			{ 1000, "alarms/silent/hall", "silent" },
			{ 1400, "alarms/silent/gate", "silent" },
			{ 1500, "alarms/silent/hall", "back" },
			{ 1510, "alarms/silent/gate", "back" },
		}, published(agent))
		assert.equal(3, agent.metrics.silences)
	end)
end)
