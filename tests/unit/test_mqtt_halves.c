/* Messages of QoS 2 half way, and what a repeated one leaves behind. */
#include "mqtt_halves.h"
#include "test.h"

static struct mqtt_halves halves;

static void test_ids_come_again(void)
{
	for (int round = 0; round < 2; round++)
		for (unsigned id = 1; id <= 65535; id++) {
			CHECK(mqtt_halves_begin(&halves, (uint16_t)id, false));
			CHECK(mqtt_halves_end(&halves, (uint16_t)id));
		}
	CHECK(halves.waiting == 0 && halves.spoilt == 0);
	mqtt_halves_release(&halves);
}

static void test_a_copy_is_got_rid_of_when_nothing_waits(void)
{
	CHECK(mqtt_halves_begin(&halves, 5, false) && mqtt_halves_begin(&halves, 6, false));
	CHECK(mqtt_halves_begin(&halves, 5, true) && mqtt_halves_begin(&halves, 5, true));
	CHECK(halves.waiting == 2 && halves.spoilt == 1);
	CHECK(mqtt_halves_end(&halves, 5)); /* 6 needs the handle */
	CHECK(!mqtt_halves_end(&halves, 6));
	mqtt_halves_release(&halves);
	CHECK(mqtt_halves_begin(&halves, 5, false) && mqtt_halves_end(&halves, 5));
	mqtt_halves_release(&halves);
}

static void test_a_copy_is_never_taken_for_the_next_message(void)
{
	CHECK(mqtt_halves_begin(&halves, 5, false) && mqtt_halves_begin(&halves, 5, true));
	CHECK(mqtt_halves_begin(&halves, 6, false));
	CHECK(mqtt_halves_end(&halves, 5));
	CHECK(!mqtt_halves_begin(&halves, 5, false));
	mqtt_halves_release(&halves);
}

/* Brokers that do not look which ids are in use, with more than 65,535 messages on their way. */
static void test_another_message_is_no_copy(void)
{
	for (unsigned n = 1; n <= 3; n++)
		CHECK(mqtt_halves_begin(&halves, 5, false) && halves.waiting == n);
	for (unsigned n = 3; n > 0; n--)
		CHECK(halves.waiting == n && mqtt_halves_end(&halves, 5));
	CHECK(halves.waiting == 0 && halves.spoilt == 0);
	mqtt_halves_release(&halves);
	CHECK(mqtt_halves_begin(&halves, 5, true) && mqtt_halves_end(&halves, 5)); /* of an earlier handle's time */
	mqtt_halves_release(&halves);
}

static void test_another_message_behind_a_copy_would_get_it(void)
{
	CHECK(mqtt_halves_begin(&halves, 5, false) && mqtt_halves_begin(&halves, 5, true));
	CHECK(!mqtt_halves_begin(&halves, 5, false));
	mqtt_halves_release(&halves);
}

static void test_another_message_on_another_connection_is_in_place_of_a_forgotten_one(void)
{
	CHECK(mqtt_halves_begin(&halves, 5, false) && mqtt_halves_begin(&halves, 6, false));
	mqtt_halves_reconnect(&halves);
	CHECK(mqtt_halves_end(&halves, 5) && mqtt_halves_begin(&halves, 5, false) && mqtt_halves_begin(&halves, 5, false));
	CHECK(!mqtt_halves_begin(&halves, 6, false));
	mqtt_halves_release(&halves);
	mqtt_halves_reconnect(&halves); /* nothing has ever come */
}

static void test_more_of_an_id_than_can_be_counted(void)
{
	unsigned n = 0;

	while (n < 100000 && mqtt_halves_begin(&halves, 5, false))
		n++;
	CHECK(n >= 255 && halves.waiting == n);
	mqtt_halves_release(&halves);
}

static void test_what_was_not_seen_to_begin_may_end(void)
{
	CHECK(mqtt_halves_end(&halves, 7));
	CHECK(mqtt_halves_begin(&halves, 8, false) && mqtt_halves_end(&halves, 7) && halves.waiting == 1);
	mqtt_halves_release(&halves);
}

int main(void)
{
	RUN(test_ids_come_again);
	RUN(test_a_copy_is_got_rid_of_when_nothing_waits);
	RUN(test_a_copy_is_never_taken_for_the_next_message);
	RUN(test_another_message_is_no_copy);
	RUN(test_another_message_behind_a_copy_would_get_it);
	RUN(test_another_message_on_another_connection_is_in_place_of_a_forgotten_one);
	RUN(test_more_of_an_id_than_can_be_counted);
	RUN(test_what_was_not_seen_to_begin_may_end);
	return test_end();
}
