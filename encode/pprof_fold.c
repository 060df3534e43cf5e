/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Makes one sample of those that a reader could not tell apart: stacks are kept apart by the module
 * generation too (collect/stacks.h), and a plug-in that was unloaded and came back to its place has the same
 * locations before and after. Only where something was unloaded is there anything to do.
 */
#include <errno.h>
#include <string.h>

#include "agent/base/mem.h"
#include "agent/collect/snapshot.h"
#include "agent/collect/stacks.h"
#include "encode/pprof_writer.h"

static uint64_t hash_of(const struct sample *s)
{
	uint64_t h = ((uint64_t)s->bytes << 32 ^ s->tag) * 0x9e3779b97f4a7c15u;

	for (uint32_t i = s->skip; i < s->stack->depth; i++) {
		h = (h ^ s->stack->pcs[i]) * 0xff51afd7ed558ccdu;
		h ^= h >> 32;
	}
	return h;
}

static bool looks_same(const struct pprof_writer *w, const struct sample *a, const struct sample *b)
{
	const struct stack *x = a->stack, *y = b->stack;
	uint32_t n = x->depth - a->skip;

	if (a->tag != b->tag || a->bytes != b->bytes || n != y->depth - b->skip ||
	    memcmp(x->pcs + a->skip, y->pcs + b->skip, n * sizeof(*x->pcs)) != 0)
		return false;
	for (uint32_t i = 0; i < n; i++) {
		uintptr_t pc = x->pcs[a->skip + i];

		if (symbols_gone_at(w->symbols, pc, x->generation) !=
		    symbols_gone_at(w->symbols, pc, y->generation))
			return false;
	}
	return true;
}

/* Adds the sample to the one before it that looks the same, or puts it into the index. */
static void fold(struct pprof_writer *w, size_t i)
{
	struct sample *samples = w->snapshot->samples, *s = &samples[i];
	size_t at = hash_of(s) & w->index_mask;

	for (; w->index[at]; at = (at + 1) & w->index_mask) {
		struct sample *first = &samples[w->index[at] - 1];

		if (!looks_same(w, first, s))
			continue;
		for (int v = 0; v < SERIES_VALUES; v++) {
			first->value[v] += s->value[v];
			s->value[v] = 0;
		}
		return;
	}
	w->index[at] = (uint32_t)i + 1;
}

int pprof_step_fold(struct pprof_writer *w)
{
	size_t n = w->snapshot->n, slots = 16, end = w->at + PPROF_PER_CLOCK;

	if (n > 1 && symbols_any_gone(w->symbols)) {
		if (!w->index) {
			while (slots < n * 2)
				slots *= 2;
			w->index = mem_zalloc(slots * sizeof(*w->index));
			if (!w->index)
				return -ENOMEM;
			w->index_mask = slots - 1;
		}
		for (; w->at < n && w->at < end; w->at++)
			fold(w, w->at);
		if (w->at < n)
			return 0;
	}
	mem_free(w->index);
	w->index = NULL;
	w->phase = PHASE_SAMPLES;
	w->at = 0;
	return 0;
}
