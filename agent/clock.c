/* Wall clock times are only compared with each other; what is kept across restarts
 * is a clock that only goes on. The policy is given the time; the readings, at the
 * end, are the only ones in the agent beside CPU time. */
#include "clock.h"

#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define APART_MS 100               /* at most, as two clocks are read one after the other */
#define SANE_MS (INT64_C(1) << 52) /* in a note; 140,000 years */

/* ---- policy ---- */

static bool sane(int64_t ms)
{
	return ms > -SANE_MS && ms < SANE_MS;
}

static bool read_note(const char *note, struct clock *clock)
{
	return note &&
	       sscanf(note, "%39s %" SCNd64 " %" SCNd64, clock->boot, &clock->offset_ms, &clock->since_ms) == 3 &&
	       sane(clock->offset_ms) && sane(clock->since_ms);
}

bool clock_start(struct clock *clock, const char *boot, int64_t boot_ms, const char *note, int64_t latest_age_ms)
{
	struct clock noted;
	bool known = read_note(note, &noted);

	if (latest_age_ms < 0 || !sane(latest_age_ms)) /* a damaged row */
		latest_age_ms = 0;
	if (known && noted.since_ms > latest_age_ms)
		latest_age_ms = noted.since_ms;
	/* A container or a machine that was thawed may have its boot's name and another time. */
	if (known && boot[0] && strcmp(boot, noted.boot) == 0 && clock_age_at(&noted, boot_ms) >= latest_age_ms) {
		*clock = noted;
		return false;
	}
	snprintf(clock->boot, sizeof clock->boot, "%s", boot);
	clock->since_ms = latest_age_ms + 1;
	clock->offset_ms = clock->since_ms - boot_ms;
	return true;
}

void clock_note(const struct clock *clock, char *text, size_t size)
{
	snprintf(text, size, "%s %" PRId64 " %" PRId64, clock->boot[0] ? clock->boot : "-", clock->offset_ms,
	         clock->since_ms);
}

int64_t clock_age_at(const struct clock *clock, int64_t boot_ms)
{
	return boot_ms + clock->offset_ms;
}

bool clock_plausible(int64_t time_ms)
{
	return time_ms >= CLOCK_PLAUSIBLE_MS;
}

bool clock_correct(const struct clock *clock, int64_t wall_now_ms, int64_t age_now_ms, int64_t age_ms, int64_t *time_ms)
{
	int64_t then_ms;

	if (age_ms >= clock->since_ms && age_ms <= age_now_ms && clock_plausible(wall_now_ms)) {
		then_ms = wall_now_ms - (age_now_ms - age_ms);
		if (*time_ms < then_ms - APART_MS || *time_ms > then_ms + APART_MS)
			*time_ms = then_ms;
	}
	return clock_plausible(*time_ms);
}

/* ---- readings ---- */

static struct {
	bool on;
	int64_t monotonic_ms, wall_ms; /* the latter when the former began */
} simulation;

void clock_simulate(int64_t wall_ms)
{
	simulation.on = true;
	simulation.monotonic_ms = CLOCK_SIMULATED_MS;
	simulation.wall_ms = wall_ms;
}

bool clock_simulated(void)
{
	return simulation.on;
}

void clock_advance(int64_t monotonic_ms)
{
	if (monotonic_ms > simulation.monotonic_ms)
		simulation.monotonic_ms = monotonic_ms;
}

static struct timespec reading(clockid_t id)
{
	struct timespec now = {0};
	int64_t ms = simulation.monotonic_ms;

	if (!simulation.on) {
		clock_gettime(id, &now);
		return now;
	}
	if (id == CLOCK_REALTIME)
		ms += simulation.wall_ms - CLOCK_SIMULATED_MS;
	return (struct timespec){.tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000};
}

static int64_t reading_ms(clockid_t id)
{
	struct timespec now = reading(id);

	return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

static double reading_s(clockid_t id)
{
	struct timespec now = reading(id);

	return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

int64_t clock_monotonic_ms(void)
{
	return reading_ms(CLOCK_MONOTONIC);
}

int64_t clock_wall_ms(void)
{
	return reading_ms(CLOCK_REALTIME);
}

int64_t clock_boot_ms(void)
{
	return reading_ms(CLOCK_BOOTTIME);
}

double clock_wall_s(void)
{
	return reading_s(CLOCK_REALTIME);
}

double clock_monotonic_s(void)
{
	return reading_s(CLOCK_MONOTONIC);
}

int64_t clock_age_ms(const struct clock *clock)
{
	return clock_age_at(clock, clock_boot_ms());
}

void clock_read_boot(char boot[CLOCK_BOOT_ID])
{
	int fd = open("/proc/sys/kernel/random/boot_id", O_RDONLY | O_CLOEXEC);
	ssize_t n = fd >= 0 ? read(fd, boot, CLOCK_BOOT_ID - 1) : 0;

	boot[n > 0 ? n : 0] = '\0';
	boot[strcspn(boot, " \n")] = '\0';
	if (fd >= 0)
		close(fd);
}
