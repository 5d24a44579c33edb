--- The clients of the interoperability tests, a table each, as sensor and as collector: how to start one, and what it
-- does otherwise than the standard has it. The broker is mosquitto, the other end a client of the tests.
local brokers = require "interop.brokers"
local driver = require "interop.driver"
local file = require "lib.file"
local mosquitto = require "interop.mosquitto_clients"
local uv = require "luv"

local M = {}

local BUILT = brokers.built
local PYTHON = "/usr/bin/python3" -- Debian's, as its package is for that one

local paho_c = { key = "paho-c", name = "Paho C", missing = "apt: libpaho-mqtt-dev", sensor = {}, collector = {} }

function paho_c.version()
	return file.exists(BUILT .. "/paho_c") and brokers.says("dpkg-query -W libpaho-mqtt-dev", "\t([%d.]+)")
end

function paho_c.command()
	return { BUILT .. "/paho_c" }
end

local paho_python = { key = "paho-python", name = "Paho Python", missing = "apt: python3-paho-mqtt", sensor = {},
	collector = {} }

function paho_python.version()
	return brokers.says(PYTHON .. " -c 'import paho.mqtt; print(paho.mqtt.__version__)'", "^([%d.]+)")
end

function paho_python.command()
	return { PYTHON, assert(uv.fs_realpath("tests/interop/clients/paho_python.py")) }
end

local mqttjs = { key = "mqttjs", name = "MQTT.js", missing = "npm: mqtt; needs node 20", sensor = {}, collector = {} }

function mqttjs.version()
	return brokers.npm_version("mqtt")
end

function mqttjs.command()
	return { "node", assert(uv.fs_realpath("tests/interop/clients/mqttjs.js")) }
end

mqttjs.env = { NODE_PATH = BUILT .. "/node_modules" }

local AT_ONCE = "before MQTT 5 it has more on its way at QoS 2 than mosquitto's 20, and mosquitto hangs up%s"

paho_c.sensor.deviates = {
	qos2 = { "a message was refused", AT_ONCE:format("") },
	client_refused4 = { "a message was refused", "mosquitto hangs up after it, and what the client is just sending " ..
		"fails: its callback says so, and it is not sent again", sometimes = true },
}
paho_python.sensor.deviates = {
	client_refused5 = { "does not say that", "before 2.0 `on_publish` is not told the broker's reason" },
}

local BY_NAME = "it keeps user properties by name, so that those of a name come together"

mqttjs.sensor.deviates = {
	qos2 = { "did not bring", AT_ONCE:format(": of what it sends again, some is lost"), sometimes = true },
	properties = { "site=north site=again line=4", BY_NAME },
	client_window = { "are on their way, of", "it does not look at the broker's Receive Maximum" },
}
mqttjs.collector.deviates = { properties = { "site=north site=again line=4", BY_NAME } }

for _, kind in ipairs { paho_c, paho_python, mqttjs } do
	function kind.connect(port, options)
		return driver.connect(kind, port, options)
	end
end

local pub = { key = "mosquitto-pub", name = "mosquitto_pub", missing = "apt: mosquitto-clients", sensor = {},
	connect = mosquitto.publisher }
local sub = { key = "mosquitto-sub", name = "mosquitto_sub", missing = "apt: mosquitto-clients", collector = {},
	connect = mosquitto.subscriber }

function pub.version()
	return brokers.says("mosquitto_pub --help", "version ([%d.]+)")
end
sub.version = pub.version
pub.sensor.lacks = { client_buffers = "it connects for each publication, which fails without a broker" }

-- One role of a kind, as the tests and the table take it.
local function column(kind, role)
	return setmetatable({ key = kind.key .. "-" .. role, program = kind.key, role = role, lacks = kind[role].lacks,
		deviates = kind[role].deviates, broker = brokers.mosquitto }, { __index = kind })
end

--- Those that can be a sensor, and those that can be a collector, in the order of the tables; and all of them.
M.sensors, M.collectors, M.all = {}, {}, {}

for _, role in ipairs { "sensor", "collector" } do
	local list = M[role .. "s"]
	for _, kind in ipairs { paho_c, paho_python, mqttjs, pub, sub } do
		list[#list + 1] = kind[role] and column(kind, role) or nil
	end
	table.move(list, 1, #list, #M.all + 1, M.all)
end

return M
