--- MQTT 3.1, 3.1.1 and 5 packets to bytes and back, as plain tables. Both the
-- tests' client and their broker stand on it; it shares nothing with what it
-- tests.
--
--   { type = "publish", topic =, payload =, qos =, retain =, dup =, id =, properties = }
--
-- Properties are tables by name (see `properties` below); `user_property` is a
-- list of { name, value }.
local M = {}

local names = { "connect", "connack", "publish", "puback", "pubrec", "pubrel", "pubcomp", "subscribe", "suback",
	"unsubscribe", "unsuback", "pingreq", "pingresp", "disconnect", "auth" }
local numbers = {}
for number, name in ipairs(names) do
	numbers[name] = number
end

-- Identifier, name, and how the value is written.
local properties = {
	{ 0x01, "payload_format", "byte" }, { 0x02, "message_expiry", "four" }, { 0x03, "content_type", "text" },
	{ 0x08, "response_topic", "text" }, { 0x09, "correlation", "text" }, { 0x0b, "subscription_id", "varint" },
	{ 0x11, "session_expiry", "four" }, { 0x12, "assigned_client_id", "text" }, { 0x13, "server_keepalive", "two" },
	{ 0x17, "request_problem", "byte" }, { 0x18, "will_delay", "four" }, { 0x19, "request_response", "byte" },
	{ 0x1a, "response_information", "text" }, { 0x1c, "server_reference", "text" }, { 0x1f, "reason", "text" },
	{ 0x21, "receive_maximum", "two" }, { 0x22, "topic_alias_maximum", "two" }, { 0x23, "topic_alias", "two" },
	{ 0x24, "maximum_qos", "byte" }, { 0x25, "retain_available", "byte" }, { 0x26, "user_property", "pair" },
	{ 0x27, "maximum_packet_size", "four" }, { 0x28, "wildcards_available", "byte" },
	{ 0x29, "subscription_ids_available", "byte" }, { 0x2a, "shared_available", "byte" },
}
local property_by_name, property_by_id = {}, {}
for _, entry in ipairs(properties) do
	property_by_id[entry[1]], property_by_name[entry[2]] = entry, entry
end

local function varint(n)
	local bytes = {}
	repeat
		local byte = n % 128
		n = n // 128
		bytes[#bytes + 1] = string.char(n > 0 and byte + 128 or byte)
	until n == 0
	return table.concat(bytes)
end

-- Value and position behind it, or nil if bytes are missing.
local function read_varint(data, at)
	local value, shift = 0, 0
	while true do
		local byte = data:byte(at)
		if not byte then
			return nil
		end
		value = value | (byte & 127) << shift
		at, shift = at + 1, shift + 7
		if byte < 128 then
			assert(byte > 0 or shift == 7, "a length has a byte too many")
			return value, at
		end
		assert(shift < 28, "length of more than four bytes")
	end
end

local write_value = {
	byte = function(v) return string.pack("B", v) end,
	two = function(v) return string.pack(">I2", v) end,
	four = function(v) return string.pack(">I4", v) end,
	text = function(v) return string.pack(">s2", v) end,
	varint = varint,
}
local read_value = {
	byte = function(data, at) return string.unpack("B", data, at) end,
	two = function(data, at) return string.unpack(">I2", data, at) end,
	four = function(data, at) return string.unpack(">I4", data, at) end,
	text = function(data, at) return string.unpack(">s2", data, at) end,
	varint = read_varint,
}

local function write_properties(set, version)
	if version < 5 then
		return ""
	end
	local parts = {}
	for name, value in pairs(set or {}) do
		local entry = assert(property_by_name[name], name)
		if entry[3] == "pair" then
			for _, pair in ipairs(value) do
				parts[#parts + 1] = string.pack(">Bs2s2", entry[1], pair[1], pair[2])
			end
		else
			parts[#parts + 1] = string.char(entry[1]) .. write_value[entry[3]](value)
		end
	end
	local run = table.concat(parts)
	return varint(#run) .. run
end

local function read_properties(data, at, version)
	local set = {}
	if version < 5 or at > #data then
		return set, at
	end
	local size
	size, at = read_varint(data, at)
	local stop = at + size
	while at < stop do
		local entry = assert(property_by_id[data:byte(at)], "unknown property")
		at = at + 1
		if entry[3] == "pair" then
			local name, value
			name, value, at = string.unpack(">s2s2", data, at)
			set.user_property = set.user_property or {}
			table.insert(set.user_property, { name, value })
		else
			set[entry[2]], at = read_value[entry[3]](data, at)
		end
	end
	return set, at
end

local function bit(condition, value)
	return condition and value or 0
end

local write, read = {}, {}

function write.connect(p)
	local version = p.version or 4
	local will = p.will
	local flags = bit(p.clean ~= false, 2) | bit(will, 4) | bit(p.password, 64) | bit(p.username, 128)
	if will then
		flags = flags | (will.qos or 0) << 3 | bit(will.retain, 32)
	end
	local parts = {
		string.pack(">s2BBI2", version == 3 and "MQIsdp" or "MQTT", version, flags, p.keepalive or 0),
		write_properties(p.properties, version), string.pack(">s2", p.client_id or ""),
	}
	if will then
		parts[#parts + 1] = write_properties(will.properties, version)
		parts[#parts + 1] = string.pack(">s2s2", will.topic, will.payload or "")
	end
	parts[#parts + 1] = p.username and string.pack(">s2", p.username)
	parts[#parts + 1] = p.password and string.pack(">s2", p.password)
	return table.concat(parts), 0
end

function read.connect(data)
	local p = {}
	local protocol, version, flags, keepalive, at = string.unpack(">s2BBI2", data)
	p.protocol, p.version, p.keepalive = protocol, version, keepalive
	p.properties, at = read_properties(data, at, p.version)
	p.client_id, at = string.unpack(">s2", data, at)
	p.clean = flags & 2 ~= 0
	if flags & 4 ~= 0 then
		p.will = { qos = flags >> 3 & 3, retain = flags & 32 ~= 0 }
		p.will.properties, at = read_properties(data, at, p.version)
		p.will.topic, p.will.payload, at = string.unpack(">s2s2", data, at)
	end
	if flags & 128 ~= 0 then
		p.username, at = string.unpack(">s2", data, at)
	end
	if flags & 64 ~= 0 then
		p.password = string.unpack(">s2", data, at)
	end
	return p
end

function write.connack(p, version)
	return string.pack("BB", bit(p.session_present, 1), p.code or 0) .. write_properties(p.properties, version), 0
end

function read.connack(data, _, version)
	local p = { session_present = data:byte(1) & 1 ~= 0, code = data:byte(2) }
	p.properties = read_properties(data, 3, version)
	return p
end

function write.publish(p, version)
	local qos = p.qos or 0
	return string.pack(">s2", p.topic) .. (qos > 0 and string.pack(">I2", p.id) or "") ..
		write_properties(p.properties, version) .. (p.payload or ""),
		bit(p.dup, 8) | qos << 1 | bit(p.retain, 1)
end

function read.publish(data, flags, version)
	local p = { dup = flags & 8 ~= 0, qos = flags >> 1 & 3, retain = flags & 1 ~= 0 }
	local at
	p.topic, at = string.unpack(">s2", data)
	if p.qos > 0 then
		p.id, at = string.unpack(">I2", data, at)
	end
	p.properties, at = read_properties(data, at, version)
	p.payload = data:sub(at)
	return p
end

local function write_ack(flags)
	return function(p, version)
		local tail = ""
		if version == 5 and (p.code or p.properties) then
			tail = string.char(p.code or 0) .. (p.properties and write_properties(p.properties, 5) or "")
		end
		return string.pack(">I2", p.id) .. tail, flags
	end
end

local function read_ack(data, _, version)
	local p = { id = string.unpack(">I2", data), code = data:byte(3) or 0 }
	p.properties = read_properties(data, 4, version)
	return p
end

write.puback, write.pubrec, write.pubrel, write.pubcomp = write_ack(0), write_ack(0), write_ack(2), write_ack(0)
read.puback, read.pubrec, read.pubrel, read.pubcomp = read_ack, read_ack, read_ack, read_ack

function write.subscribe(p, version)
	local parts = { string.pack(">I2", p.id), write_properties(p.properties, version) }
	for _, f in ipairs(p.filters) do
		local options = (f.qos or 0) | bit(f.no_local, 4) | bit(f.retain_as_published, 8) | (f.retain_handling or 0) << 4
		parts[#parts + 1] = string.pack(">s2B", f.filter, options)
	end
	return table.concat(parts), 2
end

function read.subscribe(data, _, version)
	local p = { filters = {} }
	local id, at = string.unpack(">I2", data)
	p.id = id
	p.properties, at = read_properties(data, at, version)
	while at <= #data do
		local filter, options
		filter, options, at = string.unpack(">s2B", data, at)
		assert(options & 0xc0 == 0, "reserved bits of a subscription are set")
		table.insert(p.filters, { filter = filter, qos = options & 3, no_local = options & 4 ~= 0,
			retain_as_published = options & 8 ~= 0, retain_handling = options >> 4 & 3 })
	end
	return p
end

function write.unsubscribe(p, version)
	local parts = { string.pack(">I2", p.id), write_properties(p.properties, version) }
	for _, filter in ipairs(p.filters) do
		parts[#parts + 1] = string.pack(">s2", filter)
	end
	return table.concat(parts), 2
end

function read.unsubscribe(data, _, version)
	local p = { filters = {} }
	local id, at = string.unpack(">I2", data)
	p.id = id
	p.properties, at = read_properties(data, at, version)
	while at <= #data do
		local filter
		filter, at = string.unpack(">s2", data, at)
		table.insert(p.filters, filter)
	end
	return p
end

function write.suback(p, version)
	return string.pack(">I2", p.id) .. write_properties(p.properties, version) .. string.char(table.unpack(p.codes)), 0
end

function read.suback(data, _, version)
	local p = {}
	local id, at = string.unpack(">I2", data)
	p.id = id
	p.properties, at = read_properties(data, at, version)
	p.codes = { data:byte(at, -1) }
	return p
end

function write.unsuback(p, version)
	local codes = version == 5 and string.char(table.unpack(p.codes)) or ""
	return string.pack(">I2", p.id) .. write_properties(p.properties, version) .. codes, 0
end
read.unsuback = read.suback

local function write_empty()
	return "", 0
end
local function read_empty()
	return {}
end
write.pingreq, write.pingresp, read.pingreq, read.pingresp = write_empty, write_empty, read_empty, read_empty

function write.disconnect(p, version)
	if version < 5 or not (p.code or p.properties) then
		return "", 0
	end
	return string.char(p.code or 0) .. write_properties(p.properties, version), 0
end

function read.disconnect(data, _, version)
	return { code = data:byte(1) or 0, properties = read_properties(data, 2, version) }
end

--- The bytes of a packet in the given protocol version (3, 4 or 5).
function M.encode(packet, version)
	local body, flags = write[packet.type](packet, packet.type == "connect" and packet.version or version or 4)
	return string.char(numbers[packet.type] << 4 | flags) .. varint(#body) .. body
end

--- Returns a function that is fed bytes as they come and returns the list of
-- packets that are complete by then. `options.version` may be set later; a
-- CONNECT sets it. `check(packet, flags, body)`, if given, sees each of them first.
function M.decoder(options, check)
	local buffer = ""
	return function(data)
		local packets, at = {}, 1
		buffer = #buffer == 0 and data or buffer .. data
		while true do
			local size, start = read_varint(buffer, at + 1)
			if not size or #buffer < start + size - 1 then
				break
			end
			local first = buffer:byte(at)
			local name = assert(names[first >> 4], "unknown packet type")
			local packet = read[name](buffer:sub(start, start + size - 1), first & 15, options.version or 4)
			packet.type = name
			if name == "connect" then
				options.version = packet.version
			end
			if check then
				check(packet, first & 15, buffer:sub(start, start + size - 1))
			end
			packets[#packets + 1] = packet
			at = start + size
		end
		buffer = buffer:sub(at)
		return packets
	end
end

return M
