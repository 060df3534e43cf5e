/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The inside of encode/trace_merge.c: threads as the reader will see them, and what may happen to
 * them (encode/trace_state.c). Each function here says false when the thread is not in a state for
 * it; then nothing was written. Context: agent.
 */
#ifndef ENCODE_TRACE_STATE_H
#define ENCODE_TRACE_STATE_H

#include "encode/trace_merge.h"

enum { TRACE_FIRST_TS = 1000 }; /* of the first moment of the window: 0 would be "unknown" to some readers */

enum state { NOT_CREATED, RUNNABLE, RUNNING, WAITING, ENDED };

struct thread_run {
	uint32_t tag, tid;
	uint64_t id;	/* tid, made unique */
	uint64_t start;
	uint32_t entry, label; /* stack and text ids, 0: not asked yet, none */
	const char *entry_name, *name;
	char own_name[TRACE_NAME];
	bool existed;
	uint64_t first_ns; /* of its records, 0: there is none */
	enum state state;
	uint32_t proc; /* 0: none */
	uint64_t seq;
	const struct trace_record *wait; /* WAITING or just woken from it */
	bool linked; /* another thread made it RUNNABLE */
};

struct pending {
	uint64_t ns;
	const struct trace_record *record; /* NULL: the thread `order` exists */
	uint32_t order;
	uint32_t phase;
};

enum stage { MERGE, RESOLVE, STRINGS, STACKS, WRITTEN };

struct trace_merge {
	struct trace_window window;
	struct trace_tables tables;
	struct trace_encoder enc;
	struct thread_run *threads; /* lane - 1 */
	size_t n_threads, threads_room;
	uint32_t *slots; /* lane, by tag */
	size_t n_slots;
	struct pending *heap;
	size_t n_heap, heap_room;
	uint32_t added;
	uint64_t *procs_taken; /* a bit for each */
	size_t n_procs;	       /* that ever were */
	size_t procs_room, procs_from; /* all in words before this one are taken */
	uint64_t last_ts;
	uint64_t dropped;
	bool procs_said, noticed, created;
	enum stage stage;
	size_t at; /* in that stage */
};

static inline uint32_t trace_lane_of(const struct trace_merge *merge, const struct thread_run *thread)
{
	return (uint32_t)(thread - merge->threads) + 1;
}

/* The thread of a tag or NULL. */
struct thread_run *trace_find(const struct trace_merge *merge, uint32_t tag);

/* The next event, not before `ns` and later than all before it; gap: moments more that it takes. It
 * happens in the agent. */
struct trace_event trace_next(struct trace_merge *merge, enum trace_op op, uint64_t ns, unsigned gap);
void trace_emit(struct trace_merge *merge, const struct trace_event *event);

/* creator: NULL, or one that runs; else nobody is to blame. */
bool trace_create(struct trace_merge *merge, struct thread_run *thread,
		  const struct thread_run *creator, uint32_t stack, uint64_t ns);
bool trace_start(struct trace_merge *merge, struct thread_run *thread, uint64_t ns);
/* Both: it was there before. */
bool trace_exist(struct trace_merge *merge, struct thread_run *thread, uint64_t ns);
bool trace_wait_begins(struct trace_merge *merge, struct thread_run *thread,
		       const struct trace_record *record, uint64_t ns);
/* The moment at which the waker, if it is known and runs, ended the wait. */
void trace_wait_woken(struct trace_merge *merge, struct thread_run *thread,
		      const struct trace_record *record, uint64_t ns);
bool trace_wait_ends(struct trace_merge *merge, struct thread_run *thread,
		     const struct trace_record *record, uint64_t ns);
bool trace_end(struct trace_merge *merge, struct thread_run *thread, uint64_t ns);
bool trace_sample(struct trace_merge *merge, const struct thread_run *thread,
		  const struct trace_record *record);
/* The window is over: stops it if it runs, because readers before 1.22 fail otherwise. */
void trace_pause(struct trace_merge *merge, struct thread_run *thread, uint64_t ns);

#endif
