/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Which unloaded module an address belonged to when it was recorded. Tombstones (collect/modules.h)
 * say until which generation a module was mapped; those of one file at one place are one.
 *
 * Context: agent.
 */
#ifndef ENCODE_GONE_H
#define ENCODE_GONE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct module_gone;

struct gone_place {
	const struct module_gone *module; /* one of those that it stands for */
	uint32_t first, last;		  /* lowest and highest of their generations */
};

struct gone_row;

struct gone {
	struct gone_place *places;
	size_t n_places;
	struct gone_row *rows; /* one per tombstone, by (start, end, generation) */
	size_t n;
	uint64_t low, high;	  /* all tombstones lie in between */
	uint32_t last_generation; /* of all */
};

/* false when out of memory; gone_free is due in either case. */
bool gone_read(struct gone *gone, const struct module_gone *list);

/* Number of the place (index + 1), 0: the address is of code that is mapped now. */
uint32_t gone_find(const struct gone *gone, uint64_t address, uint32_t generation);

void gone_free(struct gone *gone);

#endif
