/* SPDX-License-Identifier: Apache-2.0 */
/* The tids in /proc are held against those of the records, each by one look-up. */
#include "agent/collect/sweep.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "agent/base/mem.h"
#include "agent/base/sys.h"
#include "agent/collect/records.h"
#include "agent/collect/threads.h"

/* Open addressing: tids of records, negative once /proc has listed them too. Built for one sweep, so that
 * it costs O(threads), not its square. */
struct tid_set {
	int *slots;
	size_t mask;
};

static int *tid_slot(const struct tid_set *set, int tid)
{
	size_t at = ((uint32_t)tid * 2654435761u) & set->mask;

	for (; set->slots[at]; at = (at + 1) & set->mask)
		if (set->slots[at] == tid || set->slots[at] == -tid)
			break;
	return &set->slots[at];
}

static bool recorded_tids(struct tid_set *set, uint32_t known)
{
	size_t slots = 64;

	while (slots < (size_t)known * 2 + 2)
		slots *= 2;
	set->mask = slots - 1;
	set->slots = mem_zalloc(slots * sizeof(*set->slots));
	if (!set->slots)
		return false;
	for (uint32_t i = 0; i < known; i++) {
		const struct thread *t = records_at(i);
		int tid = atomic_load(&t->tid);

		if (atomic_load(&t->state) == THREAD_LIVE)
			*tid_slot(set, tid) = tid;
	}
	return true;
}

/* Threads with a destructor end by themselves; the others are ended here. */
static void end_unlisted(const struct tid_set *set, uint32_t known)
{
	for (uint32_t i = 0; i < known; i++) {
		struct thread *t = records_at(i);
		int tid = atomic_load(&t->tid);

		if (atomic_load(&t->state) != THREAD_LIVE || *tid_slot(set, tid) < 0 || !records_is_gone(t))
			continue;
		records_take_found(tid, t);
		records_retire(t);
	}
}

/* A thread that /proc lists and that has no record. See threads_own_record. */
static void make_found(int tid)
{
	struct thread *t = records_take(tid);

	if (!t)
		return;
	records_found(t);
	if (records_has_live(tid, t) && records_take_found(tid, t))
		records_drop_double(t);
}

int sweep_threads(void)
{
	_Alignas(8) char buf[4096];
	long fd = sys_open("/proc/thread-self/../", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	uint32_t known = records_count();
	int own = sys_gettid();
	struct tid_set set;
	long n;

	if (fd < 0)
		return (int)fd;
	if (!recorded_tids(&set, known)) {
		sys_close((int)fd);
		return -ENOMEM;
	}
	while ((n = sys_getdents((int)fd, buf, sizeof(buf))) > 0) {
		for (long at = 0; at < n;) {
			unsigned short len = *(unsigned short *)(buf + at + 16);
			int tid = 0, *slot;

			for (const char *c = buf + at + 19; *c >= '0' && *c <= '9'; c++)
				tid = tid * 10 + (*c - '0');
			at += len;
			if (!tid || tid == own)
				continue;
			slot = tid_slot(&set, tid);
			if (*slot)
				*slot = -tid;
			/* it may have registered itself since the set was made */
			else if (!records_has_live(tid, NULL))
				make_found(tid);
		}
	}
	sys_close((int)fd);
	if (n == 0)
		end_unlisted(&set, known);
	mem_free(set.slots);
	return n < 0 ? (int)n : 0;
}
