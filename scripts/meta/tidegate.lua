---@meta tidegate

-- What Tidegate adds to Lua 5.4 in scripts, for the Lua language server: completion, hover
-- texts and type checks. Nothing here is ever run. The manual is docs/lua.md.

---@alias tidegate.seconds number|string seconds, or a duration such as "250ms", "5s", "10m", "2h", "7d"
---@alias tidegate.ctx nil|boolean|number|string|table
---@alias tidegate.message_handler fun(topic: string, payload: string, msg: tidegate.Message)

---@class tidegate.Message
---@field link string name of the link it came on
---@field qos 0|1|2
---@field retain boolean it was stored at the broker before we subscribed
---@field dup boolean the broker sends it again
---@field time number when it was read, seconds since 1970
---@field properties? tidegate.Properties MQTT 5

---@class tidegate.Properties MQTT 5 properties
---@field payload_format? 0|1 1: UTF-8 text
---@field message_expiry? integer whole seconds
---@field content_type? string
---@field response_topic? string
---@field correlation_data? string any bytes
---@field user? string[][]|table<string, string> pairs, `{ { "site", "north" } }`; to publish also `{ site = "north" }`

---@class tidegate.PubOptions
---@field qos? 0|1|2 default 1
---@field retain? boolean default false
---@field link? tidegate.Link|string default: the default link
---@field ttl? tidegate.seconds what has not left by then expires
---@field priority? integer 0 to 9, higher ones leave first
---@field ctx? tidegate.ctx given back to `on_sent` and `on_drop`
---@field properties? tidegate.Properties

---@class tidegate.SubOptions
---@field qos? 0|1|2 default 1
---@field link? tidegate.Link|string default: the default link
---@field no_local? boolean MQTT 5
---@field retain_as_published? boolean MQTT 5
---@field retain_handling? 0|1|2 MQTT 5

-- ---- handlers: define those you need ----

---A message arrived, on any link.
---@param topic string
---@param payload string
---@param msg tidegate.Message
function on_message(topic, payload, msg) end

---The collector's broker acknowledged it.
---@param token integer what `mqtt.pub` returned
---@param link string
---@param ctx tidegate.ctx
function on_sent(token, link, ctx) end

---It will not be delivered.
---@param token integer what `mqtt.pub` returned
---@param link string
---@param reason string "overflow", "expired", "purged" or "rejected: ..."
---@param ctx tidegate.ctx
function on_drop(token, link, reason, ctx) end

---A link came up.
---@param link string
function on_connect(link) end

---A link went down.
---@param link string
---@param reason string
function on_disconnect(link, reason) end

---The agent starts, before links connect.
function on_start() end

---The agent was told to stop.
function on_stop() end

-- ---- functions ----

---Calls `fn` for messages whose topic matches the filter. Does not subscribe.
---@param filter string
---@param fn tidegate.message_handler
function on(filter, fn) end

---Calls `fn(timer)` again and again.
---@param seconds tidegate.seconds
---@param fn fun(timer: tidegate.Timer)
---@return tidegate.Timer
function every(seconds, fn) end

---Calls `fn(timer)` once.
---@param seconds tidegate.seconds
---@param fn fun(timer: tidegate.Timer)
---@return tidegate.Timer
function after(seconds, fn) end

---The wall clock, seconds since 1970.
---@return number
function now() end

---Seconds on a clock that never jumps.
---@return number
function uptime() end

---@class tidegate.Timer
local Timer = {}

---@return boolean cancelled false: it was over already
function Timer:cancel() end

-- ---- state ----

---What it holds survives restarts: strings, numbers, booleans, json.null, and tables of those.
---@type table<string|number|boolean, any>
state = {}

-- ---- agent, log ----

agent = {}
---@type string this gateway's name
agent.name = ""
---@type string
agent.version = ""

log = {}
---@param format any a text alone is no format
function log.debug(format, ...) end
---@param format any a text alone is no format
function log.info(format, ...) end
---@param format any a text alone is no format
function log.warn(format, ...) end
---@param format any a text alone is no format
function log.error(format, ...) end

-- ---- json ----

json = {}

---@class tidegate.null
---@type tidegate.null JSON's null: a value, and true in conditions
json.null = nil

---@param value any
---@return string text keys sorted, without blanks
function json.encode(value) end

---@param text string
---@return any value nil: it is no JSON
---@return string? problem
function json.decode(text) end

---Marks a table as an array, so that it is `[]` when it is empty.
---@generic T: table
---@param t? T default: a new one
---@return T
function json.array(t) end

-- ---- kdb ----

---@class tidegate.Value of a type that Lua has not; never changes
---@field type string "int", "symbol", "timestamp", ..., "table", "dictionary", "function", "error", "null"
---@field atom boolean
---@field value nil|number|string of an atom or error: what is in it, in the type's own unit
---@field seconds number? of a time: since 1970 if it has a date
---@field null boolean
local Value = {}

---What JSON would make of it: numbers, strings, lists and tables, times as seconds.
---@return any
function Value:plain() end

---@class tidegate.Dictionary: tidegate.Value
---@field keys any
---@field values any
local Dictionary = {}

---@param key any symbols are found by a string, too
---@return any
function Dictionary:get(key) end

---@class tidegate.Table: tidegate.Value `t[1]` is its first row, by column names
---@field names string[]
---@field columns any[]
local Table = {}

---@param name string
---@return any
function Table:column(name) end

---@class tidegate.UpdOptions
---@field link? tidegate.Link|string default: the default kdb+ link
---@field ttl? tidegate.seconds what has not left by then expires
---@field ctx? tidegate.ctx given back to `on_sent` and `on_drop`

kdb = {}

---Queues a row for a kdb+ collector; its table is declared in agent.lua.
---@param table string
---@param row table a list in the order of the columns, or a table by their names
---@param opts? tidegate.UpdOptions
---@return integer? token
---@return string? problem "queue full", "no default kdb+ link"
function kdb.upd(table, row, opts) end

---A message as -8! makes it.
---@param value any
---@param opts? { compress: boolean }
---@return string bytes
function kdb.encode(value, opts) end

---What -9! reads.
---@param bytes string
---@return any value nil: it is no message
---@return string? problem
function kdb.decode(bytes) end

---What JSON would make of it.
---@param value any
---@return any
function kdb.plain(value) end

---@param keys any
---@param values any as many
---@return tidegate.Dictionary
function kdb.dictionary(keys, values) end

---@param names string[]
---@param columns any[] vectors, strings or lists, of equal lengths
---@return tidegate.Table
function kdb.table(names, columns) end

---The number as it is encoded, in the type's own unit: `kdb.raw("date", 8767)`.
---@param type string
---@param number number
---@return any
function kdb.raw(type, number) end

---@param seconds number|number[]|tidegate.Value since 1970
---@param nanoseconds? integer beyond whole seconds
---@return tidegate.Value
function kdb.timestamp(seconds, nanoseconds) end

---@param value boolean|boolean[]|tidegate.Value boolean; a list makes a vector
---@return boolean|tidegate.Value
function kdb.boolean(value) end

---@param value string|string[]|tidegate.Value as "8c680a01-5a49-5aab-5a65-d4bfddb6a661"; a list makes a vector
---@return tidegate.Value
function kdb.guid(value) end

---@param value integer|integer[]|tidegate.Value 0 to 255; a list makes a vector
---@return tidegate.Value
function kdb.byte(value) end

---@param value integer|integer[]|tidegate.Value a list makes a vector
---@return tidegate.Value
function kdb.short(value) end

---@param value integer|integer[]|tidegate.Value a list makes a vector
---@return tidegate.Value
function kdb.int(value) end

---@param value integer|integer[]|tidegate.Value a list makes a vector
---@return integer|tidegate.Value
function kdb.long(value) end

---@param value number|number[]|tidegate.Value a list makes a vector
---@return tidegate.Value
function kdb.real(value) end

---@param value number|number[]|tidegate.Value a list makes a vector
---@return number|tidegate.Value
function kdb.float(value) end

---@param value string|string[]|tidegate.Value one byte; a list makes a vector
---@return tidegate.Value
function kdb.char(value) end

---@param value string|string[]|tidegate.Value a list makes a vector
---@return string|string[]
function kdb.string(value) end

---@param value string|string[]|tidegate.Value without NUL; a list makes a vector
---@return tidegate.Value
function kdb.symbol(value) end

---@param value number|number[]|tidegate.Value seconds since 1970; a list makes a vector
---@return tidegate.Value
function kdb.month(value) end

---@param value number|number[]|tidegate.Value seconds since 1970; a list makes a vector
---@return tidegate.Value
function kdb.date(value) end

---@param value number|number[]|tidegate.Value seconds; a list makes a vector
---@return tidegate.Value
function kdb.timespan(value) end

---@param value number|number[]|tidegate.Value seconds; a list makes a vector
---@return tidegate.Value
function kdb.minute(value) end

---@param value number|number[]|tidegate.Value seconds; a list makes a vector
---@return tidegate.Value
function kdb.second(value) end

---@param value number|number[]|tidegate.Value seconds; a list makes a vector
---@return tidegate.Value
function kdb.time(value) end

kdb.null = {}
---@type tidegate.Value
kdb.null.char = nil
---@type tidegate.Value
kdb.null.date = nil
---@type number
kdb.null.float = 0
---@type tidegate.Value
kdb.null.generic = nil
---@type tidegate.Value
kdb.null.guid = nil
---@type tidegate.Value
kdb.null.int = nil
---@type integer
kdb.null.long = 0
---@type tidegate.Value
kdb.null.minute = nil
---@type tidegate.Value
kdb.null.month = nil
---@type tidegate.Value
kdb.null.real = nil
---@type tidegate.Value
kdb.null.second = nil
---@type tidegate.Value
kdb.null.short = nil
---@type string
kdb.null.string = ""
---@type tidegate.Value
kdb.null.symbol = nil
---@type tidegate.Value
kdb.null.time = nil
---@type tidegate.Value
kdb.null.timespan = nil
---@type tidegate.Value
kdb.null.timestamp = nil

kdb.inf = {}
---@type tidegate.Value
kdb.inf.date = nil
---@type number
kdb.inf.float = 0
---@type tidegate.Value
kdb.inf.int = nil
---@type integer
kdb.inf.long = 0
---@type tidegate.Value
kdb.inf.minute = nil
---@type tidegate.Value
kdb.inf.month = nil
---@type tidegate.Value
kdb.inf.real = nil
---@type tidegate.Value
kdb.inf.second = nil
---@type tidegate.Value
kdb.inf.short = nil
---@type tidegate.Value
kdb.inf.time = nil
---@type tidegate.Value
kdb.inf.timespan = nil
---@type tidegate.Value
kdb.inf.timestamp = nil

kdb.ninf = {}
---@type tidegate.Value
kdb.ninf.date = nil
---@type number
kdb.ninf.float = 0
---@type tidegate.Value
kdb.ninf.int = nil
---@type integer
kdb.ninf.long = 0
---@type tidegate.Value
kdb.ninf.minute = nil
---@type tidegate.Value
kdb.ninf.month = nil
---@type tidegate.Value
kdb.ninf.real = nil
---@type tidegate.Value
kdb.ninf.second = nil
---@type tidegate.Value
kdb.ninf.short = nil
---@type tidegate.Value
kdb.ninf.time = nil
---@type tidegate.Value
kdb.ninf.timespan = nil
---@type tidegate.Value
kdb.ninf.timestamp = nil

-- ---- metric ----

metric = {}

---@param name string letters, digits, _ and :
---@param labels? table<string, string>
---@return tidegate.Counter
function metric.counter(name, labels) end

---@param name string letters, digits, _ and :
---@param labels? table<string, string>
---@return tidegate.Gauge
function metric.gauge(name, labels) end

---@class tidegate.Counter
local Counter = {}

---@param n? number from 0 up, default 1
function Counter:add(n) end
---@param n? number from 0 up, default 1
function Counter:inc(n) end

---@class tidegate.Gauge
local Gauge = {}

---@param value number
function Gauge:set(value) end
---@param n number
function Gauge:add(n) end

-- ---- mqtt, on the default link ----

mqtt = {}

---Queues a message.
---@param topic string
---@param payload string|number
---@param opts? tidegate.PubOptions
---@return integer? token
---@return string? problem "queue full", "unknown link"
function mqtt.pub(topic, payload, opts) end

---@param topic string
---@param payload string|number
---@param qos 0|1|2
---@param retain boolean
---@return integer? token
---@return string? problem
function mqtt.pubx(topic, payload, qos, retain) end

---@param filter string
---@param opts? tidegate.SubOptions
---@return true?
---@return string? problem
function mqtt.sub(filter, opts) end

---@param filter string
---@param qos 0|1|2
---@return true?
---@return string? problem
function mqtt.subx(filter, qos) end

---@param filter string
---@return true?
---@return string? problem
function mqtt.unsub(filter) end

---Opens a link, or reconfigures it.
---@param url string mqtt://, mqtts://, tcp:// or ssl://
---@param name string
---@param opts? table the keys of a link in agent.lua
---@return tidegate.Link?
---@return string? problem
function mqtt.conn(url, name, opts) end

---Says goodbye and stays off; the queue keeps what it holds.
---@return true?
---@return string? problem
function mqtt.disconnect() end

---@return boolean?
---@return string? problem
function mqtt.is_connected() end

---@param name string
---@return tidegate.Link?
---@return string? problem "unknown link"
function mqtt.link(name) end

---@class tidegate.Link
local Link = {}

---@param topic string
---@param payload string|number
---@param opts? tidegate.PubOptions
---@return integer? token
---@return string? problem
function Link:pub(topic, payload, opts) end

---@param topic string
---@param payload string|number
---@param qos 0|1|2
---@param retain boolean
---@return integer? token
---@return string? problem
function Link:pubx(topic, payload, qos, retain) end

---@param filter string
---@param opts? tidegate.SubOptions
---@return true?
---@return string? problem
function Link:sub(filter, opts) end

---@param filter string
---@param qos 0|1|2
---@return true?
---@return string? problem
function Link:subx(filter, qos) end

---@param filter string
---@return true?
---@return string? problem
function Link:unsub(filter) end

---@return true?
---@return string? problem
function Link:disconnect() end

---@return boolean?
---@return string? problem
function Link:is_connected() end

---The same as `is_connected`.
---@return boolean?
---@return string? problem
function Link:connected() end

---@return integer? messages that wait for it or are in flight
---@return string? problem
function Link:depth() end

---@return string
function Link:name() end

---As `kdb.upd`; links for kdb+ have it, and none of pub, sub and their like.
---@param table string
---@param row table
---@param opts? tidegate.UpdOptions
---@return integer? token
---@return string? problem
function Link:upd(table, row, opts) end
