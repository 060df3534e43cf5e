/* SPDX-License-Identifier: Apache-2.0 */
/* Address ranges that may overlap, and which of them hold an address. */
#ifndef SYMBOLIZER_SPANS_H
#define SYMBOLIZER_SPANS_H

#include <stddef.h>
#include <stdint.h>

struct span {
	uint64_t low, high;
	uint64_t reach; /* highest `high` of this and all before */
	size_t value;
};

struct spans {
	struct span *list;
	size_t n, room;
};

/* Empty ones are left out. */
void spans_add(struct spans *spans, uint64_t low, uint64_t high, size_t value);

/* Due after the last addition. */
void spans_sort(struct spans *spans);

/* The value of the smallest span that holds the address; of equals, the last that was added. -1: none. */
long spans_find(const struct spans *spans, uint64_t address);

void spans_free(struct spans *spans);

#endif
