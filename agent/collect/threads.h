/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The threads of the process: a record for each, made by the thread itself when it starts through
 * pthread_create (or first runs one of our hooks), or by the agent for threads that it finds in
 * /proc/self/task (collect/sweep.h). collect/records.h has the records of all; a record is used again only when
 * its tid is gone (hazard C4). collect/census.h knows how many threads are left.
 */
#ifndef COLLECT_THREADS_H
#define COLLECT_THREADS_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "agent/base/tls.h"
#include "agent/collect/locks.h"
#include "agent/collect/tracebuf.h"

struct stack;

enum thread_state { THREAD_FREE, THREAD_LIVE, THREAD_ENDED };

/* One CPU timer, owned by collect/cpu.c. See there for who may touch what. */
struct cpu_timer {
	_Atomic uint64_t account; /* session << 32 | periods booked in it; 0: no timer */
	_Atomic int id;		  /* the kernel's timer id + 1, 0: none (yet) */
	_Atomic bool arming;	  /* somebody makes a timer */
	_Atomic uint32_t delivered; /* periods that the kernel has delivered in it */
	uint64_t first_ns;	  /* thread CPU time of the first expiry */
	_Atomic(const struct stack *) last; /* stack of the last sample in this session */
};

struct thread {
	uint32_t index;		    /* its place in the table, for ever */
	_Atomic int tid;	    /* kernel id of the thread that has, or had, the record */
	_Atomic int state;	    /* enum thread_state */
	_Atomic uint32_t tag;	    /* number of this thread for labels, never reused */
	_Atomic bool blocked;	    /* it blocked our signal when last looked at */
	_Atomic bool labelled;	    /* samples carry its tag: collect/labels.h */
	_Atomic bool refused;	    /* the kernel refused it a timer in this session */
	uint64_t unseen_from_ns;    /* its CPU time when it was first found without a timer */
	struct thread *queue;	    /* next in the queue of ended records */
	struct thread *found;	    /* next of those that no thread has taken over */
	bool counted;		    /* its end takes one off the number of live threads */
	uint8_t buffer;		    /* the one that it holds, + 1: collect/record.c */
	int rounds;		    /* destructor rounds seen at its end */
	uintptr_t stack_lo, stack_hi; /* bounds of its stack, 0 when not known */
	void *(*start)(void *);	    /* its start routine, NULL when not known */
	void *altstack;		    /* ours: collect/altstack.h */
	struct cpu_timer timer;
	struct lock_wait lock_wait; /* only the thread itself looks at it: collect/contention.c */
	/* collect/shot.c: the stack that the thread took of itself, and how many it took */
	_Atomic(const struct stack *) shot;
	_Atomic uint32_t shots;
	/* who made it, NULL and 0 when not known: set before its state is THREAD_LIVE, or by itself */
	_Atomic(const struct stack *) created_by;
	_Atomic int creator; /* tid */
	struct thread_trace trace;  /* collect/tracebuf.h */
};

/* Registers the calling thread, and its stack bounds where they can be had without a lock.
 * Context: init (main thread), hook. */
void threads_adopt(void);

/* The record of the calling thread or NULL. Context: signal, hook. */
static inline struct thread *threads_self(void)
{
	return tls.thread;
}

/* The agent listens: from now on threads without an alternate signal stack get one, the calling thread
 * first. Context: init, hook. */
void threads_give_altstacks(void);

/* For collect/launch.c, in a thread that begins: a record for it, NULL when there is none; and, when what is
 * known of it has been noted there, its beginning. Context: hook. */
struct thread *threads_own_record(void);
void threads_begin(struct thread *t);

/* begin: called in a new thread once it has its record; end: in an ending one before it loses it; last:
 * in the last application thread that is counted, alone: only our threads are left. Context: init. */
void threads_notify(void (*begin)(struct thread *), void (*end)(struct thread *),
		    void (*last)(bool alone));

/* The highest address of the main thread's stack that is surely part of it. Context: init. */
void threads_main_stack(uintptr_t top);

/* Context: init; child. */
int threads_start(void);
void threads_child(void);

#endif
