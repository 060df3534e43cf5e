/* SPDX-License-Identifier: Apache-2.0 */
/*
 * All threads of the process with their stacks, none of them stopped: sleeping ones are read
 * (collect/peek.h), running ones take their own (collect/shot.h). Works in slices, so that ten thousand
 * threads do not make other clients wait; needs no lock that the program could hold.
 *
 * Each stack was true at an instant of its own between begin and end.
 *
 * Context: agent.
 */
#ifndef COLLECT_DUMP_H
#define COLLECT_DUMP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "agent/collect/task.h"
#include "agent/collect/waitsfor.h"

struct dump;
struct stack;

enum dump_how {
	DUMP_ASLEEP,	/* `call` says in what */
	DUMP_RUNNING,	/* the stack is its own */
	DUMP_NOT_READ,	/* it ran and did not answer in time */
	DUMP_DEAF,	/* it ran and blocks our signal */
	DUMP_DENIED,	/* the kernel does not let us look */
	DUMP_GONE	/* ended meanwhile: not shown */
};

struct dump_thread {
	int tid;
	uint32_t tag;
	uint32_t record; /* its index: collect/threads.h */
	uint8_t how;	 /* enum dump_how */
	bool idle_known;
	const struct stack *stack; /* never NULL once it is read */
	uint64_t stamp;		   /* asleep: of the instant that it was read */
	struct task_call call;
	/* with details only */
	struct task_facts facts;
	struct waitsfor wait;
	uint64_t idle_ns; /* asleep for this long */
};

/* details: names, states, what they wait for and since when. NULL: out of memory, or no /proc. */
struct dump *dump_begin(bool details);

enum { DUMP_DONE, DUMP_MORE, DUMP_WAIT };
/* Works for about budget_ns. DUMP_WAIT: call again at *out_wake_ns (CLOCK_MONOTONIC). -errno. */
int dump_step(struct dump *dump, uint64_t budget_ns, uint64_t *out_wake_ns);

/* In the order of tids. Threads that are DUMP_GONE are among them. */
size_t dump_n(const struct dump *dump);
const struct dump_thread *dump_at(const struct dump *dump, size_t i);
/* NULL when there is no such thread in it. */
const struct dump_thread *dump_find(const struct dump *dump, int tid);

/* The thread has slept since it was read: what was read is true still. */
bool dump_is_current(const struct dump *dump, const struct dump_thread *thread);

/* The same, and what it waits for still has the same owner. */
bool dump_confirm(const struct dump *dump, const struct dump_thread *thread);

void dump_drop(struct dump *dump);

#endif
