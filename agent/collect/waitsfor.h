/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a thread that sleeps in a futex call waits for, and who has it. The address of the futex alone
 * says neither: what kind of object it belongs to follows from the function of libc that the thread
 * sleeps in, and from what the object holds; only what both confirm is told.
 */
#ifndef COLLECT_WAITSFOR_H
#define COLLECT_WAITSFOR_H

#include <stdbool.h>
#include <stdint.h>

struct peeker;
struct stack;
struct task_call;

enum waitsfor_what {
	WAITS_FOR_NOTHING, /* it is not in a futex call */
	WAITS_FOR_FUTEX,   /* an object of somebody's own making */
	WAITS_FOR_LOCK,	   /* one that libc keeps for itself (malloc, stdio): its owner is not written down */
	WAITS_FOR_MUTEX,
	WAITS_FOR_RWLOCK,
	WAITS_FOR_CONDITION,
	WAITS_FOR_SEMAPHORE,
	WAITS_FOR_BARRIER,
	WAITS_FOR_JOIN /* the end of thread `owner` */
};

struct waitsfor {
	uint8_t what;	   /* enum waitsfor_what */
	bool timed;	   /* the wait ends by itself some time */
	bool gone;	   /* the owner has ended, and has not unlocked it */
	int owner;	   /* tid; 0: not known */
	uintptr_t address; /* of the object, or of its futex when the object's is not known; 0: none */
};

/* Context: agent. */
void waitsfor_find(const struct peeker *peeker, const struct task_call *call, const struct stack *stack,
		   struct waitsfor *out);

/* "mutex" and so on. Context: agent. */
const char *waitsfor_name(enum waitsfor_what what);

/* Looks up libc's functions, once: takes the loader's lock, hence before main. Context: init. */
void waitsfor_start(void);

#endif
