/* The loop asks what shall happen when nothing is left to do: the next acknowledgement
 * arrives, the next line of the recording happens, or time goes on to the agent's next
 * timer. So everything at one time is over before the next thing happens. */
#include "play.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "agent.h"
#include "cli.h"
#include "clock.h"
#include "run.h"

#define GIVE_UP_MS (INT64_C(24) * 3600 * 1000) /* nothing was delivered for so long, at the end */
#define ARRIVALS_MAX 20000 /* each of up to a window of messages */

/* A link goes up or down by an outage. */
struct turn_of_link {
	int64_t at_ms; /* since the start */
	size_t number;
	const char *link;
	bool up;
};

/* ---- time ---- */

static bool has_wall_times(const struct play *play)
{
	return play->recording->n > 0 && play->recording->items[0].at_ms >= RECORDING_WALL_MS;
}

int64_t play_start_ms(const struct play *play)
{
	return has_wall_times(play) ? play->recording->items[0].at_ms : play->start_ms;
}

/* Since the start. */
int64_t play_elapsed_ms(void)
{
	return clock_monotonic_ms() - CLOCK_SIMULATED_MS;
}

int64_t play_now_ms(const struct play *play)
{
	return play->base_ms + play_elapsed_ms();
}

static void go_to(int64_t at_ms)
{
	clock_advance(CLOCK_SIMULATED_MS + at_ms);
}

/* From the first line to the last, and as long again as between two of them. */
static int64_t period_of(const struct recording *recording, int64_t base_ms)
{
	const struct occurrence *last;
	int64_t length_ms;

	if (recording->n == 0)
		return 0;
	last = &recording->items[recording->n - 1];
	length_ms = last->at_ms - base_ms;
	if (last->kind != OCCURRENCE_PASS)
		length_ms += recording->n > 1 ? length_ms / (int64_t)(recording->n - 1) : 1000;
	return length_ms > 0 ? length_ms : 1000;
}

/* ---- what happens ---- */

static int64_t next_line_ms(struct play *play)
{
	const struct recording *recording = play->recording;
	int64_t at_ms;

	if (play->next == recording->n && recording->n > 0 && play->round_ms + play->period_ms < play->lasts_ms) {
		play->next = 0;
		play->round_ms += play->period_ms;
	}
	if (play->next == recording->n)
		return INT64_MAX;
	at_ms = play->round_ms + recording->items[play->next].at_ms - play->base_ms;
	return play->lasts_ms > 0 && at_ms >= play->lasts_ms ? INT64_MAX : at_ms;
}

static int64_t next_turn_ms(const struct play *play)
{
	return play->next_turn < play->n_turns ? play->turns[play->next_turn].at_ms : INT64_MAX;
}

static void fail(struct play *play, const char *what, const char *link)
{
	snprintf(play->err, sizeof play->err, "%s%s", what, link);
	play->over = true;
	loop_stop(play->agent->loop);
}

static void turn_link(struct play *play, const char *link, bool up, const char *reason)
{
	struct route *route = route_named(play->agent, link);

	if (!route)
		fail(play, "there is no link ", link);
	else if (network_set(play->network, link, up, reason) < 0)
		fail(play, "out of memory", "");
	else if (up)
		link_hurry(route->link);
}

static void play_line(struct play *play)
{
	const struct occurrence *line = &play->recording->items[play->next++];

	play->last_ms = play_elapsed_ms();
	switch (line->kind) {
	case OCCURRENCE_PASS:
		break;
	case OCCURRENCE_MESSAGE:
		if (!route_named(play->agent, line->link))
			fail(play, "there is no link ", line->link);
		else if (network_bring(play->network, line->link, &line->message) < 0)
			fail(play, "out of memory", "");
		break;
	case OCCURRENCE_UP:
	case OCCURRENCE_DOWN:
		turn_link(play, line->link, line->kind == OCCURRENCE_UP, line->reason);
		break;
	}
}

static void play_turn(struct play *play)
{
	const struct turn_of_link *turn = &play->turns[play->next_turn++];

	turn_link(play, turn->link, turn->up, "outage");
}

/* ---- the end ---- */

/* What waits for the link is going to be taken, or what it has is going to be delivered,
 * as far as one can see. */
static bool will_go_on(const struct play *play, const struct route *route)
{
	const char *name = link_name(route->link);

	if (!network_is_up(play->network, name) || link_unwanted(route->link))
		return false;
	return (play->drains && queue_messages(route->queue) > 0) ||
	       (network_waiting(play->network, name) > 0 && !route->lacks_room);
}

static bool something_goes_on(const struct play *play)
{
	int64_t moved_ms = play->delivered_ms > play->last_ms ? play->delivered_ms : play->last_ms;

	for (const struct route *route = play->agent->routes; route; route = route->next)
		if (will_go_on(play, route))
			return play_elapsed_ms() - moved_ms < GIVE_UP_MS;
	return false;
}

static int64_t end_ms(const struct play *play)
{
	return play->until_ms < RECORDING_WALL_MS ? play->until_ms : play->until_ms - play->base_ms;
}

static void end(struct play *play)
{
	play->over = true;
	if (end_ms(play) > play_elapsed_ms())
		go_to(end_ms(play));
	if (play->stops)
		play->stops(play->arg);
	if (play->drains)
		loop_stop(play->agent->loop);
	else
		agent_stop(play->agent);
}

/* Nothing of what is given happens any more. */
static bool is_over(const struct play *play, int64_t next_ms, int64_t timer_ms)
{
	if (next_ms != INT64_MAX || timer_ms <= end_ms(play))
		return false;
	return timer_ms == INT64_MAX || !something_goes_on(play);
}

/* A reading of the clock as a time since the start. */
static int64_t since_start(int64_t monotonic_ms)
{
	return monotonic_ms == INT64_MAX ? INT64_MAX : monotonic_ms - CLOCK_SIMULATED_MS;
}

/* On a network without delay on_sent() could publish for ever, and time would never go on. */
static void arrive(struct play *play, int64_t due_ms)
{
	go_to(due_ms);
	play->arrivals = play->arrived_ms == due_ms ? play->arrivals + 1 : 0;
	play->arrived_ms = due_ms;
	if (play->arrivals == ARRIVALS_MAX)
		fail(play, "what is published when something was sent never comes to an end", "");
	else
		network_arrive(play->network);
}

static void on_idle(void *arg, int64_t until_ms)
{
	struct play *play = arg;
	int64_t timer_ms = since_start(until_ms), due_ms = since_start(network_due_ms(play->network));
	int64_t turn_ms = next_turn_ms(play), line_ms = next_line_ms(play), next_ms = turn_ms < line_ms ? turn_ms : line_ms;

	if (play->waits)
		play->waits(play->arg, play->agent);
	play->over = play->over || play->agent->phase != RUNNING;
	if (play->over)
		next_ms = INT64_MAX;
	if (!play->over && due_ms == INT64_MAX && is_over(play, next_ms, timer_ms)) {
		end(play);
	} else if (due_ms <= timer_ms && due_ms <= next_ms) {
		arrive(play, due_ms);
	} else if (next_ms > timer_ms) {
		go_to(timer_ms);
	} else {
		go_to(next_ms);
		if (next_ms == turn_ms)
			play_turn(play);
		else
			play_line(play);
	}
}

/* ---- the beginning ---- */

static struct link *any_link_named(void *arg, const char *name)
{
	struct agent *agent = arg;
	struct route *route = route_named(agent, name);
	struct link_config *config;
	char err[256];

	if (route)
		return route->standing != ROUTE_FORGOTTEN ? route->link : NULL;
	config = config_link_plain(agent->config->name, name);
	route = config ? route_add(agent, config, err, sizeof err) : NULL;
	if (route)
		route_start(route);
	return route ? route->link : NULL;
}

static void on_begin(void *arg, struct agent *agent)
{
	struct play *play = arg;

	play->agent = agent;
	agent->observer = &play->observer;
	if (play->any_link)
		agent->host.link_named = any_link_named;
	if (play->begins)
		play->begins(play->arg, agent);
}

static void on_end(void *arg, struct agent *agent)
{
	struct play *play = arg;

	play->unread = network_waiting(play->network, NULL);
	if (play->ends)
		play->ends(play->arg, agent);
}

static void on_delivered(void *arg, const struct delivery *delivery)
{
	struct play *play = arg;

	play->delivered_ms = play_elapsed_ms();
	if (play->delivered)
		play->delivered(play->arg, delivery);
}

static int by_time(const void *a, const void *b)
{
	const struct turn_of_link *one = a, *other = b;

	if (one->at_ms != other->at_ms)
		return one->at_ms < other->at_ms ? -1 : 1;
	return one->number < other->number ? -1 : 1;
}

static int plan_outages(struct play *play)
{
	play->turns = calloc(2 * play->n_outages + 1, sizeof *play->turns);
	if (!play->turns)
		return -1;
	for (size_t i = 0; i < play->n_outages; i++) {
		const struct outage *outage = &play->outages[i];

		play->turns[play->n_turns] = (struct turn_of_link){outage->from_ms, play->n_turns, outage->link, false};
		play->n_turns++;
		if (outage->to_ms == INT64_MAX)
			continue;
		play->turns[play->n_turns] = (struct turn_of_link){outage->to_ms, play->n_turns, outage->link, true};
		play->n_turns++;
	}
	qsort(play->turns, play->n_turns, sizeof *play->turns, by_time);
	return 0;
}

/* ---- its places ---- */

static int make_directory(struct play *play)
{
	const char *place = getenv("TMPDIR");
	char *path;

	snprintf(play->directory, sizeof play->directory, "%s/tidegate-XXXXXX", place && *place ? place : "/tmp");
	if (!mkdtemp(play->directory)) {
		fprintf(stderr, "tidegate: %s: %s\n", play->directory, strerror(errno));
		return -1;
	}
	if (asprintf(&path, "%s/queue.db", play->directory) < 0)
		return -1;
	free(play->config->store_path);
	play->config->store_path = path;
	return 0;
}

static void remove_directory(const struct play *play)
{
	DIR *directory = opendir(play->directory);
	const struct dirent *entry;
	char path[1024];

	while (directory && (entry = readdir(directory))) {
		snprintf(path, sizeof path, "%s/%s", play->directory, entry->d_name);
		if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0 && unlink(path) < 0)
			perror(path);
	}
	if (directory)
		closedir(directory);
	if (rmdir(play->directory) < 0)
		perror(play->directory);
}

/* Nothing of a gateway that may run on this machine is touched. */
static void stay_apart(struct config *config)
{
	free(config->control);
	free(config->http);
	config->control = config->http = NULL;
	config->durability = STORE_OFF;
	config->log_target = LOG_TARGET_STDERR;
	setenv("TZ", "UTC0", 0);
	tzset();
}

/* What the recording says of links at its very beginning holds from there on. */
static int set_scene(struct play *play)
{
	const struct recording *recording = play->recording;

	for (; play->next < recording->n && recording->items[play->next].at_ms == play->base_ms; play->next++) {
		const struct occurrence *line = &recording->items[play->next];

		if (line->kind == OCCURRENCE_MESSAGE)
			return 0;
		if (line->kind != OCCURRENCE_PASS &&
		    network_set(play->network, line->link, line->kind == OCCURRENCE_UP, line->reason) < 0)
			return -1;
	}
	return 0;
}

static int run(struct play *play)
{
	const struct rehearsal rehearsal = {
	        .arg = play,
	        .transport = network_transport(play->network),
	        .begins = on_begin,
	        .idle = on_idle,
	        .ends = on_end,
	};
	int status;

	stay_apart(play->config);
	if (make_directory(play) < 0)
		return CLI_FAILED;
	status = run_agent(play->config, &(struct run_options){.verbose = play->verbose, .rehearsal = &rehearsal});
	remove_directory(play);
	if (play->err[0]) {
		fprintf(stderr, "tidegate: %s\n", play->err);
		status = CLI_FAILED;
	}
	return status;
}

int play_run(struct play *play)
{
	int status = CLI_FAILED;

	play->base_ms = has_wall_times(play) ? play->recording->items[0].at_ms : 0;
	play->period_ms = period_of(play->recording, play->base_ms);
	play->network = network_open(play->rtt_ms, on_delivered, play);
	if (play->network && plan_outages(play) == 0 && set_scene(play) == 0)
		status = run(play);
	else
		fprintf(stderr, "tidegate: out of memory\n");
	network_close(play->network);
	free(play->turns);
	return status;
}
