/* SPDX-License-Identifier: Apache-2.0 */
#include "encode/symbolizer/spans.h"

#include <stdlib.h>

#include "encode/symbolizer/die.h"

void spans_add(struct spans *s, uint64_t low, uint64_t high, size_t value)
{
	if (high <= low)
		return;
	if (s->n == s->room) {
		s->room = s->room ? s->room * 2 : 16;
		s->list = die_realloc(s->list, s->room * sizeof(*s->list));
	}
	s->list[s->n++] = (struct span){ .low = low, .high = high, .value = value };
}

static int compare(const void *left, const void *right)
{
	const struct span *a = left, *b = right;

	if (a->low != b->low)
		return a->low < b->low ? -1 : 1;
	return a->value < b->value ? -1 : a->value > b->value;
}

void spans_sort(struct spans *s)
{
	uint64_t reach = 0;

	if (s->n)
		qsort(s->list, s->n, sizeof(*s->list), compare);
	for (size_t i = 0; i < s->n; i++) {
		if (s->list[i].high > reach)
			reach = s->list[i].high;
		s->list[i].reach = reach;
	}
}

long spans_find(const struct spans *s, uint64_t address)
{
	size_t low = 0, high = s->n;
	const struct span *best = NULL;

	while (low < high) {
		size_t mid = low + (high - low) / 2;

		if (s->list[mid].low <= address)
			low = mid + 1;
		else
			high = mid;
	}
	for (; low > 0 && s->list[low - 1].reach > address; low--) {
		const struct span *span = &s->list[low - 1];

		if (span->high > address && (!best || span->high - span->low < best->high - best->low))
			best = span;
	}
	return best ? (long)best->value : -1;
}

void spans_free(struct spans *s)
{
	free(s->list);
	*s = (struct spans){ 0 };
}
