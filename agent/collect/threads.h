/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The threads of the process: a record for each, made by the thread itself when it starts through
 * pthread_create (or first runs one of our hooks), or by the agent for threads that it finds in
 * /proc/self/task. Records are recycled by the agent only when their tid is gone (hazard C4).
 */
#ifndef COLLECT_THREADS_H
#define COLLECT_THREADS_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "agent/base/tls.h"

enum thread_state { THREAD_FREE, THREAD_LIVE, THREAD_ENDED };

/* One CPU timer, owned by collect/cpu.c. See there for who may touch what. */
struct cpu_timer {
	_Atomic uint32_t session; /* session that the timer belongs to, 0: none */
	int id;			  /* the kernel's timer id */
	_Atomic uint32_t counted; /* periods booked in this session */
	uint64_t first_ns;	  /* thread CPU time of the first expiry */
	_Atomic(const struct stack *) last; /* stack of the last sample in this session */
};

struct thread {
	struct thread *next;	    /* all records ever made; immutable once published */
	_Atomic int tid;	    /* 0 when the record is free */
	_Atomic int state;	    /* enum thread_state */
	_Atomic uint32_t tag;	    /* number of this thread for labels, never reused */
	uintptr_t stack_lo, stack_hi; /* bounds of its stack, 0 when not known */
	void *(*start)(void *);	    /* its start routine, NULL when not known */
	struct cpu_timer timer;
};

/* Registers the calling thread, and its stack bounds where they can be had without a lock.
 * Context: init (main thread), hook. */
void threads_adopt(void);

/* The record of the calling thread or NULL. Context: signal, hook. */
static inline struct thread *threads_self(void)
{
	return tls.thread;
}

/* pthread_create's and thrd_create's work: `routine`/`arg` are replaced by ours. Returns the block to
 * pass on, NULL when out of memory (then the caller creates the thread untouched, counted).
 * threads_abandon gives the block back when the real call failed. Context: hook. */
struct thread_launch;
struct thread_launch *threads_launch(void *(*routine)(void *), void *arg);
void *threads_run(struct thread_launch *launch); /* the routine to pass on */
void threads_abandon(struct thread_launch *launch);

/* Walks all live records. Context: agent. */
struct thread *threads_first(void);

/* Finds threads that never ran a hook, frees records of threads that are gone.
 * `task` is a descriptor of /proc/self/task. Context: agent. */
void threads_sweep(void);

/* Live application threads, and created ever. Context: any. */
uint64_t threads_live(void);
uint64_t threads_created(void);

/* Context: init; child. */
int threads_start(void);
void threads_child(void);

#endif
