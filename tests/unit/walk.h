/* SPDX-License-Identifier: Apache-2.0 */
/* Walks of the test's own stack: the last one, and what begins them. */
#ifndef TESTS_UNIT_WALK_H
#define TESTS_UNIT_WALK_H

#include <signal.h>
#include <stdint.h>

#include "agent/collect/unwind.h"

/* 64 bytes at least, so that FIND cannot take one for the other. */
#undef NOINLINE
#define NOINLINE __attribute__((noinline, aligned(64)))
/* Keeps a call from becoming a jump. */
#define STAY() __asm__ volatile("" ::: "memory")

enum { WALK_MAX = 600 };

/* The last walk: ours, and glibc's backtrace from the same place. */
struct walk {
	uintptr_t pcs[WALK_MAX];
	uint32_t n;
	uint32_t max; /* frames that it may have */
	enum unwind_end end;
	uintptr_t lo, hi;      /* bounds of the stack */
	uintptr_t interrupted; /* where the signal came */
	void *glibc[WALK_MAX];
	int n_glibc;
};
extern struct walk walked;

/* Of the calling thread's stack. */
void walk_stack(uintptr_t *lo, uintptr_t *hi);
/* Sets those of `walked`. */
void walk_bounds(void);

/* Here; in a signal handler, for what it interrupted. */
void walk_here(void);
void walk_interrupted(int sig, siginfo_t *info, void *context);
void walk_on_signal(int sig, void (*action)(int, siginfo_t *, void *), int flags);
void walk_kill_self(void); /* SIGUSR1 */

/* Calls leaf below n frames of its own. */
int walk_deep(int n, void (*leaf)(void));

/* Fails the test unless the last walk's frames from `skip` on are glibc's. */
void walk_same_as_glibc(uint32_t skip);

/* The function at an address, "?": no name. */
const char *walk_name(uintptr_t pc);

/* The first frame of the last walk in [low, high), UINT32_MAX: none. */
uint32_t walk_find(uintptr_t low, uintptr_t high);
#define FIND(fn) walk_find((uintptr_t)(fn), (uintptr_t)(fn) + 64)

#endif
