/* SPDX-License-Identifier: Apache-2.0 */
/*
 * PCs are collected in a pool of buffers, not on the stack (alternate stacks of 8 KiB exist, hazard
 * C1) and not in TLS (hazard M13). When all are taken the sample is counted as busy.
 */
#include "agent/collect/record.h"

#include <stdatomic.h>
#include <stddef.h>

#include "agent/base/attr.h"
#include "agent/base/stats.h"
#include "agent/collect/modules.h"
#include "agent/collect/stacks.h"
#include "agent/collect/unloads.h"
#include "agent/collect/unwind.h"
#include "agent/collect/unwind_remote.h"
#include "agent/collect/unwind_walk.h"

enum { BUFFERS = 64 };

static struct {
	uint32_t max;
	_Atomic uint64_t taken; /* one bit per buffer */
} self = { .max = 128 };

/* apart from what is initialised: a quarter MiB that costs nothing until it is touched */
static uintptr_t buffers[BUFFERS][FRAMES_MAX + 1] BIG;

void record_set_depth(uint32_t max_frames)
{
	self.max = max_frames;
}

static void give_buffer(unsigned which)
{
	if (tls.thread)
		tls.thread->buffer = 0;
	atomic_fetch_and_explicit(&self.taken, ~((uint64_t)1 << which), memory_order_release);
	unloads_leave();
}

/* A handler of the program left the functions that would have done this (hazard B3). */
static COLD void give_what_was_left(void)
{
	tls.flags &= (uint16_t)~TLS_LEFT;
	if (tls.thread && tls.thread->buffer)
		give_buffer(tls.thread->buffer - 1u);
	if (tls.flags & TLS_GUESSING)
		unwind_guess_leave();
}

static uintptr_t *take_buffer(unsigned *out_which)
{
	uint64_t taken;
	unsigned which;

	if (UNLIKELY(tls.flags & TLS_LEFT))
		give_what_was_left();
	/* code that is unloaded while a walk is under way may be in its stack */
	unloads_enter();
	taken = atomic_load_explicit(&self.taken, memory_order_relaxed);
	do {
		if (!~taken) {
			unloads_leave();
			return NULL;
		}
		which = (unsigned)__builtin_ctzll(~taken);
	} while (!atomic_compare_exchange_weak_explicit(&self.taken, &taken,
							taken | (uint64_t)1 << which,
							memory_order_acquire, memory_order_relaxed));
	*out_which = which;
	if (tls.thread)
		tls.thread->buffer = (uint8_t)(which + 1);
	return buffers[which];
}

const struct stack *record_mark(enum frame_mark mark)
{
	uintptr_t pc = mark;

	return stacks_intern(&pc, 1, 0);
}

/* Adds the root mark that says how the walk ended, and stores the stack. */
static const struct stack *store(uintptr_t *pcs, uint32_t n, enum unwind_end end, uint32_t generation)
{
	if (end == UNWIND_TRUNCATED) {
		stat_add(STAT_STACKS_TRUNCATED, 1);
		pcs[n++] = FRAME_TRUNCATED;
	} else if (end != UNWIND_ROOT) {
		stat_add(STAT_STACKS_INCOMPLETE, 1);
		pcs[n++] = end == UNWIND_REGISTER ? FRAME_NO_REGISTERS : FRAME_UNKNOWN_ROOT;
	} else if (!n) {
		/* nothing but our own frames */
		pcs[n++] = FRAME_AGENT;
	}
	return stacks_intern(pcs, n, generation);
}

const struct stack *record_context(const void *ucontext, const struct thread *thread)
{
	uint32_t generation = modules_generation();
	enum unwind_end end = UNWIND_ROOT;
	const struct stack *stack;
	unsigned which;
	uintptr_t *pcs = take_buffer(&which);
	uint32_t n;

	if (!pcs) {
		stat_add(STAT_CPU_BUSY, 1);
		return record_mark(FRAME_AGENT);
	}
	n = unwind_context(ucontext, thread->stack_lo, thread->stack_hi, pcs, self.max, &end);
	stack = store(pcs, n, end, generation);
	give_buffer(which);
	return stack;
}

const struct stack *record_from(const struct unwind_regs *from, const void *leaf)
{
	uint32_t generation = modules_generation(), own = leaf != NULL;
	enum unwind_end end = UNWIND_ROOT;
	const struct stack *stack;
	unsigned which;
	uintptr_t *pcs = take_buffer(&which);
	uint32_t n;

	if (!pcs)
		return record_mark(FRAME_AGENT);
	pcs[0] = (uintptr_t)leaf;
	n = own + unwind_from(from, tls.stack_lo, tls.stack_hi, pcs + own, self.max - own, &end);
	stack = store(pcs, n, end, generation);
	give_buffer(which);
	return stack;
}

const struct stack *record_copy(const struct unwind_snapshot *copy)
{
	uint32_t generation = modules_generation();
	enum unwind_end end = UNWIND_ROOT;
	const struct stack *stack;
	unsigned which;
	uintptr_t *pcs = take_buffer(&which);
	uint32_t n;

	if (!pcs)
		return record_mark(FRAME_NOT_READ);
	n = unwind_remote(copy, pcs, self.max, &end);
	stack = store(pcs, n, end, generation);
	give_buffer(which);
	return stack;
}

void record_child(void)
{
	atomic_store(&self.taken, 0);
}
