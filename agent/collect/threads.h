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
#include "agent/collect/locks.h"
#include "agent/collect/tracebuf.h"

struct stack;

enum thread_state { THREAD_FREE, THREAD_LIVE, THREAD_ENDED };

/* One CPU timer, owned by collect/cpu.c. See there for who may touch what. */
struct cpu_timer {
	_Atomic uint64_t account; /* session << 32 | periods booked in it; 0: no timer */
	_Atomic int id;		  /* the kernel's timer id + 1, 0: none (yet) */
	_Atomic bool arming;	  /* somebody makes a timer */
	_Atomic uint32_t ahead;	  /* periods booked before they were delivered */
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

/* pthread_create's and thrd_create's work: `routine`/`arg` are replaced by ours. stack_size: of the new
 * thread's stack, 0 when not known. by: the stack of the creator. Returns the block to
 * pass on, NULL when out of memory (then the caller creates the thread untouched, counted).
 * threads_abandon gives the block back when the real call failed. Context: hook. */
struct thread_launch;
struct thread_launch *threads_launch(void *(*routine)(void *), void *arg, size_t stack_size,
				     const struct stack *by);
void *threads_run(void *launch); /* the routine to pass on */
void threads_abandon(struct thread_launch *launch);

/* Record i of [0, threads_records()), whatever its state; NULL only for i out of range. Context: any. */
struct thread *threads_at(uint32_t i);
uint32_t threads_records(void);

/* Makes records for threads that never ran a hook, ends those of threads that are gone. 0, or -errno
 * when /proc cannot be read. Context: agent. */
int threads_sweep(void);

/* begin: called in a new thread once it has its record; end: in an ending one before it loses it; last:
 * in the last application thread of a process in which only our threads are left. Context: init. */
void threads_notify(void (*begin)(struct thread *), void (*end)(struct thread *),
		    void (*last)(void));

/* The highest address of the main thread's stack that is surely part of it. Context: init. */
void threads_main_stack(uintptr_t top);

/* The calling thread is the agent's own: not counted, not profiled; it ends. Context: agent. */
void threads_is_agent(void);
void threads_agent_ends(void);

/* True while all threads that we count have ended but others of the program may live; then
 * threads_only_agents() tells when they are gone too. Context: agent. */
bool threads_watch(void);
bool threads_only_agents(void);
/* Nothing says whether there are: /proc cannot be read and some were not counted. Then our thread must end too, so
 * that the kernel and libc find out. Context: agent. */
bool threads_cannot_tell(void);

/* Live application threads, and created ever. Context: any. */
uint64_t threads_live(void);
uint64_t threads_created(void);

/* Context: init; child. */
int threads_start(void);
void threads_child(void);

#endif
