/* Says what has changed at the moments that matter, and every tick that it is alive. */
#include "service.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "agent.h"
#include "clock.h"
#include "link.h"
#include "log.h"
#include "queue.h"

#define STATUS_MS 10000 /* without a watchdog: how often to look whether the status is another */

static void note(struct service *service, int result)
{
	if (result == 0 || errno == EAGAIN || errno == ENOBUFS) {
		service->silent = service->silent && result < 0;
		return;
	}
	if (!service->silent)
		log_warn("agent", "cannot tell the service manager anything: %s", strerror(errno));
	service->silent = true;
}

static void describe(const struct agent *agent, char *text, size_t size)
{
	uint64_t messages = 0;
	size_t links = 0, up = 0;

	for (const struct route *route = agent->routes; route; route = route->next) {
		links++;
		up += link_connected(route->link);
		messages += queue_messages(route->queue);
	}
	snprintf(text, size, "%zu of %zu link%s up, %" PRIu64 " message%s queued%s", up, links, links == 1 ? "" : "s",
	         messages, messages == 1 ? "" : "s", agent->custody.failing ? ", the store cannot be written" : "");
}

/* Half of the time is left for a message to arrive. */
static int64_t tick_ms(const struct service *service)
{
	int64_t ms = service->notify.watchdog_us / 2000;

	if (service->notify.watchdog_us == 0)
		return STATUS_MS;
	return ms > 0 ? ms : 1;
}

static void arm(struct agent *agent)
{
	struct service *service = &agent->service;

	if (service->notify.fd >= 0)
		loop_timer_set(agent->loop, &service->tick, loop_now_ms(agent->loop) + tick_ms(service));
}

static void tick(void *arg)
{
	struct agent *agent = arg;
	struct service *service = &agent->service;
	char status[sizeof service->status];
	bool changed;

	describe(agent, status, sizeof status);
	changed = agent->phase == RUNNING && strcmp(status, service->status) != 0;
	if (changed)
		memcpy(service->status, status, sizeof status);
	if (changed)
		note(service, notify_send(&service->notify, "STATUS=%s%s", status,
		                           service->notify.watchdog_us > 0 ? "\n" NOTIFY_ALIVE : ""));
	else if (service->notify.watchdog_us > 0)
		note(service, notify_send(&service->notify, NOTIFY_ALIVE));
	arm(agent);
}

void service_init(struct agent *agent)
{
	char err[256];

	agent->service = (struct service){.tick = {.fire = tick, .arg = agent}, .notify = {.fd = -1}};
	if (!agent->rehearsal && notify_init(&agent->service.notify, err, sizeof err) < 0)
		log_warn("agent", "%s", err);
}

void service_release(struct agent *agent)
{
	notify_release(&agent->service.notify);
}

void service_ready(struct agent *agent)
{
	struct service *service = &agent->service;
	char watchdog[40] = ""; /* service_repairing() may have switched it off */

	describe(agent, service->status, sizeof service->status);
	if (service->notify.watchdog_us > 0)
		snprintf(watchdog, sizeof watchdog, "WATCHDOG_USEC=%" PRId64 "\n", service->notify.watchdog_us);
	note(service, notify_send(&service->notify, "%sREADY=1\nSTATUS=%s", watchdog, service->status));
	arm(agent);
}

/* With the time: systemd must know that this is the reload it has asked for. */
void service_reloading(struct agent *agent)
{
	note(&agent->service, notify_send(&agent->service.notify, "RELOADING=1\nMONOTONIC_USEC=%" PRId64 "\nSTATUS=reloading",
	                                  (int64_t)(clock_monotonic_s() * 1e6)));
}

void service_stopping(struct agent *agent)
{
	note(&agent->service, notify_send(&agent->service.notify, "STOPPING=1\nSTATUS=stopping"));
}

void service_repairing(struct agent *agent)
{
	note(&agent->service, notify_send(&agent->service.notify, "WATCHDOG_USEC=0\nSTATUS=salvaging a damaged database"));
}
