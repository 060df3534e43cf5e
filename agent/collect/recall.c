/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Design: a table with one place for each hash of the stack pointer and of the first return addresses. To find
 * those without rules, `hops` remembers for code how far above its own the next return address lay the
 * last time: where that is wrong, only the place is. They lead no further than the page of the stack pointer,
 * which is there: a piece of the thread's stack can be a coroutine's, with a guard page above.
 *
 * Each entry has a turn that is odd while it is written: readers that see it move look no further, and
 * writers that find it odd leave it. A thread that ends or is interrupted for ever in between costs
 * one entry.
 */
#include "agent/collect/recall.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>

#include "agent/base/attr.h"
#include "agent/base/tls.h"
#include "agent/collect/frames.h"
#include "agent/collect/modules.h"
#include "agent/collect/stacks.h"
#include "agent/collect/unwind_log.h"
#include "agent/collect/unwind_walk.h"

enum {
	ENTRY_BITS = 11,
	HOP_BITS = 12,
	PAGE = 4096, /* the smallest */
	HOPS = 5, /* return addresses in the hash: the first ones are in this library, the next one in operator new */
};

struct entry {
	_Atomic uint32_t turn;
	_Atomic uint32_t generation;
	_Atomic uintptr_t pc, sp, bp; /* bp: 0 where it decided nothing */
	_Atomic(const void *) leaf;
	_Atomic(const struct stack *) stack;
	_Atomic uint32_t n, reach; /* words in use; words of the stack that they cover */
	_Atomic uint32_t words[UNWIND_LOG_WORDS + 1]; /* the last one: read when they change under the reader */
};

/* They cost nothing until they are touched. */
static struct entry entries[1 << ENTRY_BITS] BIG;
static _Atomic uint16_t hops[1 << HOP_BITS] BIG; /* in words, plus 1; 0: not known */

#define get(member) atomic_load_explicit(&(member), memory_order_relaxed)
#define set(member, value) atomic_store_explicit(&(member), value, memory_order_relaxed)

static _Atomic uint16_t *hop_from(uintptr_t pc)
{
	return &hops[(uint64_t)pc * 0x9e3779b97f4a7c15u >> (64 - HOP_BITS)];
}

static struct entry *entry_of(const struct unwind_regs *from)
{
	uintptr_t at = from->reg[ARCH_SP], pc = from->reg[ARCH_PC];
	uintptr_t page_end = ALIGN_DOWN(at, (uintptr_t)PAGE) + PAGE;
	uintptr_t end = page_end < tls.stack_hi ? page_end : tls.stack_hi;
	uint64_t hash = at * 0xff51afd7ed558ccdu;

	for (int i = 0; i < HOPS; i++) {
		uint32_t hop = get(*hop_from(pc));

		if (!hop || end - at < hop * sizeof(uintptr_t))
			break;
		at += (hop - 1) * sizeof(uintptr_t);
		pc = *(const uintptr_t *)at;
		hash = (hash ^ hash >> 32 ^ pc) * 0x9e3779b97f4a7c15u;
	}
	return &entries[hash >> (64 - ENTRY_BITS)];
}

static enum unwind_log_kind kind_of(uint32_t word)
{
	return (enum unwind_log_kind)(word & ((1u << LOG_KIND_BITS) - 1));
}

/* What an entry says, but for its words. */
struct head {
	const struct stack *stack;
	uint32_t n, reach;
};

/* Does the stack still hold what decided the walk? The words may be another walk's by now: between two that this
 * one has read there may be a hole in the stack, so each place is looked at only while the turn is the same. */
static bool is_same(const struct entry *e, uint32_t turn, const struct head *head, uintptr_t sp, uint32_t frame)
{
	for (uint32_t i = 0; i < head->n; i++) {
		uint32_t word = get(e->words[i]), place = word >> LOG_KIND_BITS;
		uintptr_t expected = 0;

		if (place >= head->reach)
			return false;
		switch (kind_of(word)) {
		case LOG_CODE:
			if (frame == head->stack->depth)
				return false;
			expected = head->stack->pcs[frame++] + 1;
			break;
		case LOG_OWN:
			expected = modules_own_start + get(e->words[++i]);
			break;
		case LOG_BASE:
			expected = sp + get(e->words[++i]);
			break;
		default:
			break;
		}
		atomic_thread_fence(memory_order_acquire);
		if (get(e->turn) != turn || ((const uintptr_t *)sp)[place] != expected)
			return false;
	}
	return true;
}

bool recall_may(const struct unwind_regs *from)
{
	uintptr_t sp = from->reg[ARCH_SP];

	/* while a module goes, its generation lasts on */
	return sp - tls.stack_lo < tls.stack_hi - tls.stack_lo && sp % sizeof(uintptr_t) == 0 && !unwind_closing();
}

/* Frames of the stack that were not read: the leaf, and where the walk began unless that is in this library. */
static uint32_t given(const struct unwind_regs *from, const void *leaf)
{
	return (leaf != NULL) + !modules_is_own(from->reg[ARCH_PC]);
}

const struct stack *recall_find(const struct unwind_regs *from, const void *leaf, uint32_t generation)
{
	const struct entry *e = entry_of(from);
	uint32_t turn = atomic_load_explicit(&e->turn, memory_order_acquire);
	const struct head head = { .stack = get(e->stack), .n = get(e->n), .reach = get(e->reach) };
	uintptr_t sp = from->reg[ARCH_SP], bp = get(e->bp);

	if (!turn || turn & 1 || get(e->sp) != sp || get(e->pc) != from->reg[ARCH_PC] ||
	    get(e->generation) != generation || get(e->leaf) != leaf || (bp && bp != from->reg[ARCH_BP]))
		return NULL;
	atomic_thread_fence(memory_order_acquire);
	if (get(e->turn) != turn || head.reach > (tls.stack_hi - sp) / sizeof(uintptr_t) ||
	    !is_same(e, turn, &head, sp, given(from, leaf)))
		return NULL;
	return head.stack;
}

/* For the next look for an entry. */
static void learn_hops(uintptr_t pc, const struct unwind_log *log, const struct stack *stack, uint32_t frame)
{
	uint32_t from = 0;

	for (uint32_t i = 0, n = 0; i < log->n && n < HOPS; i++) {
		enum unwind_log_kind kind = kind_of(log->words[i]);
		uint32_t place = log->words[i] >> LOG_KIND_BITS, hop = place - from + 1;

		if (kind == LOG_OWN || kind == LOG_BASE)
			i++;
		if (kind == LOG_BASE)
			continue;
		if (kind == LOG_ZERO || hop > UINT16_MAX)
			return;
		if (get(*hop_from(pc)) != hop)
			set(*hop_from(pc), (uint16_t)hop);
		from = place;
		pc = kind == LOG_OWN ? modules_own_start + log->words[i] : stack->pcs[frame++] + 1;
		n++;
	}
}

static void write_words(struct entry *e, const struct unwind_log *log)
{
	uint32_t reach = 0;

	for (uint32_t i = 0; i < log->n; i++) {
		enum unwind_log_kind kind = kind_of(log->words[i]);
		uint32_t place = log->words[i] >> LOG_KIND_BITS;

		set(e->words[i], log->words[i]);
		reach = place >= reach ? place + 1 : reach;
		if (kind == LOG_OWN || kind == LOG_BASE) {
			i++;
			set(e->words[i], log->words[i]);
		}
	}
	set(e->n, log->n);
	set(e->reach, reach);
}

void recall_keep(const struct unwind_regs *from, const void *leaf, uint32_t generation,
		 const struct unwind_log *log, const struct stack *stack)
{
	uint32_t first = given(from, leaf), turn;
	struct entry *e;

	/* another depth, or a mark: there was no room for the stack that was found */
	if (log->lost || stack->depth != log->frames + first || stack->pcs[0] < FRAME_MARKS)
		return;
	learn_hops(from->reg[ARCH_PC], log, stack, first);
	e = entry_of(from);
	turn = get(e->turn);
	/* acquire: what the writer before wrote comes before what is written here */
	if (turn & 1 || !atomic_compare_exchange_strong_explicit(&e->turn, &turn, turn + 1, memory_order_acquire,
								 memory_order_relaxed))
		return;
	atomic_thread_fence(memory_order_release);
	set(e->generation, generation);
	set(e->pc, from->reg[ARCH_PC]);
	set(e->sp, from->reg[ARCH_SP]);
	set(e->bp, log->first_bp ? from->reg[ARCH_BP] : 0);
	set(e->leaf, leaf);
	set(e->stack, stack);
	write_words(e, log);
	/* 0 is an entry in which nothing was ever written */
	atomic_store_explicit(&e->turn, turn + 2 ? turn + 2 : 2, memory_order_release);
}
