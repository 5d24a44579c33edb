/* The clocks. Timeouts run on the monotonic one; the wall clock is for people.
 *
 * And the agent's own clock, which no NTP jump touches: milliseconds it has known to
 * pass, its *age*. Within one boot of the machine it goes on while the agent is down;
 * across boots it goes on from the latest age that the store remembers, since how
 * long the machine was off cannot be known without trusting the wall clock. Expiry
 * runs on it, and receive times are corrected with it. Starts at 1; 0 is never.
 */
#ifndef TIDEGATE_CLOCK_H
#define TIDEGATE_CLOCK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Before 2024, when this program was not written yet, nothing was received: a wall
 * clock that says so is not set. */
#define CLOCK_PLAUSIBLE_MS INT64_C(1704067200000)

#define CLOCK_BOOT_ID 40 /* bytes of a boot's name, its NUL included */
#define CLOCK_NOTE 96    /* bytes of what clock_note() writes */

/* The agent's own clock. Plain values: copy it as you like. */
struct clock {
	char boot[CLOCK_BOOT_ID]; /* which boot of the machine this is; "" if it cannot be told */
	int64_t offset_ms;        /* age = milliseconds since the boot + offset */
	int64_t since_ms;         /* ages from here on belong to this boot */
};

/* ---- policy ---- */

/* Sets the clock at the start of a process, `boot_ms` into the boot named `boot`.
 * `note`: what an earlier process noted, or NULL. `latest_age_ms`: the latest age
 * found in the store, 0 if none. True: clock_note() must be made durable with or
 * before the first age that is kept. */
bool clock_start(struct clock *clock, const char *boot, int64_t boot_ms, const char *note, int64_t latest_age_ms);

/* What the next process wants to know, CLOCK_NOTE bytes at most. */
void clock_note(const struct clock *clock, char *text, size_t size);

int64_t clock_age_at(const struct clock *clock, int64_t boot_ms);

/* When it was, at the age `age_ms`, with the wall clock as it is set at `wall_now_ms`
 * and the age `age_now_ms`; *time_ms is what the wall clock said then. A time of this
 * boot is changed if the clock was set since; a time of an earlier boot stays. False:
 * *time_ms is uncertain, as the wall clock was not set then, or is not now. */
bool clock_correct(const struct clock *clock, int64_t wall_now_ms, int64_t age_now_ms, int64_t age_ms, int64_t *time_ms);

/* Whether the wall clock can have been set when it said so. */
bool clock_plausible(int64_t time_ms);

/* ---- readings: the only places that ask the system ---- */

int64_t clock_monotonic_ms(void);
int64_t clock_wall_ms(void);
int64_t clock_boot_ms(void); /* since the machine was booted, sleep included */
int64_t clock_age_ms(const struct clock *clock);
void clock_read_boot(char boot[CLOCK_BOOT_ID]);
double clock_wall_s(void); /* as exact as the system has them */
double clock_monotonic_s(void);

/* ---- rehearsals ---- */

#define CLOCK_SIMULATED_MS 1000 /* where the monotonic clock begins; not at 0, which is never */

/* From now on time passes only when it is told to: every reading above is a simulated
 * one, wherever it is made. The wall clock begins at `wall_ms`. For this process, and
 * for good. */
void clock_simulate(int64_t wall_ms);
bool clock_simulated(void);
void clock_advance(int64_t monotonic_ms); /* to this reading of clock_monotonic_ms() */

#endif
