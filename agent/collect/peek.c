/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A read counts only if the thread did not run from before its first byte to after its last: its CPU
 * clock and what the kernel says of its system call are the same before and after.
 */
#include "agent/collect/peek.h"

#include <string.h>

#include "agent/base/attr.h"
#include "agent/base/mem.h"
#include "agent/base/stats.h"
#include "agent/base/sys.h"
#include "agent/collect/record.h"
#include "agent/collect/unwind_remote.h"

enum {
	COPY_MAX = 256 << 10, /* of a stack, from its stack pointer up */
	RED_ZONE = 128,	      /* below the stack pointer, and still the function's own (psABI) */
	TRIES = 3	      /* for a thread that wakes up again and again: then it is running */
};

enum { AGAIN = PEEK_DENIED + 1 }; /* it woke up meanwhile */

struct peeker {
	int directory;
	int memory; /* /proc/thread-self/mem, where process_vm_readv is forbidden; -1: not open */
	_Alignas(16) char copy[COPY_MAX];
};

struct peeker *peek_begin(void)
{
	struct peeker *p = mem_alloc(sizeof(*p));

	if (!p)
		return NULL;
	p->memory = -1;
	p->directory = task_directory();
	if (p->directory >= 0)
		return p;
	mem_free(p);
	return NULL;
}

void peek_end(struct peeker *p)
{
	if (!p)
		return;
	sys_close(p->directory);
	if (p->memory >= 0)
		sys_close(p->memory);
	mem_free(p);
}

int peek_directory(const struct peeker *p)
{
	return p->directory;
}

long peek_memory(const struct peeker *p, uintptr_t at, void *out, size_t size)
{
	struct iovec local = { .iov_base = out, .iov_len = size };
	struct iovec remote = { .iov_base = (void *)at, .iov_len = size };

	if (p->memory >= 0)
		return sys_pread(p->memory, out, size, at);
	return sys_process_vm_readv(sys_gettid(), &local, 1, &remote, 1);
}

/* Sandboxes forbid process_vm_readv more often than a process's own memory file. */
static long copy_stack(struct peeker *p, uintptr_t from, size_t size)
{
	long n = peek_memory(p, from, p->copy, size);

	if (n != -EPERM && n != -ENOSYS && n != -EACCES)
		return n;
	if (p->memory < 0)
		p->memory = (int)sys_open("/proc/thread-self/mem", O_RDONLY | O_CLOEXEC);
	return p->memory < 0 ? n : peek_memory(p, from, p->copy, size);
}

/* What lies above the stack pointer and may be the thread's stack. */
static size_t bytes_above(const struct thread *t, uintptr_t from)
{
	if (from >= t->stack_lo && from < t->stack_hi && t->stack_hi - from < COPY_MAX)
		return ALIGN_DOWN(t->stack_hi - from, (size_t)8);
	return COPY_MAX;
}

static int read_once(struct peeker *p, const struct thread *t, int tid, struct peeked *out)
{
	char before[TASK_CALL_SIZE], after[TASK_CALL_SIZE];
	struct unwind_snapshot snapshot = { .stack = p->copy };
	struct task_call again;
	enum task_where where;
	long n, fd;

	out->stamp = task_stamp(p->directory, tid);
	fd = task_call_open(p->directory, tid);
	if (fd < 0)
		return fd == -ENOENT || fd == -ESRCH ? PEEK_GONE : PEEK_DENIED;
	where = task_call_read((int)fd, before, &out->call);
	if (where != TASK_ASLEEP) {
		sys_close((int)fd);
		return where == TASK_RUNNING ? PEEK_RUNNING
		       : where == TASK_GONE  ? PEEK_GONE
					     : PEEK_DENIED;
	}
	snapshot.stack_base = ALIGN_DOWN(out->call.sp, (uintptr_t)8) - RED_ZONE;
	n = copy_stack(p, snapshot.stack_base, bytes_above(t, snapshot.stack_base));
	where = task_call_read((int)fd, after, &again);
	sys_close((int)fd);
	if (where != TASK_ASLEEP || strcmp(before, after) != 0 ||
	    task_stamp(p->directory, tid) != out->stamp)
		return AGAIN;
	/* without its stack there is still the place where it sleeps */
	snapshot.stack_size = n > 0 ? ALIGN_DOWN((size_t)n, (size_t)8) : 0;
	if (n < 0)
		stat_add(STAT_PEEK_NO_STACK, 1);
	unwind_snapshot_asleep(&snapshot, out->call.pc, out->call.sp);
	out->stack = record_copy(&snapshot);
	return PEEK_ASLEEP;
}

enum peek peek_at(struct peeker *p, const struct thread *t, int tid, struct peeked *out)
{
	int result = AGAIN;

	for (int i = 0; i < TRIES && result == AGAIN; i++)
		result = read_once(p, t, tid, out);
	if (result == AGAIN)
		return PEEK_RUNNING;
	if (result == PEEK_DENIED)
		stat_add(STAT_PEEK_DENIED, 1);
	return (enum peek)result;
}
