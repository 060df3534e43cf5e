/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/base/attr.h"
#include "agent/collect/labels.h"

#include <string.h>
#include <sys/prctl.h>

#include "agent/base/arena.h"
#include "agent/base/fmt.h"
#include "agent/base/stats.h"
#include "agent/base/sys.h"
#include "agent/collect/records.h"
#include "agent/collect/task.h"

enum { SLOTS = 1024 };

struct label {
	_Atomic(struct label *) next; /* chain of its slot; immutable once published */
	uint32_t tag;
	int tid;
	_Atomic uint64_t name[TASK_NAME_SIZE / sizeof(uint64_t)]; /* the thread may be writing it */
};

static struct {
	struct arena arena;
} self;
static _Atomic(struct label *) slots[SLOTS] BIG;

bool labels_always;

void labels_set(bool always)
{
	labels_always = always;
}

static struct label *find(uint32_t tag)
{
	struct label *l = atomic_load_explicit(&slots[tag % SLOTS], memory_order_acquire);

	while (l && l->tag != tag)
		l = atomic_load_explicit(&l->next, memory_order_relaxed);
	return l;
}

/* Two may be made of one tag, by the thread at its end and by the agent: both are right. */
static struct label *make(uint32_t tag, int tid)
{
	_Atomic(struct label *) *slot = &slots[tag % SLOTS];
	struct label *l = arena_alloc(&self.arena, sizeof(*l)), *first;

	if (!l) {
		stat_add(STAT_LABELS_FULL, 1);
		return NULL;
	}
	l->tag = tag;
	l->tid = tid;
	first = atomic_load_explicit(slot, memory_order_acquire);
	do {
		atomic_store_explicit(&l->next, first, memory_order_relaxed);
	} while (!atomic_compare_exchange_weak_explicit(slot, &first, l, memory_order_acq_rel,
							memory_order_acquire));
	return l;
}

static void write_down(uint32_t tag, int tid, const char name[TASK_NAME_SIZE])
{
	struct label *l = find(tag);
	uint64_t words[TASK_NAME_SIZE / sizeof(uint64_t)];

	if (!l)
		l = make(tag, tid);
	if (!l)
		return;
	memcpy(words, name, sizeof(words));
	for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++)
		atomic_store_explicit(&l->name[i], words[i], memory_order_relaxed);
}

void labels_thread_end(struct thread *t)
{
	char name[TASK_NAME_SIZE] = "";

	if (!labels_always && !atomic_load_explicit(&t->labelled, memory_order_relaxed))
		return;
	sys_prctl(PR_GET_NAME, (unsigned long)name, 0);
	write_down(atomic_load(&t->tag), atomic_load(&t->tid), name);
}

void labels_refresh(void)
{
	int directory = task_directory();
	struct task_facts facts;

	if (directory < 0)
		return;
	for (uint32_t i = 0, n = records_count(); i < n; i++) {
		struct thread *t = records_at(i);
		uint32_t tag = atomic_load(&t->tag);
		int tid = atomic_load(&t->tid);

		if (atomic_load(&t->state) != THREAD_LIVE ||
		    !(labels_always || atomic_load(&t->labelled)))
			continue;
		/* the record may pass to another thread while its file is read */
		if (task_facts(directory, tid, &facts) == 0 && atomic_load(&t->tag) == tag)
			write_down(tag, tid, facts.name);
	}
	sys_close(directory);
}

const char *labels_name(uint32_t tag, char *buf, size_t size)
{
	const struct label *l = find(tag);
	uint64_t words[TASK_NAME_SIZE / sizeof(uint64_t)];

	if (!tag)
		return NULL;
	if (!l) {
		/* it ended before anybody asked, and was not one that we could see end */
		fmt_buf(buf, size, "[thread %u]", tag);
		return buf;
	}
	for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++)
		words[i] = atomic_load_explicit(&l->name[i], memory_order_relaxed);
	fmt_buf(buf, size, "%.*s", (int)strnlen((const char *)words, sizeof(words)), (const char *)words);
	return buf;
}

int labels_tid(uint32_t tag)
{
	const struct label *l = tag ? find(tag) : NULL;

	return l ? l->tid : 0;
}
