/* Which message a broker hangs up on. Before MQTT 5 it cannot refuse one: it closes the
 * connection, the message is sent again, and nothing behind it ever gets through. A bad
 * network looks just the same, so a message is convicted in steps, each of which an
 * innocent one survives:
 *
 * 1. Suspected: four connections in a row were lost with the same message first in line
 *    and nothing acknowledged. What was in flight then goes out one at a time.
 * 2. Hung up on: while it was alone in flight the peer closed the connection, within ten
 *    seconds (within one, if not all of it had arrived), and that connection had stood
 *    without it for four times as long, and five seconds at least. A connection that ends
 *    otherwise clears it: the network is to blame. It is then sent at once, for lines on which
 *    no connection stands long; only if that is hung up on does it wait on the next one.
 * 3. Passed over, after four of those in a row: it stays in the queue, what is behind it goes.
 * 4. Given up: another message was acknowledged, so the broker does take messages; this one
 *    was put back into its place, and hung up on once more. Each acknowledgement brings back
 *    one only. So where nothing gets through, as with a broker that has no room or took all
 *    rights away, nothing is given up.
 *
 * Pure: it is told what happens and when, and says what to do.
 */
#ifndef TIDEGATE_HANGUP_H
#define TIDEGATE_HANGUP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define HANGUP_PASSED_MAX 256 /* more in a row that get nowhere: then all wait, and none is passed over */

/* All zero to begin with. Messages are known by their seq, which is never 0. */
struct hangup {
	uint64_t suspect;   /* what was first in line when the connection was lost, */
	unsigned losses;    /* so many times, nothing being acknowledged meanwhile, */
	unsigned hangups;   /* so many of them step 2's, in a row */
	int64_t longest_ms; /* from its being sent to the peer's closing, lately */
	int64_t quiet_ms;   /* so long a connection must stand before the suspect is sent */
	uint64_t alone_to;  /* up to here messages go one at a time */
	uint64_t alone;     /* what is alone in flight on this connection, 0: nothing, */
	int64_t sent_ms;    /* sent then; */
	int64_t up_ms;      /* the connection came up then */
	uint64_t passed[HANGUP_PASSED_MAX]; /* what was passed over */
	size_t n_passed;
	bool back; /* the first of them is in line again, for step 4 */
};

enum verdict { HANGUP_UNPROVED, HANGUP_PASS_OVER, HANGUP_GIVE_UP };

/* A connection came up. */
void hangup_up(struct hangup *hangup, int64_t now_ms);

/* That message may be in flight with no other. */
bool hangup_alone(const struct hangup *hangup, uint64_t seq);

/* When it may be sent on this connection; perhaps in the past. */
int64_t hangup_due_ms(const struct hangup *hangup, uint64_t seq);

void hangup_sent(struct hangup *hangup, uint64_t seq, int64_t now_ms);
void hangup_refused(struct hangup *hangup, uint64_t seq); /* in words, or not sent at all */

/* It was acknowledged, at QoS 1 or 2. Returns which message that was passed over goes back
 * into its place for that, or 0: none. */
uint64_t hangup_acknowledged(struct hangup *hangup, uint64_t seq);

/* If a connection is lost now with `first` first in line: what is in flight must not be sent
 * again by the transport, all at once, but one at a time. */
bool hangup_isolates(const struct hangup *hangup, uint64_t first);

/* The connection was lost, with `first` first in line and `last` last. `closed`: the peer
 * closed it; `arrived`: it had all that was sent. What is to be done with `first`: nothing,
 * or keep it until hangup_acknowledged() returns it, or give it up. */
enum verdict hangup_lost(struct hangup *hangup, uint64_t first, uint64_t last, bool closed, bool arrived,
                         int64_t now_ms);

#endif
