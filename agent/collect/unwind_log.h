/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a walk by the quick rules read of the stack, and what decided it: the return addresses, and those base
 * pointers that a frame was found by. A walk that begins with the same registers, and would find the same
 * in these places, under the same rules, comes to the same end (collect/recall.h).
 *
 * Context of everything here: signal, hook, agent.
 */
#ifndef COLLECT_UNWIND_LOG_H
#define COLLECT_UNWIND_LOG_H

#include <stdbool.h>
#include <stdint.h>

#include "agent/collect/modules.h"

enum { UNWIND_LOG_WORDS = 116 };

/* What was read, in the low bits of a word; the others are its place in words above the first stack pointer. */
enum unwind_log_kind {
	LOG_CODE, /* a return address outside this library */
	LOG_OWN,  /* one in this library; the next word is its distance from modules_own_start */
	LOG_BASE, /* a base pointer; the next word is its distance from the first stack pointer */
	LOG_ZERO, /* a return address of 0 */
	LOG_KIND_BITS = 2
};

struct unwind_log {
	uintptr_t sp;	 /* that the walk began with */
	uintptr_t bp, bp_at; /* base pointer at hand, where it was read; 0: the walk began with it */
	bool bp_noted;	 /* it is in the log, or in first_bp */
	bool first_bp;	 /* a frame was found by the base pointer that the walk began with */
	bool lost;	 /* something else decided as well: this walk is not to be remembered */
	uint16_t n, frames; /* words; those of LOG_CODE */
	uint32_t words[UNWIND_LOG_WORDS];
};

static inline void unwind_log_begin(struct unwind_log *log, uintptr_t sp)
{
	log->sp = sp;
	log->bp_at = 0;
	log->bp_noted = log->first_bp = log->lost = false;
	log->n = log->frames = 0;
}

static inline void unwind_log_add(struct unwind_log *log, uintptr_t at, enum unwind_log_kind kind, uintptr_t more)
{
	uintptr_t place = (at - log->sp) / sizeof(uintptr_t);

	if (at < log->sp || place >> (32 - LOG_KIND_BITS) || more >> 32 || log->n + 2 > UNWIND_LOG_WORDS) {
		log->lost = true;
		return;
	}
	log->words[log->n++] = (uint32_t)(place << LOG_KIND_BITS | kind);
	if (kind == LOG_OWN || kind == LOG_BASE)
		log->words[log->n++] = (uint32_t)more;
	log->frames += kind == LOG_CODE;
}

/* The base pointer at hand decides. */
static inline void unwind_log_base(struct unwind_log *log)
{
	if (log->bp_noted)
		return;
	log->bp_noted = true;
	if (log->bp_at)
		unwind_log_add(log, log->bp_at, LOG_BASE, log->bp - log->sp);
	else
		log->first_bp = true;
}

/* A base pointer was read; whether it matters turns out later. */
static inline void unwind_log_saved_base(struct unwind_log *log, uintptr_t at, uintptr_t bp)
{
	log->bp = bp;
	log->bp_at = at;
	log->bp_noted = false;
}

static inline void unwind_log_return(struct unwind_log *log, uintptr_t at, uintptr_t pc)
{
	if (!pc)
		unwind_log_add(log, at, LOG_ZERO, 0);
	else if (modules_is_own(pc - 1))
		unwind_log_add(log, at, LOG_OWN, pc - modules_own_start);
	else
		unwind_log_add(log, at, LOG_CODE, 0);
}

#endif
