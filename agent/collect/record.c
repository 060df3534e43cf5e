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
#include "agent/collect/recall.h"
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

/* apart from what is initialised: 0.3 MiB that cost nothing until they are touched */
static struct buffer {
	uintptr_t pcs[FRAMES_MAX + 1];
	struct unwind_log log;
} buffers[BUFFERS] BIG;

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

static struct buffer *take_buffer(unsigned *out_which)
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
	return &buffers[which];
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
	struct buffer *buffer = take_buffer(&which);
	uint32_t n;

	if (!buffer) {
		stat_add(STAT_CPU_BUSY, 1);
		return record_mark(FRAME_AGENT);
	}
	n = unwind_context(ucontext, thread->stack_lo, thread->stack_hi, buffer->pcs, self.max, &end);
	stack = store(buffer->pcs, n, end, generation);
	give_buffer(which);
	return stack;
}

/* The walk itself. */
static const struct stack *walk_from(const struct unwind_regs *from, const void *leaf, uint32_t generation, bool keep)
{
	uint32_t own = leaf != NULL;
	const struct stack *stack;
	unsigned which;
	struct buffer *buffer = take_buffer(&which);
	struct unwind_walk walk;

	if (!buffer)
		return record_mark(FRAME_AGENT);
	buffer->pcs[0] = (uintptr_t)leaf;
	walk.from = from;
	walk.thread_lo = tls.stack_lo;
	walk.thread_hi = tls.stack_hi;
	walk.pcs = buffer->pcs + own;
	walk.max = self.max - own;
	walk.force_full = false;
	walk.log = keep ? &buffer->log : NULL;
	walk.reach = 0;
	unwind_walk(&walk, true);
	stack = store(buffer->pcs, own + walk.n, walk.end, generation);
	if (keep && walk.end == UNWIND_ROOT)
		recall_keep(from, leaf, generation, &buffer->log, stack);
	give_buffer(which);
	return stack;
}

const struct stack *record_from(const struct unwind_regs *from, const void *leaf)
{
	uint32_t generation = modules_generation();
	bool keep = recall_may(from);
	const struct stack *stack = keep ? recall_find(from, leaf, generation) : NULL;

	return stack ? stack : walk_from(from, leaf, generation, keep);
}

const struct stack *record_copy(const struct unwind_snapshot *copy)
{
	uint32_t generation = modules_generation();
	enum unwind_end end = UNWIND_ROOT;
	const struct stack *stack;
	unsigned which;
	struct buffer *buffer = take_buffer(&which);
	uint32_t n;

	if (!buffer)
		return record_mark(FRAME_NOT_READ);
	n = unwind_remote(copy, buffer->pcs, self.max, &end);
	stack = store(buffer->pcs, n, end, generation);
	give_buffer(which);
	return stack;
}

void record_child(void)
{
	atomic_store(&self.taken, 0);
}
