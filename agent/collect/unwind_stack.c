/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Finds out what can be read of a stack whose bounds nobody told us. The kernel copies one byte of
 * each page in a list and stops at the first that it cannot read: the number of bytes is the number
 * of pages. It checks nothing within one thread group, so this works wherever the call exists.
 */
#include "agent/collect/unwind_stack.h"

#include "agent/base/stats.h"
#include "agent/base/sys.h"

enum {
	PAGE = 4096,	      /* the smallest; a larger real one only costs list entries */
	PROBE_PAGES = 24,     /* per call: the lists lie on a small stack */
	PROBED_MAX = 16 << 20 /* beyond this a probed stack ends */
};

bool unwind_peek(uintptr_t at, void *out_bytes, size_t size)
{
	struct iovec local = {.iov_base = out_bytes, .iov_len = size};
	struct iovec remote = {.iov_base = (void *)at, .iov_len = size};

	return sys_process_vm_readv(sys_gettid(), &local, 1, &remote, 1) == (long)size;
}

/* Number of readable pages from the one of `from` on, at most PROBE_PAGES, or -errno. */
static NOINLINE long probe_pages(uintptr_t from)
{
	struct iovec remote[PROBE_PAGES];
	uint8_t bytes[PROBE_PAGES];
	struct iovec local = {.iov_base = bytes, .iov_len = sizeof(bytes)};

	for (int i = 0; i < PROBE_PAGES; i++) {
		remote[i].iov_base = (void *)from;
		remote[i].iov_len = 1;
		from = ALIGN_DOWN(from, (uintptr_t)PAGE) + PAGE;
	}
	stat_add(STAT_UNWIND_PROBES, 1);
	return sys_process_vm_readv(sys_gettid(), &local, 1, remote, PROBE_PAGES);
}

bool unwind_stack_probe(struct unwind_stack *stack, uintptr_t sp)
{
	long n = probe_pages(sp);
	uintptr_t page;

	unwind_stack_fix(stack, 0, 0, NULL);
	if (n <= 0) {
		stack->denied = n != -EFAULT;
		return false;
	}
	page = ALIGN_DOWN(sp, (uintptr_t)PAGE);
	unwind_stack_fix(stack, sp - page < STACK_RED_ZONE ? page : sp - STACK_RED_ZONE,
			 page + (uintptr_t)n * PAGE, NULL);
	if (n == PROBE_PAGES)
		stack->mode = STACK_PROBED;
	return true;
}

void unwind_stack_careful(struct unwind_stack *stack)
{
	if (stack->shift)
		return; /* a copy is ours and stays */
	stack->mode = STACK_CAREFUL;
	stack->lo = 1;
	stack->last = 0;
}

static bool grow(struct unwind_stack *stack, uintptr_t at)
{
	uintptr_t hi = stack->lo + stack->last + sizeof(uintptr_t);

	if (at < hi || at - stack->lo > PROBED_MAX)
		return false;
	while (at >= hi) {
		long n = probe_pages(hi);

		if (n > 0)
			hi += (uintptr_t)n * PAGE;
		if (n != PROBE_PAGES) {
			stack->mode = STACK_FIXED;
			break;
		}
	}
	stack->last = hi - stack->lo - sizeof(uintptr_t);
	return at < hi;
}

COLD bool unwind_stack_read_slow(struct unwind_stack *stack, uintptr_t at, uintptr_t *out_word)
{
	uintptr_t word;

	if (at & 7)
		return false;
	if (stack->mode == STACK_CAREFUL) {
		if (!unwind_peek(at, &word, sizeof(word)))
			return false;
	} else if (stack->mode == STACK_PROBED && grow(stack, at)) {
		word = *(const uintptr_t *)at;
	} else {
		return false;
	}
	*out_word = word;
	return true;
}
