--- What the standard asks of every packet of a client, whatever a spec is about: how it is written, and whether it may
-- come now. The fake broker shows it each packet of a connection, and the spec fails at the first one that is wrong.
local M = {}

local flags_of = { connect = 0, puback = 0, pubrec = 0, pubrel = 2, pubcomp = 0, subscribe = 2, unsubscribe = 2,
	pingreq = 0, disconnect = 0, auth = 0 }

local function rule(holds, text, ...)
	if not holds then
		error("the agent breaks a rule of MQTT: " .. text:format(...), 0)
	end
end

-- ---- how a packet is written ----

local function check_text(text, what)
	rule(utf8.len(text) and not text:find("\0", 1, true), "%s is not UTF-8 or holds a NUL", what)
end

local function check_topic(topic, what)
	check_text(topic, what)
	rule(topic ~= "" and not topic:find("[+#]"), "%s is empty or has a wildcard: %s", what, topic)
end

local function check_properties(set)
	for name, value in pairs(set or {}) do
		if name == "user_property" then
			for _, pair in ipairs(value) do
				check_text(pair[1], name)
				check_text(pair[2], name)
			end
		elseif name == "response_topic" then
			check_topic(value, name)
		elseif type(value) == "string" and name ~= "correlation" then
			check_text(value, name)
		end
	end
end

local check = {}

function check.connect(p, body)
	local flags = body:byte(#p.protocol + 4)
	rule(p.protocol == (p.version == 3 and "MQIsdp" or "MQTT"), "protocol name %s", p.protocol)
	rule(flags & 1 == 0, "the reserved flag of CONNECT is set")
	rule(flags & 0x18 ~= 0x18, "a will of QoS 3")
	rule(p.will or flags & 0x38 == 0, "flags of a will without a will")
	rule(p.username or not p.password or p.version == 5, "a password without a user name")
	check_text(p.client_id, "client id")
	if p.will then
		check_topic(p.will.topic, "topic of the will")
		check_properties(p.will.properties)
	end
end

function check.publish(p)
	rule(p.qos < 3, "PUBLISH with QoS 3")
	rule(p.qos > 0 or not p.dup, "PUBLISH with QoS 0 and DUP")
	check_topic(p.topic, "topic")
end

function check.subscribe(p, _, version)
	rule(#p.filters > 0, "SUBSCRIBE without a filter")
	for _, f in ipairs(p.filters) do
		check_text(f.filter, "filter")
		rule(f.qos < 3 and f.retain_handling < 3, "SUBSCRIBE with option 3")
		rule(version == 5 or not (f.no_local or f.retain_as_published or f.retain_handling > 0), "options before MQTT 5")
		rule(not f.no_local or not f.filter:find("^%$share/"), "a shared subscription with no_local")
	end
end

function check.unsubscribe(p)
	rule(#p.filters > 0, "UNSUBSCRIBE without a filter")
end

local function check_form(p, flags, body, version)
	rule(p.type == "publish" or flags_of[p.type], "%s comes from brokers only", p.type)
	rule(p.type == "publish" or flags == flags_of[p.type], "%s with flags %d", p.type, flags)
	rule(p.id ~= 0, "%s with id 0", p.type)
	check_properties(p.properties)
	if check[p.type] then
		check[p.type](p, body, version)
	end
end

-- ---- whether it may come now ----

local rules = {}
rules.__index = rules

--- Those of one connection.
function M.new()
	return setmetatable({
		out = {},         -- what is under way from the client, by id: "subscribe", 1 or 2 (QoS), "released"
		n_out = 0,        -- messages among them
		maximum = 65535,  -- of those
		to_release = {},  -- ids whose PUBREC the client got, in order
		due = { puback = {}, pubrec = {}, pubcomp = {} }, -- ids that it must answer, in order
	}, rules)
end

local function free(self, id)
	if math.type(self.out[id]) or self.out[id] == "released" then
		self.n_out = self.n_out - 1
	end
	self.out[id] = nil
end

local function occupy(self, p, what)
	rule(not self.out[p.id], "%s with id %d, which is under way on this connection", p.type, p.id)
	self.out[p.id] = what
end

-- Takes an id from the front of a list; PUBRELs and acknowledgements keep the order of what they answer.
local function take_first(list, p)
	rule(list[1] == p.id, "%s with id %d, expected %s", p.type, p.id, list[1] or "none")
	table.remove(list, 1)
end

local function is_in(list, id)
	for _, each in ipairs(list) do
		if each == id then
			return true
		end
	end
end

local arrives = {}

function arrives:publish(p)
	if p.qos > 0 then
		occupy(self, p, p.qos)
		self.n_out = self.n_out + 1
		rule(self.n_out <= self.maximum, "more than %d messages under way", self.maximum)
	end
end

function arrives:subscribe(p)
	occupy(self, p, "subscribe")
end
arrives.unsubscribe = arrives.subscribe

-- For what an earlier connection had under way, and for what was never there, it comes without a PUBLISH.
function arrives:pubrel(p)
	local state = self.out[p.id]
	rule(not state or state == 2, "PUBREL with id %d, whose message is not one that waits for it", p.id)
	if state or is_in(self.to_release, p.id) then
		take_first(self.to_release, p)
	end
	self.out[p.id] = state and "released" or "resumed"
end

for name in pairs { puback = 1, pubrec = 1, pubcomp = 1 } do
	arrives[name] = function(self, p)
		if not self.relaxed then
			take_first(self.due[name], p)
		end
	end
end

--- The client's packet, with the flags of its first byte and what is behind its length.
function rules:received(p, flags, body, version)
	check_form(p, flags, body, version)
	rule(not self.left, "%s after DISCONNECT", p.type)
	rule((p.type == "connect") == not self.began, "CONNECT comes first, and once; this is %s", p.type)
	self.began = true
	self.left = p.type == "disconnect"
	if arrives[p.type] then
		arrives[p.type](self, p)
	end
end

--- What the broker has sent.
function rules:sent(p)
	if p.type == "connack" then
		self.maximum = p.properties and p.properties.receive_maximum or 65535
	elseif p.type == "publish" and (p.qos or 0) > 0 then
		table.insert(p.qos == 1 and self.due.puback or self.due.pubrec, p.id)
	elseif p.type == "pubrel" then
		table.insert(self.due.pubcomp, p.id)
	elseif p.type == "pubrec" and (p.code or 0) < 0x80 then
		table.insert(self.to_release, p.id)
	elseif p.id then
		free(self, p.id)
	end
end

--- The broker has sent any bytes: what they ask for is not known.
function rules:relax()
	self.relaxed = true
end

return M
