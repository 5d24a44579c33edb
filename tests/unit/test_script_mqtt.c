/* What scripts do with MQTT: messages, publishing, subscribing, links. */
#include "script_fixture.h"

#include <string.h>

#include "properties.h"
#include "test.h"

static void message_arguments(void)
{
	struct script *script = open_script("function on_message(topic, payload, msg)\n"
	                                    "  mqtt.pub('out', table.concat({topic, payload, msg.link, msg.qos,"
	                                    "    tostring(msg.retain), tostring(msg.dup), string.format('%.3f', msg.time),"
	                                    "    tostring(msg.properties)}, ' '))\n"
	                                    "end");

	message(script, "a/b", "hello");
	CHECK(did("pub core out=a/b hello field 1 false false 1234567890.123 nil q1 #1;"));
	CHECK(world.last.origin == 42 && silent());
	CHECK(script_stats(script).calls == 1 && script_stats(script).errors == 0);
	script_close(script);
}

static void payloads_are_any_bytes(void)
{
	struct script *script = open_script("function on_message(topic, payload) mqtt.pub('n', #payload)"
	                                    " mqtt.pub('same', payload) end");

	message_sized(script, "t", "a\0b\377", 4);
	CHECK(world.payload.size == 4 && !memcmp(world.payload.data, "a\0b\377", 4));
	message_sized(script, "t", NULL, 0);
	CHECK(world.payload.size == 0);
	script_close(script);
	script = open_script("function on_message(_, p) mqtt.pub('twice', p .. p) end");
	world.effects.size = 0;
	message(script, "t", "x");
	CHECK(did("pub core twice=xx q1 #1;"));
	script_close(script);
}

static void properties_travel(void)
{
	struct buffer sent = { 0 };
	struct inbound inbound = { .topic = "t", .payload = { "p", 1 } };
	struct property list[] = {
		{ .id = PROPERTY_PAYLOAD_FORMAT, .number = 1 },
		{ .id = PROPERTY_MESSAGE_EXPIRY, .number = 4000000000 },
		{ .id = PROPERTY_CONTENT_TYPE, .text = { "text/csv", 8 } },
		{ .id = PROPERTY_RESPONSE_TOPIC, .text = { "re/ply", 6 } },
		{ .id = PROPERTY_CORRELATION, .text = { "\0\377", 2 } },
		{ .id = PROPERTY_USER, .name = { "k", 1 }, .text = { "v1", 2 } },
		{ .id = PROPERTY_USER, .name = { "k", 1 }, .text = { "v2", 2 } },
	};
	struct script *script = open_script("function on_message(t, p, msg)\n"
	                                    "  local q = msg.properties\n"
	                                    "  assert(q.payload_format == 1 and q.message_expiry == 4000000000)\n"
	                                    "  assert(q.content_type == 'text/csv' and q.response_topic == 're/ply')\n"
	                                    "  assert(q.correlation_data == '\\0\\255' and #q.user == 2)\n"
	                                    "  assert(q.user[2][1] == 'k' and q.user[2][2] == 'v2')\n"
	                                    "  mqtt.pub('out', p, { properties = q })\n"
	                                    "end");

	for (size_t i = 0; i < sizeof list / sizeof *list; i++)
		CHECK(properties_append(&sent, &list[i]) == 0);
	inbound.properties = (struct bytes){ sent.data, sent.size };
	CHECK(script_message(script, field.name, &inbound) == NULL);
	CHECK(silent() && did("pub core out=p q1 #1;"));
	CHECK(world.properties.size == sent.size);
	script_close(script);
	buffer_release(&sent);
}

static void user_properties_from_a_map(void)
{
	struct bytes properties;
	struct property property;

	run("mqtt.pub('t', 'p', { properties = { user = { site = 'north' } } })");
	properties = (struct bytes){ world.properties.data, world.properties.size };
	CHECK(silent() && properties_next(&properties, &property) && properties.size == 0);
	CHECK(property.id == PROPERTY_USER && !memcmp(property.text.data, "north", 5));
	run("mqtt.pub('t', 'p', { properties = { user = {} } })");
	CHECK(silent() && world.properties.size == 0);
}

static void bad_properties_are_named(void)
{
	static const char *const cases[][2] = {
		{ "7", "opts.properties: table expected, got number" },
		{ "{ payload_format = 2 }", "opts.properties.payload_format: 0 or 1 expected, got 2" },
		{ "{ message_expiry = -1 }", "opts.properties.message_expiry: whole number of seconds expected, got -1" },
		{ "{ message_expiry = 1.5 }", "opts.properties.message_expiry: whole number of seconds expected, got 1.5" },
		{ "{ content_type = true }", "opts.properties.content_type: string expected, got boolean" },
		{ "{ content_type = '\\255' }", "opts.properties.content_type is not valid UTF-8" },
		{ "{ content_type = ('x'):rep(65536) }", "opts.properties.content_type is longer than 65535 bytes" },
		{ "{ response_topic = 'a/#' }", "opts.properties.response_topic contains a wildcard" },
		{ "{ user = 'x' }", "opts.properties.user: table expected, got \"x\"" },
		{ "{ user = { 'x' } }", "opts.properties.user[1]: { name, value } expected, got string" },
		{ "{ user = { { 'x' } } }", "opts.properties.user: string expected, got nil" },
		{ "{ user = { [2.5] = 'x' } }", "opts.properties.user: names are strings, got a number" },
		{ "{ contenttype = 'x' }", "opts.properties.contenttype: unknown key; did you mean 'content_type'?" },
	};
	char statements[300];

	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		(void)snprintf(statements, sizeof statements, "mqtt.pub('t', 'p', { properties = %s })", cases[i][0]);
		CHECK(raises(statements, cases[i][1]));
	}
}

static void publishes(void)
{
	run("assert(mqtt.pub('a', 'x') == 1) assert(mqtt.pub('b', 2.5, { qos = 0, retain = true }) == 2)"
	    " mqtt.pub('c', '', { qos = 2, link = 'field' }) mqtt.pub('d', 7, { link = mqtt.link('field') })"
	    " assert(mqtt.pubx('e', 'x', 2, true) == 5) mqtt.pubx('f', 'x') mqtt.pubx('g', 'x', 0)");
	CHECK(did("pub core a=x q1 #1;pub core b=2.5 q0r #2;pub field c= q2 #3;pub field d=7 q1 #4;"
	          "pub core e=x q2r #5;pub core f=x q1 #6;pub core g=x q0 #7;"));
	run("mqtt.pub('a', ('x'):rep(1000000)) for i = 1, 300 do mqtt.pub('b', ('y'):rep(500)) end");
	CHECK(silent() && world.seq == 301);
}

static void bad_arguments_are_named(void)
{
	CHECK(raises("mqtt.pub()", "bad argument #1 to 'pub' (topic: string expected, got no value)"));
	CHECK(raises("mqtt.pub('a/#', 'x')", "bad argument #1 to 'pub' (topic contains a wildcard)"));
	CHECK(raises("mqtt.pub('', 'x')", "(topic is empty)"));
	CHECK(raises("mqtt.pub('\\255', 'x')", "(topic is not valid UTF-8)"));
	CHECK(raises("mqtt.pub('a\\0b', 'x')", "(topic contains a NUL byte)"));
	CHECK(raises("mqtt.pub(('x'):rep(65536), 'x')", "(topic is longer than 65535 bytes)"));
	CHECK(raises("mqtt.pub('t')",
	             "bad argument #2 to 'pub' (payload: string or number expected, got no value)"));
	CHECK(raises("mqtt.pub('t', nil)", "payload: string or number expected, got nil"));
	CHECK(raises("mqtt.pub('t', true)", "payload: string or number expected, got boolean"));
	CHECK(raises("mqtt.pub('t', {})", "payload: string or number expected, got table"));
	CHECK(raises("mqtt.pub('t', 'p', 1)", "opts: table expected, got number"));
	CHECK(raises("mqtt.pub('t', 'p', { qos = 3 })", "rules.lua:1: opts.qos: 0, 1 or 2 expected, got 3"));
	CHECK(raises("mqtt.pub('t', 'p', { qos = '1' })", "opts.qos: 0, 1 or 2 expected, got \"1\""));
	CHECK(raises("mqtt.pub('t', 'p', { ttl = ('x'):rep(50) })", "got \"xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx...\""));
	CHECK(raises("mqtt.pub('t', 'p', { ctx = true, ttl = mqtt.link('core') })", "got link"));
	CHECK(raises("mqtt.pub('t', json.null)", "payload: string or number expected, got json.null"));
	CHECK(raises("mqtt.pub(json.null, 'p')", "topic: string expected, got json.null"));
	CHECK(raises("mqtt.pub('t', 'p', { retain = 1 })", "opts.retain: boolean expected, got 1"));
	CHECK(raises("mqtt.pub('t', 'p', { retian = true })", "opts.retian: unknown key; did you mean 'retain'?"));
	CHECK(raises("mqtt.pub('t', 'p', { wibble = true })", "opts.wibble: unknown key\n"));
	CHECK(raises("mqtt.pub('t', 'p', { 1 })", "opts: keys are names, got a number"));
	CHECK(raises("mqtt.pub('t', 'p', { ttl = '1 week' })", "opts.ttl: seconds above 0 or a duration such as \"5s\", \"10m\" or \"7d\" expected"));
	CHECK(raises("mqtt.pub('t', 'p', { priority = 10 })", "opts.priority: 0 to 9 expected, got 10"));
	CHECK(raises("mqtt.pub('t', 'p', { link = 1 })", "opts.link: link or its name expected, got 1"));
	CHECK(raises("mqtt.pub('t', 'p', { ctx = { f = print } })", "opts.ctx.f: a function cannot be stored"));
	CHECK(raises("mqtt.pubx('t', 'p', 3)", "bad argument #3 to 'pubx' (qos: 0, 1 or 2 expected)"));
	CHECK(raises("mqtt.pubx('t', 'p', 1, 1)",
	             "bad argument #4 to 'pubx' (retain: boolean expected, got number)"));
	CHECK(raises("mqtt.sub('a/#/b')", "bad argument #1 to 'sub' (filter "));
	CHECK(raises("mqtt.sub(7)", "filter: string expected, got number"));
	CHECK(raises("mqtt.sub('a', { qso = 1 })", "opts.qso: unknown key; did you mean 'qos'?"));
	CHECK(raises("mqtt.sub('a', { retain_handling = 1, link = 'field' })",
	             "opts.retain_handling: needs a link with version = \"5\""));
	CHECK(raises("mqtt.sub('$share/g/a', { no_local = true })", "opts.no_local: cannot be used with a $share filter"));
	CHECK(raises("mqtt.pub('t', 'p', { qos = 0.5 })", "opts.qos: 0, 1 or 2 expected, got 0.5"));
	CHECK(raises("mqtt.subx('a', 5)", "bad argument #2 to 'subx' (qos: 0, 1 or 2 expected)"));
	CHECK(raises("mqtt.link()", "bad argument #1 to 'link' (name: string expected, got no value)"));
	CHECK(raises("mqtt.link('core').pub('t', 'p')", "link expected, got string"));
	CHECK(raises("mqtt.link('core'):pub('t')", "bad argument #2 to 'pub' (payload:"));
	CHECK(raises("mqtt.link('core'):pub('t', 'p', { link = 'field' })", "opts.link: the method of a link"));
}

/* What is given up is an effect like any other: it is so only if the handler returns. */
static void a_loss_is_an_effect(void)
{
	struct script *script = open_script("function on_message(topic, payload)\n"
	                                    "  local token, why = mqtt.pub(topic, payload)\n"
	                                    "  if payload == 'bad' then error(why) end\n"
	                                    "end");

	world.refusal = "queue full";
	world.loses = true;
	message(script, "t", "good");
	CHECK(silent() && did("lose core t #1;"));
	message(script, "t", "bad");
	CHECK(saw("queue full") && did(""));
	world.loses = false;
	script_close(script);
}

static void states_of_the_world_are_returned(void)
{
	struct script *script = open_script("function on_start()\n"
	                     "  local function no(want, r, why, ...) assert(r == nil and why == want, why) end\n"
	                     "  no('no default link', mqtt.pub('t', 'p'))\n"
	                     "  no('no default link', mqtt.pubx('t', 'p', 1, false))\n"
	                     "  no('no default link', mqtt.sub('t'))\n"
	                     "  no('no default link', mqtt.subx('t', 1))\n"
	                     "  no('no default link', mqtt.unsub('t'))\n"
	                     "  no('no default link', mqtt.disconnect())\n"
	                     "  no('no default link', mqtt.is_connected())\n"
	                     "  no('unknown link', mqtt.pub('t', 'p', { link = 'nowhere' }))\n"
	                     "  no('unknown link', mqtt.sub('t', { link = 'nowhere' }))\n"
	                     "  no('unknown link', mqtt.link('nowhere'))\n"
	                     "  no('queue full', mqtt.link('core'):pub('t', 'p'))\n"
	                     "end");
	world.by_default = NULL;
	world.refusal = "queue full";
	script_start(script);
	CHECK(silent() && did(""));
	script_close(script);
}

static void subscribes(void)
{
	run("assert(mqtt.sub('a/#')) assert(mqtt.sub('b', { qos = 0.0, no_local = true, retain_as_published = true,"
	    " retain_handling = 2, link = 'core' })) mqtt.subx('c/+', 2) mqtt.subx('d') mqtt.sub('$share/g/e')"
	    " assert(mqtt.unsub('a/#')) assert(mqtt.disconnect()) assert(mqtt.is_connected() == true)");
	CHECK(silent() && did("sub core a/# q10;sub core b q0lp2;sub core c/+ q20;sub core d q10;"
	                      "sub core $share/g/e q10;unsub core a/#;disc core;"));
	run("mqtt.conn('tcp://h', 'late', { version = '5' }):sub('a', { no_local = true })");
	CHECK(silent() && did("conn late h:1883 gw-01-late;sub late a q1l0;"));
	CHECK(raises("mqtt.conn('tcp://h', 'late'):sub('a', { no_local = true })", "opts.no_local: needs a link with version"));
}

static void link_objects(void)
{
	run("local core, field = mqtt.link('core'), mqtt.link('field')\n"
	    "assert(core == mqtt.link('core') and core ~= field and ({ [core] = 1 })[mqtt.link('core')])\n"
	    "assert(core:name() == 'core' and tostring(core) == 'link core' and core:depth() == 7)\n"
	    "assert(core:connected() and core:is_connected() and not field:connected())\n"
	    "assert(getmetatable(core) == 'link' and not pcall(function() core.x = 1 end))\n"
	    "field:pub('a', 'b', { qos = 2 }) field:pubx('c', 'd', 0, true) field:sub('e') field:subx('f', 2)\n"
	    "field:unsub('e') field:disconnect()");
	CHECK(silent() && did("pub field a=b q2 #1;pub field c=d q0r #2;sub field e q10;sub field f q20;"
	                      "unsub field e;disc field;"));
}

static void connects(void)
{
	run("local late = assert(mqtt.conn('tcp://127.0.0.1:1884', 'late')) assert(late:name() == 'late')"
	    " late:pub('t', 'p') late:sub('x')");
	CHECK(silent() && did("conn late 127.0.0.1:1884 gw-01-late;pub late t=p q1 #1;sub late x q10;"));
	run("mqtt.conn('ssl://broker:8883', 'late', { client_id = 'me' })");
	CHECK(silent() && did("conn late broker:8883 tls me;"));
	CHECK(raises("mqtt.conn('tcp://h\\0x', 'late')", "url contains a NUL byte"));
	CHECK(raises("mqtt.conn('tcp://h', 'la\\0te')", "name contains a NUL byte"));
	CHECK(raises("mqtt.link('core\\0x')", "name contains a NUL byte"));
	CHECK(raises("mqtt.conn('nonsense', 'late')", "nonsense"));
	CHECK(raises("mqtt.conn('tcp://h', 'late', { keepalvie = 1 })", "keepalive"));
	CHECK(raises("mqtt.conn('tcp://h', 'late', 3)", "opts: table expected, got number"));
	CHECK(raises("mqtt.conn('tcp://h')", "name: string expected, got no value"));
	{
		struct script *script = open_script("function on_start() local r, why = mqtt.conn('tcp://h', 'late')"
		                                    " assert(r == nil and why == 'no room for a queue', why) end");

		world.no_room = true;
		script_start(script);
		CHECK(silent() && did(""));
		script_close(script);
	}
}

/* A link is not there if the handler that opens it fails. */
static void connects_all_or_nothing(void)
{
	struct script *script = open_script("local l function on_message(_, p)\n"
	                                    "  if p == 'open' then l = mqtt.conn('tcp://h', 'late') l:pub('t', 1) error('no') end\n"
	                                    "  for _, why in ipairs { select(2, l:pub('t', 2)), select(2, l:sub('t')),\n"
	                                    "    select(2, l:disconnect()), select(2, mqtt.pub('t', 3, { link = l })),\n"
	                                    "    select(2, mqtt.link('late')), select(2, l:connected()) } do\n"
	                                    "    assert(why == 'unknown link', why) end\n"
	                                    "end");

	message(script, "t", "open");
	CHECK(saw("no") && did("") && !world.late_exists);
	logged.size = 0;
	message(script, "t", "");
	CHECK(silent() && did(""));
	script_close(script);
	run("mqtt.conn('tcp://h', 'late') mqtt.conn('tcp://g', 'late')");
	CHECK(silent() && world.late_exists && did("conn late h:1883 gw-01-late;conn late g:1883 gw-01-late;"));
}

static void configurations_are_limited(void)
{
	run("local p, n = ('x'):rep(65000), 0\n"
	    "while n < 1000 do assert(mqtt.conn('mqtt://h', 'late', { username = 'x', password = p,\n"
	    "  will = { topic = 'x', payload = p }, birth = { topic = 'x', payload = p } })) n = n + 1 end");
	CHECK(did("") && saw("there is no more room") && !world.late_exists);
	run("while true do mqtt.conn('mqtt://h', 'late') end");
	CHECK(did("") && !world.late_exists);
	CHECK(raises("local s, t = ('x'):rep(60000), {} for i = 1, 1000 do t[i] = s .. i end"
	             " mqtt.conn('mqtt://h', 'late', { subscribe = t })", ""));
}

int main(void)
{
	if (!open_directory())
		return 1;
	RUN(message_arguments);
	RUN(payloads_are_any_bytes);
	RUN(properties_travel);
	RUN(user_properties_from_a_map);
	RUN(bad_properties_are_named);
	RUN(publishes);
	RUN(bad_arguments_are_named);
	RUN(a_loss_is_an_effect);
	RUN(states_of_the_world_are_returned);
	RUN(subscribes);
	RUN(link_objects);
	RUN(connects);
	RUN(connects_all_or_nothing);
	RUN(configurations_are_limited);
	return test_end();
}
