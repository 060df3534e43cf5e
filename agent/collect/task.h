/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the kernel says of one thread of this process: /proc/thread-self/../TID/. Never through
 * /proc/self: its files read empty once the main thread has ended (hazard M27).
 *
 * Context: agent.
 */
#ifndef COLLECT_TASK_H
#define COLLECT_TASK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { TASK_NAME_SIZE = 16 }; /* the kernel's, NUL included */

/* The directory of the process's threads; -errno when /proc cannot be used. To be closed. */
int task_directory(void);

struct task_facts {
	char state;		   /* letter of proc(5): R S D T t Z X I; '?' when not told */
	char name[TASK_NAME_SIZE]; /* any bytes but NUL */
};
/* 0; -ESRCH or -ENOENT: there is no such thread (any more); another -errno. */
int task_facts(int directory, int tid, struct task_facts *out);

struct task_status {
	uint64_t switches; /* context switches, voluntary and not */
	uint64_t blocked;  /* signals that it blocks: bit n - 1 stands for signal n */
	uint64_t pending;  /* those sent to it alone and not delivered yet */
};
/* As task_facts, at twice its price. */
int task_status(int directory, int tid, struct task_status *out);

/* Where a thread that does not run entered the kernel. */
struct task_call {
	long nr; /* number of the system call; -1: it is in none (page fault, stopped) */
	uint64_t arg[6];
	uintptr_t sp, pc; /* pc: the instruction that it goes on with */
};

enum task_where {
	TASK_ASLEEP,  /* *out is filled */
	TASK_RUNNING, /* on a processor, or ready for one */
	TASK_GONE,
	TASK_DENIED, /* the kernel does not tell (the process is not dumpable) */
};

/* Number of bytes that a read of the file `syscall` yields at most. */
enum { TASK_CALL_SIZE = 256 };

/* Opens TID/syscall: descriptor or -errno. */
int task_call_open(int directory, int tid);
/* One look at it. `text` receives the bytes, so that two looks can be compared; NUL-terminated. */
enum task_where task_call_read(int fd, char text[TASK_CALL_SIZE], struct task_call *out);

/* A number that is another one after the thread has run, however briefly. 0 when it is gone. */
uint64_t task_stamp(int directory, int tid);

/* How far the clock that the scheduler stamps threads with lies behind CLOCK_MONOTONIC, on the processor
 * of the caller. It stands still while the hypervisor, or interrupts, have the processor: those of
 * other processors differ from ours by no more than about this. false: the kernel does not tell. */
bool task_clock_behind(int directory, uint64_t *out_ns);

/* How long ago a thread that sleeps ran last, with this difference. false: not told. */
bool task_idle_ns(int directory, int tid, uint64_t behind_ns, uint64_t *out_ns);

#endif
