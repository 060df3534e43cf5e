/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a walk must know of one program counter, in 8 bytes, and the cache of them.
 *
 * Design: an entry is (key ^ rule, rule). Readers and writers use plain relaxed loads and stores;
 * an entry of which one half is somebody else's yields no matching key, so torn reads detect
 * themselves and nobody ever waits. The key holds the PC and the low half of the module generation,
 * the rule the high half: after a dlclose nothing cached before it matches (hazard F3).
 *
 * Context: signal, hook, agent.
 */
#ifndef COLLECT_UNWIND_RULE_H
#define COLLECT_UNWIND_RULE_H

#include <stdatomic.h>
#include <stdint.h>

#include "agent/base/attr.h"
#include "agent/collect/ehframe.h"

enum rule_kind {
	RULE_NONE,     /* not in the cache */
	RULE_SP,       /* CFA = stack pointer + cfa */
	RULE_BP,       /* CFA = base pointer + cfa */
	RULE_DEREF_SP, /* CFA = word at (stack pointer + cfa) + add; saves relative to the register
			*/
	RULE_DEREF_BP,
	RULE_PLT,     /* CFA = stack pointer + 8, + 16 from byte `cfa` of a 16-byte entry on */
	RULE_SIGNAL,  /* signal trampoline: all registers are in the kernel's frame */
	RULE_ROOT,    /* the return address is undefined: nobody called this */
	RULE_SLOW,    /* does not fit here: run the FDE again each time */
	RULE_GAP,     /* in an object, but no usable table describes it */
	RULE_GAP_CALL /* the same, and a call instruction ends behind this byte */
};

/* Bits 0-3 kind; 4-13 and 14-23 where the base pointer and rbx were saved, in words relative to the
 * CFA; 24-43 cfa (RULE_DEREF_*: 24-35 cfa, 36-43 add); 48-63 high half of the generation. */
enum { RULE_UNSAVED = -512, RULE_CFA_MAX = 1 << 19 };

static inline enum rule_kind rule_kind(uint64_t rule)
{
	return (enum rule_kind)(rule & 15);
}
static inline intptr_t rule_bits(uint64_t rule, unsigned from, unsigned n)
{
	return (intptr_t)(rule << (64 - from - n)) >> (64 - n);
}
static inline intptr_t rule_bp(uint64_t rule)
{
	return rule_bits(rule, 4, 10);
}
static inline intptr_t rule_bx(uint64_t rule)
{
	return rule_bits(rule, 14, 10);
}
static inline intptr_t rule_cfa(uint64_t rule)
{
	return rule_bits(rule, 24, 20);
}
static inline intptr_t rule_deref_cfa(uint64_t rule)
{
	return rule_bits(rule, 24, 12);
}
static inline intptr_t rule_deref_add(uint64_t rule)
{
	return rule_bits(rule, 36, 8);
}

/* The rule that says the same as this row, RULE_SLOW when none does.
 * Context: signal, hook, agent. */
uint64_t rule_from_row(const struct eh_fde *fde, const struct eh_row *row);

enum { RULE_SETS = 1 << 14, RULE_WAYS = 2 };

struct rule_entry {
	_Atomic uint64_t check; /* key ^ rule */
	_Atomic uint64_t rule;
};
extern struct rule_entry rule_cache[RULE_SETS][RULE_WAYS];

/* The PC and half of the generation, spread over all bits: one to one, and two halves of different
 * entries do not match by the likeness of near PCs and near rules. */
static inline uint64_t rule_key(uintptr_t pc, uint32_t generation)
{
	return (pc ^ (uint64_t)generation << 48) * 0x9e3779b97f4a7c15u;
}

static inline struct rule_entry *rule_set(uint64_t key)
{
	return rule_cache[key >> 50];
}

/* RULE_NONE when not there. PCs have 48 bits; others are never cached.
 * Context: signal, hook, agent. */
static inline uint64_t rule_get(uintptr_t pc, uint32_t generation)
{
	uint64_t key = rule_key(pc, generation);
	struct rule_entry *set = rule_set(key);

	for (int way = 0; way < RULE_WAYS; way++) {
		uint64_t rule = atomic_load_explicit(&set[way].rule, memory_order_relaxed);
		uint64_t check = atomic_load_explicit(&set[way].check, memory_order_relaxed);

		if (LIKELY((check ^ rule) == key && rule >> 48 == generation >> 16))
			return rule;
	}
	return RULE_NONE;
}

/* Context: signal, hook, agent. */
void rule_put(uintptr_t pc, uint32_t generation, uint64_t rule);

#endif
