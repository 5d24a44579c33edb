/* kdb+ objects as bytes: what is written is what the rules of the wire say, in hand-made
 * vectors; what is read is checked; and both agree with what others wrote, where their
 * vectors are beside the checkout.
 */
#include <float.h>
#include <jansson.h>
#include <math.h>
#include <string.h>

#include "kdb_compress.h"
#include "kdb_ipc.h"
#include "kdb_print.h"
#include "kdb_vectors.h"
#include "test.h"

#define TEXT(text) ((struct bytes){ text, sizeof(text) - 1 })
#define MAX        (1 << 20)

static struct buffer out;

/* What was written since the last time is that. */
static bool wrote(const char *hex)
{
	unsigned char bytes[500];
	size_t size = from_hex(hex, bytes, sizeof bytes);
	bool same = out.size == size && memcmp(out.data, bytes, size) == 0;

	for (size_t i = 0; i < out.size && !same; i++)
		fprintf(stderr, "%02x%s", (unsigned char)out.data[i], i + 1 < out.size ? "" : "\n");
	out.size = 0;
	return same;
}

/* What the message in hex looks like, or what is wrong with it. */
static const char *shown(const char *hex)
{
	static struct buffer text;
	unsigned char bytes[1000];
	size_t size = from_hex(hex, bytes, sizeof bytes);

	text.size = 0;
	REQUIRE(kdb_print_message(&text, (struct bytes){ bytes, size }, MAX, 300) == 0);
	REQUIRE(buffer_append(&text, "", 1) == 0);
	return text.data;
}

/* The same of an object, whose message has `kind`. */
static const char *shown_object(const char *hex, enum kdb_kind kind)
{
	static char message[2000];
	size_t size = strlen(hex) / 2 + 8;

	(void)snprintf(message, sizeof message, "01%02x0000%02x%02x0000%s", kind, (unsigned)size & 255,
	               (unsigned)size >> 8, hex);
	return shown(message);
}

#define SHOWS(hex, text) CHECK(strcmp(shown_object(hex, KDB_ASYNC), text) == 0 || complain(hex, text))

static bool complain(const char *hex, const char *text)
{
	fprintf(stderr, "%s\n  shows %s\n  not   %s\n", hex, shown_object(hex, KDB_ASYNC), text);
	return false;
}

/* ---- writing ---- */

static void atoms_are_a_type_and_an_item(void)
{
	static const unsigned char guid[16] = { 0xde, 0xad, 0xbe, 0xef, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16 };

	CHECK(kdb_put_integer(&out, KDB_BOOLEAN, 1) == 0 && wrote("ff01"));
	CHECK(kdb_put_guid(&out, guid) == 0 && wrote("fedeadbeef05060708090a0b0c0d0e0f10"));
	CHECK(kdb_put_integer(&out, KDB_BYTE, 200) == 0 && wrote("fcc8"));
	CHECK(kdb_put_integer(&out, KDB_SHORT, -2) == 0 && wrote("fbfeff"));
	CHECK(kdb_put_integer(&out, KDB_INT, 258) == 0 && wrote("fa02010000"));
	CHECK(kdb_put_integer(&out, -KDB_LONG, -3) == 0 && wrote("f9fdffffffffffffff"));
	CHECK(kdb_put_float(&out, KDB_REAL, 0.5) == 0 && wrote("f80000003f"));
	CHECK(kdb_put_float(&out, KDB_FLOAT, -2) == 0 && wrote("f700000000000000c0"));
	CHECK(kdb_put_integer(&out, KDB_CHAR, 'k') == 0 && wrote("f66b"));
	CHECK(kdb_put_symbol(&out, TEXT("pump")) == 0 && wrote("f570756d7000"));
	CHECK(kdb_put_integer(&out, KDB_TIMESTAMP, 1) == 0 && wrote("f40100000000000000"));
	CHECK(kdb_put_integer(&out, KDB_MONTH, -1) == 0 && wrote("f3ffffffff"));
	CHECK(kdb_put_integer(&out, KDB_DATE, 366) == 0 && wrote("f26e010000"));
	CHECK(kdb_put_float(&out, KDB_DATETIME, 1) == 0 && wrote("f1000000000000f03f"));
	CHECK(kdb_put_integer(&out, KDB_TIMESPAN, 256) == 0 && wrote("f00001000000000000"));
	CHECK(kdb_put_integer(&out, KDB_MINUTE, 90) == 0 && wrote("ef5a000000"));
	CHECK(kdb_put_integer(&out, KDB_SECOND, 1) == 0 && wrote("ee01000000"));
	CHECK(kdb_put_integer(&out, KDB_TIME, 1000) == 0 && wrote("ede8030000"));
	CHECK(kdb_put_null(&out) == 0 && wrote("6500"));
	CHECK(kdb_put_error(&out, TEXT("rank\0more")) == 0 && wrote("8072616e6b00"));
}

static void nulls_and_infinities_have_their_bytes(void)
{
	CHECK(kdb_put_integer(&out, KDB_SHORT, kdb_null_integer(KDB_SHORT)) == 0 && wrote("fb0080"));
	CHECK(kdb_put_integer(&out, KDB_SHORT, -kdb_infinite_integer(KDB_SHORT)) == 0 && wrote("fb0180"));
	CHECK(kdb_put_integer(&out, KDB_DATE, kdb_null_integer(-KDB_DATE)) == 0 && wrote("f200000080"));
	CHECK(kdb_put_integer(&out, KDB_TIME, kdb_infinite_integer(KDB_TIME)) == 0 && wrote("edffffff7f"));
	CHECK(kdb_put_integer(&out, KDB_LONG, kdb_null_integer(KDB_LONG)) == 0 && wrote("f90000000000000080"));
	CHECK(kdb_put_integer(&out, KDB_LONG, -kdb_infinite_integer(KDB_LONG)) == 0 && wrote("f90100000000000080"));
	CHECK(kdb_put_integer(&out, KDB_CHAR, kdb_null_integer(KDB_CHAR)) == 0 && wrote("f620"));
	CHECK(kdb_infinite_integer(KDB_BYTE) == 0 && kdb_infinite_integer(KDB_CHAR) == 0);
	CHECK(kdb_put_float(&out, KDB_REAL, -(double)NAN) == 0 && wrote("f80000c07f"));
	CHECK(kdb_put_float(&out, KDB_FLOAT, -(double)NAN) == 0 && wrote("f7000000000000f87f"));
	CHECK(kdb_put_float(&out, KDB_FLOAT, -(double)INFINITY) == 0 && wrote("f7000000000000f0ff"));
	CHECK(kdb_put_symbol(&out, (struct bytes){ NULL, 0 }) == 0 && wrote("f500"));
}

static void a_float_too_large_for_a_real_is_infinite(void)
{
	CHECK(kdb_put_float(&out, KDB_REAL, 1e300) == 0 && wrote("f80000807f"));
	CHECK(kdb_put_float(&out, KDB_REAL, -1e39) == 0 && wrote("f8000080ff"));
	CHECK(kdb_put_float(&out, KDB_REAL, (double)FLT_MAX) == 0 && wrote("f8ffff7f7f"));
	CHECK(kdb_put_float(&out, KDB_REAL, 1e-300) == 0 && wrote("f800000000"));
}

static void vectors_are_packed(void)
{
	CHECK(kdb_put_vector(&out, KDB_SHORT, (int16_t[]){ 1, -1 }, 2) == 0 && wrote("0500020000000100ffff"));
	CHECK(kdb_put_vector(&out, KDB_INT, (int32_t[]){ 7 }, 1) == 0 && wrote("06000100000007000000"));
	CHECK(kdb_put_vector(&out, KDB_FLOAT, (double[]){ 1 }, 1) == 0 && wrote("090001000000000000000000f03f"));
	CHECK(kdb_put_vector(&out, KDB_BOOLEAN, "\1\0\1", 3) == 0 && wrote("010003000000010001"));
	CHECK(kdb_put_vector(&out, KDB_LONG, NULL, 0) == 0 && wrote("070000000000"));
	CHECK(kdb_put_string(&out, TEXT("x")) == 0 && wrote("0a000100000078"));
	CHECK(kdb_put_string(&out, TEXT("\0\xff")) == 0 && wrote("0a000200000000ff"));
	CHECK(kdb_put_vector_head(&out, KDB_SYMBOL, 2) == 0 && kdb_put_symbol_item(&out, TEXT("a")) == 0 &&
	      kdb_put_symbol_item(&out, TEXT("")) == 0 && wrote("0b0002000000610000"));
	CHECK(kdb_put_vector_head(&out, KDB_DATE, 1) == 0 && kdb_put_integer_item(&out, KDB_DATE, 2) == 0 &&
	      wrote("0e000100000002000000"));
}

static void what_cannot_be_written_is_refused(void)
{
	CHECK(kdb_put_symbol(&out, TEXT("a\0b")) == -1);
	CHECK(kdb_put_vector(&out, KDB_SYMBOL, "a", 1) == -1);
	CHECK(kdb_put_vector(&out, KDB_LONG, "", SIZE_MAX / 2) == -1);
	CHECK(kdb_put_list(&out, (size_t)KDB_SIZE_MAX + 1) == -1);
	CHECK(kdb_put_integer(&out, KDB_FLOAT, 1) == -1 && kdb_put_float(&out, KDB_LONG, 1) == -1);
	out.size = 0;
	CHECK(kdb_message_end(&out, kdb_message_begin(&out, KDB_ASYNC)) == -1);
	out.size = 0;
}

static void a_call_is_a_message(void)
{
	size_t begin;

	CHECK(buffer_append(&out, "before", 6) == 0);
	begin = kdb_message_begin(&out, KDB_SYNC);
	CHECK(begin == 6);
	CHECK(kdb_put_list(&out, 3) == 0 && kdb_put_symbol(&out, TEXT(".u.upd")) == 0 &&
	      kdb_put_symbol(&out, TEXT("tank")) == 0 && kdb_put_list(&out, 1) == 0 &&
	      kdb_put_vector(&out, KDB_LONG, (int64_t[]){ 5 }, 1) == 0);
	CHECK(kdb_message_end(&out, begin) == 0);
	CHECK(wrote("6265666f7265"
	            "0101000030000000"
	            "000003000000"
	            "f52e752e75706400"
	            "f574616e6b00"
	            "000001000000"
	            "0700010000000500000000000000"));
}

static void tables_and_dictionaries_have_their_heads(void)
{
	CHECK(kdb_put_table(&out) == 0 && kdb_put_vector_head(&out, KDB_SYMBOL, 1) == 0 &&
	      kdb_put_symbol_item(&out, TEXT("a")) == 0 && kdb_put_list(&out, 1) == 0 &&
	      kdb_put_vector(&out, KDB_BYTE, "\7", 1) == 0);
	CHECK(wrote("620063" "0b00010000006100" "000001000000" "04000100000007"));
	CHECK(kdb_put_dictionary(&out) == 0 && kdb_put_vector(&out, KDB_BYTE, "\7", 1) == 0 &&
	      kdb_put_string(&out, TEXT("x")) == 0);
	CHECK(wrote("63" "04000100000007" "0a000100000078"));
}

static void types_have_names_letters_and_ranges(void)
{
	static const char letters[] = " bg xhijefcspmdznuvt";

	for (int type = 0; type <= KDB_TIME; type++) {
		CHECK(kdb_type_letter(type) == letters[type] && kdb_type_letter(-type) == letters[type]);
		if (type != 3 && type != KDB_LIST)
			CHECK(kdb_type_by_name(kdb_type_name(-type)) == type);
	}
	CHECK(kdb_type_by_name("table") == 0 && kdb_type_by_name("list") == 0);
	CHECK(strcmp(kdb_type_name(3), "?") == 0 && strcmp(kdb_type_name(112), "?") == 0);
	CHECK(strcmp(kdb_type_name(INT32_MIN), "?") == 0);
	CHECK(strcmp(kdb_type_name(KDB_PROJECTION), "function") == 0);
	CHECK(kdb_integer_fits(KDB_BOOLEAN, 1) && !kdb_integer_fits(-KDB_BOOLEAN, 2));
	CHECK(kdb_integer_fits(KDB_BYTE, 255) && !kdb_integer_fits(KDB_BYTE, -1));
	CHECK(kdb_integer_fits(KDB_SHORT, -32768) && !kdb_integer_fits(KDB_SHORT, 32768));
	CHECK(kdb_integer_fits(KDB_TIME, INT32_MIN) && !kdb_integer_fits(KDB_TIME, INT64_MIN));
	CHECK(kdb_integer_fits(KDB_TIMESPAN, INT64_MIN) && !kdb_integer_fits(KDB_FLOAT, 0));
}

/* ---- reading ---- */

static struct kdb_input opened(const char *hex)
{
	static unsigned char bytes[1000];
	static struct buffer scratch;
	struct kdb_input input;
	char err[200];
	size_t size = from_hex(hex, bytes, sizeof bytes);

	REQUIRE(kdb_open(&input, (struct bytes){ bytes, size }, MAX, &scratch, err, sizeof err) == 0);
	return input;
}

static bool is(struct bytes bytes, const char *text)
{
	return bytes.size == strlen(text) && memcmp(bytes.data, text, bytes.size) == 0;
}

/* ([]a:1 -2h;b:`x`) in the other byte order */
static const char big_table[] = "000200000000002e" "620063" "0b000000000261006200" "000000000002"
				"0500000000020001fffe" "0b00000000027800" "00";

static void a_walk_meets_every_object_before_what_it_holds(void)
{
	struct kdb_input input = opened(big_table);
	struct kdb_object object;
	size_t at = 0;

	CHECK(kdb_next(&input, &object) && object.type == KDB_TABLE && object.children == 2);
	CHECK(kdb_next(&input, &object) && object.type == KDB_SYMBOL && object.n == 2 && object.children == 0);
	CHECK(is(kdb_symbol_next(&object, &at), "a") && is(kdb_symbol_next(&object, &at), "b"));
	CHECK(kdb_next(&input, &object) && object.type == KDB_LIST && object.n == 0 && object.children == 2);
	CHECK(kdb_next(&input, &object) && object.type == KDB_SHORT && object.n == 2);
	CHECK(kdb_integer_at(&object, 0) == 1 && kdb_integer_at(&object, 1) == -2);
	CHECK(kdb_next(&input, &object) && object.type == KDB_SYMBOL && object.n == 2);
	CHECK(!kdb_next(&input, &object));
}

static void what_an_object_holds_can_be_passed_over(void)
{
	/* ((1;());`end) */
	struct kdb_input input = opened("0100000024000000" "000002000000" "000002000000" "fa01000000"
	                                "000000000000" "f5656e6400");
	struct kdb_object object;

	CHECK(kdb_next(&input, &object) && kdb_next(&input, &object) && object.type == KDB_LIST);
	kdb_skip(&input, &object);
	CHECK(kdb_next(&input, &object) && object.type == -KDB_SYMBOL && is(kdb_text(&object), "end"));
}

static void both_byte_orders_are_read(void)
{
	CHECK(strcmp(shown(big_table), "([]a:1 -2h;b:`x`)") == 0);
	CHECK(strcmp(shown("000000000000000dfa00000102"), "258i") == 0);
	CHECK(strcmp(shown("0000000000000011f73ff8000000000000"), "1.5") == 0);
	CHECK(strcmp(shown("000000000000000df83f400000"), "0.75e") == 0);
	CHECK(strcmp(shown("0000000000000019fe000102030405060708090a0b0c0d0e0f"),
	             "00010203-0405-0607-0809-0a0b0c0d0e0f") == 0);
	CHECK(strcmp(shown("000000000000001a01000000000c" "000000000000000000000001"), "000000000001b") == 0);
}

static void an_object_without_a_head_is_read(void)
{
	struct kdb_input input;
	struct kdb_object object;
	char err[200];

	CHECK(kdb_put_list(&out, 2) == 0 && kdb_put_float(&out, KDB_FLOAT, 2.5) == 0 &&
	      kdb_put_string(&out, TEXT("on")) == 0);
	REQUIRE(kdb_open_object(&input, (struct bytes){ out.data, out.size }, err, sizeof err) == 0);
	CHECK(kdb_next(&input, &object) && object.children == 2);
	CHECK(kdb_next(&input, &object) && object.type == -KDB_FLOAT && fabs(kdb_float_at(&object, 0) - 2.5) < 1e-9);
	CHECK(kdb_next(&input, &object) && object.type == KDB_CHAR && is(kdb_text(&object), "on"));
	CHECK(kdb_open_object(&input, (struct bytes){ out.data, out.size - 1 }, err, sizeof err) == -1);
	CHECK(kdb_open_object(&input, (struct bytes){ NULL, 0 }, err, sizeof err) == -1);
	CHECK(strcmp(err, "byte 0: an object is missing") == 0);
	out.size = 0;
}

static void an_error_is_told_at_a_glance(void)
{
	unsigned char bytes[40];
	struct bytes message = { bytes, from_hex("010200000e000000" "807479706500", bytes, sizeof bytes) }, text;

	CHECK(kdb_is_error(message, &text) && is(text, "type"));
	message.size--;
	CHECK(kdb_is_error(message, &text) && is(text, "type"));
	message.size = KDB_HEAD_SIZE;
	CHECK(!kdb_is_error(message, &text));
	message.size = from_hex("010200000a0000006500", bytes, sizeof bytes);
	CHECK(!kdb_is_error(message, &text));
	CHECK(strcmp(shown("010200000e000000" "807479706500"), "'type") == 0);
	CHECK(strcmp(shown("010000000e000000" "807479706500"), "byte 8: an error is not expected here") == 0);
}

static void heads_are_checked(void)
{
	unsigned char bytes[8];
	struct kdb_head head;
	char err[200];

	(void)from_hex("0101000000010000", bytes, sizeof bytes);
	CHECK(kdb_read_head(bytes, 256, &head, err, sizeof err) == 0);
	CHECK(head.kind == KDB_SYNC && !head.big_endian && !head.compressed && head.size == 256);
	CHECK(kdb_read_head(bytes, 255, &head, err, sizeof err) == -1);
	CHECK(strcmp(err, "byte 4: a message of 256 bytes is more than the 255 that are allowed") == 0);
	(void)from_hex("0002010000000100", bytes, sizeof bytes);
	CHECK(kdb_read_head(bytes, 256, &head, err, sizeof err) == 0);
	CHECK(head.kind == KDB_RESPONSE && head.big_endian && head.compressed && head.size == 256);
}

static void what_is_wrong_is_said_with_its_place(void)
{
	static const struct {
		const char *hex, *err;
	} cases[] = {
		{ "010000", "byte 3: a message has a head of 8 bytes" },
		{ "480000000a0000006500",
		  "byte 0: a message begins with its byte order, 0 or 1, and not with 0x48" },
		{ "010300000a0000006500", "byte 1: there is no kind of message 3" },
		{ "010002000a0000006500", "byte 2: 2 is neither plain (0) nor compressed (1)" },
		{ "010000010a0000006500", "byte 3: a message of more than 4 GB" },
		{ "01000000080000006500", "byte 4: a message of 8 bytes would hold nothing" },
		{ "010000000b0000006500", "byte 4: a message of 10 bytes says that it has 11" },
		{ "010000000c000000" "65000000", "byte 10: 2 bytes too many behind the object" },
		{ "010000000900000065", "byte 9: a function's number is missing" },
		{ "0100000009000000fa", "byte 9: an item of type int is cut off" },
		{ "010000000a000000ff02", "byte 9: a boolean is 0 or 1 and not 2" },
		{ "010000000d000000f561626364", "byte 9: text without a zero byte at its end" },
		{ "010000000a0000001400", "byte 8: there is no type 20" },
		{ "010000000e0000000705" "00000000", "byte 9: there is no attribute 5" },
		{ "010000000e0000000700" "01000000",
		  "byte 10: a count of 1 does not fit into the 0 bytes that are left" },
		{ "010000000e0000000000" "ffffff7f",
		  "byte 10: a count of 2147483647 does not fit into the 0 bytes that are left" },
		{ "0100000013000000" "62000700" "00000000" "000000",
		  "byte 10: expected a table's dictionary (99), found type 7" },
		{ "0100000014000000" "000001000000" "807479706500", "byte 14: an error is not expected here" },
		{ "010000001300000063" "fa01000000" "fa01000000", "byte 9: a dictionary's keys are no list" },
		{ "010000001400000063" "0400000000" "00" "fa01000000", "byte 15: a dictionary's values are no list" },
		{ "010000001600000063" "040000000000" "04000100000001",
		  "byte 15: a dictionary has 0 keys and 1 values" },
		{ "010000000f0000006400" "fa01000000", "byte 10: a function's text is a string and not type -6" },
	};

	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		const char *err = shown(cases[i].hex);

		CHECK(strcmp(err, cases[i].err) == 0);
		if (strcmp(err, cases[i].err) != 0)
			fprintf(stderr, "%s: %s\n", cases[i].hex, err);
	}
}

static void tables_are_rectangles(void)
{
	/* names, columns */
	SHOWS("620063" "0b000200000061006200" "000001000000" "04000100000007",
	      "byte 21: a table has 2 column names and 1 columns");
	SHOWS("620063" "0b000200000061006200" "000002000000" "04000100000007" "0400020000000707",
	      "byte 34: column 2 of a table has 2 rows, the first has 1");
	SHOWS("620063" "0b00010000006100" "000001000000" "fa07000000", "byte 25: column 1 of a table is no list");
	SHOWS("620063" "0b00010000006100" "04000100000007", "byte 19: a table's columns are a list and not type 4");
	SHOWS("620063" "040001000000" "07" "000001000000" "04000100000007",
	      "byte 11: a table's column names are symbols and not type 4");
	SHOWS("620063" "0b0000000000" "000000000000", "byte 17: a table has 0 column names and 0 columns");
	SHOWS("620063" "0b000200000061006100" "000002000000" "04000100000007" "04000100000008",
	      "([]a:enlist 0x07;a:enlist 0x08)");
}

/* `n` lists in each other, in a message. */
static const char *nested(int n)
{
	static char hex[3000];
	size_t size = 8 + 6 * (size_t)n + 2;
	int at = snprintf(hex, sizeof hex, "01000000%02x%02x0000", (unsigned)size & 255, (unsigned)size >> 8);

	for (int i = 0; i < n; i++)
		at += snprintf(hex + at, sizeof hex - (size_t)at, "000001000000");
	(void)snprintf(hex + at, sizeof hex - (size_t)at, "6500");
	return hex;
}

static void depth_is_bounded(void)
{
	CHECK(strncmp(shown(nested(100)), "enlist enlist", 13) == 0);
	CHECK(strcmp(shown(nested(101)), "byte 608: more than 100 objects inside each other") == 0);
}

static void attributes_are_kept_when_copied_only(void)
{
	struct kdb_input input = opened("010000001e000000" "0701020000000100000000000000" "0200000000000000");
	struct kdb_object object;

	CHECK(kdb_next(&input, &object) && object.attribute == 1);
	CHECK(kdb_put_object(&out, &object) == 0 &&
	      wrote("070102000000" "0100000000000000" "0200000000000000"));
	object.attribute = 0;
	CHECK(kdb_put_object(&out, &object) == 0 &&
	      wrote("070002000000" "0100000000000000" "0200000000000000"));
}

static void counts_of_eight_bytes_are_read(void)
{
	SHOWS("0480" "0200000000000000" "dead", "0xdead");
	SHOWS("0480" "0200000001000000" "dead",
	      "byte 10: a count of 4294967298 does not fit into the 2 bytes that are left");
}

/* ---- printing ---- */

static void objects_look_like_q(void)
{
	SHOWS("0100" "03000000" "010001", "101b");
	SHOWS("0600" "03000000" "01000000" "00000080" "01000080", "1 0N -0Wi");
	SHOWS("0900" "02000000" "000000000000f03f" "0000000000000040", "1 2f");
	SHOWS("0900" "02000000" "000000000000f03f" "000000000000f8ff", "1 0n");
	SHOWS("0b00" "03000000" "6100" "6220" "00" "00", "`$(\"a\";\"b \";\"\")");
	SHOWS("0b00" "02000000" "2e752e757064003a612f6200", "`.u.upd`:a/b");
	SHOWS("f5612d6200", "`$\"a-b\"");
	SHOWS("0a00" "05000000" "2261c3a901", "\"\\\"a\303\251\\001\"");
	SHOWS("0a00" "04000000" "c285edc2", "\"\\302\\205\\355\\302\"");
	SHOWS("f4ffff01151fe8c60b", "2026.11.21D23:59:59.999999999");
	SHOWS("f40200000000000080", "1707.09.22D00:12:43.145224194");
	SHOWS("f4feffffffffffff7f", "2292.04.10D23:47:16.854775806");
	SHOWS("f3ffffffff", "1999.12m");
	SHOWS("f2ffffffff", "1999.12.31");
	SHOWS("f102000000000000c0", "1999.12.30T00:00:00.000");
	SHOWS("f0ffffffffffffffff", "-0D00:00:00.000000001");
	SHOWS("f0ff4e91944e000000", "0D00:05:37.499999999");
	SHOWS("effbffffff", "-00:05");
	SHOWS("ed804a5d05", "25:00:00.000");
	SHOWS("63" "0b0001000000" "6100" "0700010000000500000000000000", "(enlist `a)!enlist 5");
	SHOWS("63" "620063" "0b00010000006b00" "000001000000" "04000100000007" "620063" "0b00010000007600"
	      "000001000000" "04000100000008", "([k:enlist 0x07]v:enlist 0x08)");
	SHOWS("7f" "04010200000001020400020000000304", "`s#`s#0x0102!0x0304");
	SHOWS("6400" "0a00040000007b0a787d", "{\\nx}");
	SHOWS("6400" "0a0000000000", "{}");
	SHOWS("68" "03000000" "6601" "65ff" "650f", "+[;<unary 15>]");
	SHOWS("65ff", "<unary 255>");
	SHOWS("68" "02000000" "6601" "f90300000000000000", "+[3]");
	SHOWS("6b" "6602", "-/");
	SHOWS("0000" "03000000" "6500" "650f" "67" "03", "(::;<unary 15>;':)");
}

static void print_is_bounded(void)
{
	static unsigned char letters[5000];
	struct kdb_input input;
	struct buffer text = { 0 };
	char err[200];

	memset(letters, 'a', sizeof letters);
	REQUIRE(kdb_put_list(&out, 2) == 0 && kdb_put_string(&out, (struct bytes){ letters, sizeof letters }) == 0 &&
	        kdb_put_null(&out) == 0);
	REQUIRE(kdb_open_object(&input, (struct bytes){ out.data, out.size }, err, sizeof err) == 0);
	CHECK(kdb_print(&text, &input, 20) == 0);
	CHECK(text.size == 22 && memcmp(text.data, "(\"aaaaaaaaaaaaaaaaaa..", 22) == 0);
	buffer_release(&text);
	out.size = 0;
}

/* ---- what others wrote ---- */

static void copy(struct kdb_input input, int kind)
{
	size_t begin = kdb_message_begin(&out, (enum kdb_kind)kind);
	struct kdb_object object;

	while (kdb_next(&input, &object))
		CHECK(kdb_put_object(&out, &object) == 0);
	CHECK(kdb_message_end(&out, begin) == 0);
}

/* Little-endian ones come out as they went in. */
static void check_good(const char *name, struct bytes message)
{
	static struct buffer scratch;
	const unsigned char *bytes = message.data;
	struct kdb_input input;
	char err[200];

	if (kdb_open(&input, message, MAX, &scratch, err, sizeof err)) {
		fprintf(stderr, "%s: %s\n", name, err);
		CHECK(!"accepted");
		return;
	}
	out.size = 0;
	copy(input, bytes[1]);
	if (bytes[0] == 1 && (out.size != input.bytes.size || memcmp(out.data, input.bytes.data, out.size) != 0)) {
		fprintf(stderr, "%s: comes out as something else\n", name);
		CHECK(!"the same");
	}
	out.size = 0;
}

static void check_bad(const char *name, struct bytes message, const char *advice)
{
	static struct buffer scratch;
	struct kdb_input input;
	char err[200];
	bool accepted = kdb_open(&input, message, MAX, &scratch, err, sizeof err) == 0;

	if (accepted == (strncmp(advice, "reject", 6) == 0)) {
		fprintf(stderr, "%s: %s, but: %s\n", name, accepted ? "accepted" : err, advice);
		CHECK(!"as advised");
	}
}

static void vectors_of_others_come_out_as_they_went_in(void)
{
	json_t *list = open_vectors("vectors.json");
	size_t i;
	json_t *vector;

	json_array_foreach (list, i, vector) {
		struct bytes message = vector_bytes(vector);

		check_good(vector_text(vector, "name"), message);
		free((void *)(uintptr_t)message.data);
	}
	if (list)
		printf("figures: %zu vectors of others\n", json_array_size(list));
	json_decref(list);
}

static void bad_vectors_of_others_are_met_as_advised(void)
{
	json_t *list = open_vectors("bad-vectors.json");
	size_t i;
	json_t *vector;

	json_array_foreach (list, i, vector) {
		struct bytes message = vector_bytes(vector);

		check_bad(vector_text(vector, "name"), message, vector_text(vector, "advice"));
		free((void *)(uintptr_t)message.data);
	}
	if (list)
		printf("figures: %zu bad vectors of others\n", json_array_size(list));
	json_decref(list);
}

int main(void)
{
	RUN(atoms_are_a_type_and_an_item);
	RUN(nulls_and_infinities_have_their_bytes);
	RUN(a_float_too_large_for_a_real_is_infinite);
	RUN(vectors_are_packed);
	RUN(what_cannot_be_written_is_refused);
	RUN(a_call_is_a_message);
	RUN(tables_and_dictionaries_have_their_heads);
	RUN(types_have_names_letters_and_ranges);
	RUN(a_walk_meets_every_object_before_what_it_holds);
	RUN(what_an_object_holds_can_be_passed_over);
	RUN(both_byte_orders_are_read);
	RUN(an_object_without_a_head_is_read);
	RUN(an_error_is_told_at_a_glance);
	RUN(heads_are_checked);
	RUN(what_is_wrong_is_said_with_its_place);
	RUN(tables_are_rectangles);
	RUN(depth_is_bounded);
	RUN(attributes_are_kept_when_copied_only);
	RUN(counts_of_eight_bytes_are_read);
	RUN(objects_look_like_q);
	RUN(print_is_bounded);
	RUN(vectors_of_others_come_out_as_they_went_in);
	RUN(bad_vectors_of_others_are_met_as_advised);
	buffer_release(&out);
	return test_end();
}
