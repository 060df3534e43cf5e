/* SPDX-License-Identifier: Apache-2.0 */
/* Who ended a wait: what the recorder of traces remembers of it. */
#include "agent/collect/tracebuf.h"

#include <time.h>

#include "agent/base/stats.h"
#include "agent/base/sys.h"
#include "agent/base/tls.h"
#include "agent/collect/locks.h"
#include "agent/collect/threads.h"
#include "tests/unit/test.h"

enum { OBJECTS = 4 /* that are remembered of one slot */, WAKER = 7, WAITER = 100 };

static struct {
	uint32_t waker[OBJECTS];
	int waits;
} seen;

static bool note(void *arg, const struct trace_record *r)
{
	if (r->kind == TRACE_WAIT && r->tag >= WAITER && r->tag < WAITER + OBJECTS) {
		seen.waker[r->tag - WAITER] = r->waker;
		seen.waits++;
	}
	return true;
}

/* So many objects that all have one slot. */
static void choose(const void **out_objects, int want)
{
	static char place[1 << 20];
	uint32_t slot = locks_slot(place);
	int n = 0;

	for (size_t i = 0; i < sizeof(place) && n < want; i += 8)
		if (locks_slot(place + i) == slot)
			out_objects[n++] = place + i;
	CHECK_INT(n, want);
}

static struct trace_wait wait_for(const void *object, uint64_t since_ns)
{
	return (struct trace_wait){ .since_ns = since_ns, .object = object, .reason = TRACE_SYNC };
}

/* Several let go at once, and only then their waiters come to see who it was. */
TEST(tracebuf_wakers_of_one_slot)
{
	static struct thread waker, waiters[OBJECTS];
	struct thread *before = tls.thread;
	const void *objects[OBJECTS];
	uint64_t since;

	choose(objects, OBJECTS);
	atomic_store(&waker.tag, WAKER);
	CHECK_INT(tracebuf_begin(1 << 20), 0);
	since = sys_clock_ns(CLOCK_MONOTONIC);
	tls.thread = &waker;
	for (int i = 0; i < OBJECTS; i++)
		tracebuf_wakes(objects[i], (const void *)choose);
	for (int i = 0; i < OBJECTS; i++) {
		struct trace_wait wait = wait_for(objects[i], since - 1);

		atomic_store(&waiters[i].tag, WAITER + (uint32_t)i);
		tracebuf_wait_ends(&waiters[i], &wait, sys_clock_ns(CLOCK_MONOTONIC) + 1, true, true);
	}
	tls.thread = before;
	tracebuf_stop();
	tracebuf_each(note, NULL);
	tracebuf_free();
	CHECK_INT(seen.waits, OBJECTS);
	for (int i = 0; i < OBJECTS; i++)
		CHECK_INT(seen.waker[i], WAKER);
}

/* One more is let go than are remembered: counted if somebody still waits for the one that is forgotten. */
TEST(tracebuf_counts_wakers_forgotten)
{
	static struct thread waker, waiter;
	struct thread *before = tls.thread;
	const void *objects[OBJECTS + 2];
	struct trace_wait wait;

	choose(objects, OBJECTS + 2);
	atomic_store(&waker.tag, WAKER);
	atomic_store(&waiter.tag, WAITER);
	CHECK_INT(tracebuf_begin(1 << 20), 0);
	wait = wait_for(objects[0], sys_clock_ns(CLOCK_MONOTONIC) - 1);
	tracebuf_wait_begins(&waiter, &wait);
	tls.thread = &waker;
	for (int i = 0; i < OBJECTS; i++)
		tracebuf_wakes(objects[i], (const void *)choose);
	CHECK_INT(stat_read(STAT_TRACE_WAKERS_FORGOTTEN), 0);
	tracebuf_wakes(objects[OBJECTS], (const void *)choose);
	CHECK_INT(stat_read(STAT_TRACE_WAKERS_FORGOTTEN), 1);
	tracebuf_wait_ends(&waiter, &wait, sys_clock_ns(CLOCK_MONOTONIC) + 1, true, true);
	tracebuf_wakes(objects[OBJECTS + 1], (const void *)choose);
	CHECK_INT(stat_read(STAT_TRACE_WAKERS_FORGOTTEN), 1);
	tls.thread = before;
	tracebuf_stop();
	tracebuf_each(note, NULL);
	tracebuf_free();
	CHECK_INT(seen.waits, 1);
	CHECK_INT(seen.waker[0], 0);
}
