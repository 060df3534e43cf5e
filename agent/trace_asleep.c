/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/trace_asleep.h"

#include <stddef.h>
#include <string.h>

#include "agent/base/attr.h"
#include "agent/base/fmt.h"
#include "agent/base/sys.h"
#include "agent/collect/frames.h"
#include "agent/collect/peek.h"
#include "agent/collect/stacks.h"
#include "agent/collect/tracebuf.h"
#include "encode/symbols.h"
#include "hooks/real.h"

enum { PATH = 128 };

/* System calls in which a thread waits for something that is no file, by what it is. All others are
 * shown as the system calls that they are. */
static const struct {
	short nr;
	uint8_t reason; /* TRACE_IO: the first argument decides */
} calls[] = {
	{ SYS_futex, TRACE_SYNC },	   { SYS_semop, TRACE_SYNC },
	{ SYS_semtimedop, TRACE_SYNC },	   { SYS_nanosleep, TRACE_SLEEP },
	{ SYS_clock_nanosleep, TRACE_SLEEP }, { SYS_ppoll, TRACE_NET },
	{ SYS_pselect6, TRACE_NET },	   { SYS_epoll_pwait, TRACE_NET },
	{ SYS_accept, TRACE_NET },	   { SYS_accept4, TRACE_NET },
	{ SYS_connect, TRACE_NET },	   { SYS_recvfrom, TRACE_NET },
	{ SYS_recvmsg, TRACE_NET },	   { SYS_recvmmsg, TRACE_NET },
	{ SYS_sendto, TRACE_NET },	   { SYS_sendmsg, TRACE_NET },
	{ SYS_sendmmsg, TRACE_NET },	   { SYS_splice, TRACE_NET },
	{ SYS_read, TRACE_IO },		   { SYS_write, TRACE_IO },
	{ SYS_readv, TRACE_IO },	   { SYS_writev, TRACE_IO },
	{ SYS_sendfile, TRACE_IO },
#ifdef SYS_poll
	{ SYS_poll, TRACE_NET },	   { SYS_select, TRACE_NET },
	{ SYS_epoll_wait, TRACE_NET },
#endif
#ifdef SYS_futex_waitv
	{ SYS_futex_waitv, TRACE_SYNC },
#endif
#ifdef SYS_epoll_pwait2
	{ SYS_epoll_pwait2, TRACE_NET },
#endif
};

/* Our descriptors are not the program's: the kernel says what the thread's is. */
static enum trace_reason reason_of_fd(int tid, int fd)
{
	char path[PATH], file[PATH];
	long n;

	fmt_buf(path, sizeof(path), "/proc/thread-self/../%d/fd/%d", tid, fd);
	n = sys_readlink(path, file, sizeof(file) - 1);
	if (n <= 0)
		return TRACE_CALL;
	file[n] = '\0';
	/* "socket:[...]", "pipe:[...]", "anon_inode:...", terminals; else a file */
	return file[0] != '/' || !strncmp(file, "/dev/", 5) ? TRACE_NET : TRACE_CALL;
}

static enum trace_reason reason_of(int tid, const struct task_call *call)
{
	for (size_t i = 0; i < ARRAY_LEN(calls); i++) {
		if (calls[i].nr != call->nr)
			continue;
		return calls[i].reason == TRACE_IO ? reason_of_fd(tid, (int)call->arg[0]) :
						     (enum trace_reason)calls[i].reason;
	}
	return TRACE_CALL;
}

/* Instead of libc's own frames around the system call: `function`, or if that is not known the one that
 * the program called. */
static const struct stack *as_called(struct symbols *symbols, const struct stack *stack,
				     uintptr_t function)
{
	long libc = symbols_mapping_at(symbols, (uintptr_t)real.poll, stack->generation);
	uintptr_t pcs[FRAMES_MAX];
	uint32_t in_libc = 0, n = 0;

	while (in_libc < stack->depth && libc >= 0 &&
	       symbols_mapping_at(symbols, stack->pcs[in_libc], stack->generation) == libc)
		in_libc++;
	if (!in_libc && !function)
		return stack;
	pcs[n++] = function ? function : stack->pcs[in_libc - 1];
	for (uint32_t i = in_libc; i < stack->depth && n < FRAMES_MAX; i++)
		pcs[n++] = stack->pcs[i];
	return stacks_intern(pcs, n, stack->generation);
}

void trace_asleep_complete(struct peeker *peeker, struct symbols *symbols, struct thread *thread,
			   struct trace_record *wait)
{
	int tid = atomic_load(&thread->tid);
	uintptr_t function = (uintptr_t)atomic_load(&thread->trace.function);
	struct trace_record again;
	struct peeked peeked;

	if (wait->reason != TRACE_IO && wait->stack && wait->stack->depth > 1)
		return;
	if (peek_at(peeker, thread, tid, &peeked) != PEEK_ASLEEP) {
		wait->reason = wait->reason == TRACE_IO ? TRACE_NET : wait->reason;
		return;
	}
	if (wait->reason == TRACE_IO)
		wait->reason = (uint8_t)reason_of_fd(tid, (int)peeked.call.arg[0]);
	/* it is in the same wait still: so what was read is of that wait */
	if (tracebuf_waits(thread, &again) && again.at_ns == wait->at_ns)
		wait->stack = as_called(symbols, peeked.stack, function);
}

void trace_asleep_cut(struct symbols *symbols, struct trace_record *wait)
{
	wait->stack = as_called(symbols, wait->stack, 0);
}

bool trace_asleep_look(struct peeker *peeker, const struct thread *thread, struct trace_record *out,
		       uint64_t *out_stamp)
{
	int tid = atomic_load(&thread->tid);
	struct peeked peeked;

	if (peek_at(peeker, thread, tid, &peeked) != PEEK_ASLEEP || peeked.call.nr < 0)
		return false;
	memset(out, 0, sizeof(*out));
	out->kind = TRACE_WAIT;
	out->tag = atomic_load(&thread->tag);
	out->tid = (uint32_t)tid;
	out->reason = (uint8_t)reason_of(tid, &peeked.call);
	out->stack = peeked.stack;
	*out_stamp = peeked.stamp;
	return true;
}
