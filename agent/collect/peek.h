/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The stack of another thread, read while it sleeps: the kernel tells where it entered, its stack is
 * copied, and the copy is unwound. The thread is not signalled, woken or stopped, so no call of the
 * program ever returns EINTR because of us (hazard E4); threads that block all signals and those that
 * pthread_create never saw are read like all others.
 *
 * Context: agent.
 */
#ifndef COLLECT_PEEK_H
#define COLLECT_PEEK_H

#include <stdint.h>

#include "agent/collect/task.h"
#include "agent/collect/threads.h"

struct stack;
struct peeker;

/* Buffers and descriptors for many reads. NULL: out of memory, or /proc cannot be used. */
struct peeker *peek_begin(void);
void peek_end(struct peeker *peeker);
int peek_directory(const struct peeker *peeker);

enum peek {
	PEEK_ASLEEP,  /* *out is filled, and was true at one instant */
	PEEK_RUNNING, /* it runs, or ran while it was read */
	PEEK_GONE,
	PEEK_DENIED, /* the kernel lets us read nothing of it: counted */
};

struct peeked {
	const struct stack *stack;
	struct task_call call;
	uint64_t stamp; /* as long as task_stamp says this, the thread has not run since */
};
enum peek peek_at(struct peeker *peeker, const struct thread *thread, int tid, struct peeked *out);

/* Copies memory of this process that may not be there. Number of bytes, or -errno. */
long peek_memory(const struct peeker *peeker, uintptr_t at, void *out, size_t size);

#endif
