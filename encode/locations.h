/* SPDX-License-Identifier: Apache-2.0 */
/* The distinct addresses and functions of one profile, numbered from 1. Context: agent. */
#ifndef ENCODE_LOCATIONS_H
#define ENCODE_LOCATIONS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct location {
	uint64_t address;
	uint32_t generation; /* of a stack that has it; any will do (see gone) */
	int32_t mapping;     /* index of symbols_mapping(), -1: none; set when it is looked up */
	uint32_t function;   /* for the owner's use */
	uint32_t name, linkage; /* text numbers; 0: none */
	bool unnamed;	     /* the name is a placeholder */
	bool entry;	     /* the address is the first of its function */
};

struct function {
	uint32_t name, linkage, file; /* text numbers */
	uint32_t start;		      /* first line in the file, 0: unknown */
};

struct location_slot;

struct locations {
	struct location *list; /* id - 1 */
	size_t n, room;
	struct location_slot *slots;
	size_t n_slots;

	struct function *functions; /* id - 1 */
	size_t n_functions, functions_room;
	uint32_t functions_put; /* how many the writer has written */
	uint32_t *function_slots;
	size_t n_function_slots;
};

/* false when out of memory; locations_free is due in either case. */
bool locations_init(struct locations *locations);
void locations_free(struct locations *locations);

/* The id of an address. gone: 0 for code that is mapped now, else the number of the tombstone that it
 * belongs to, so that two libraries that lay at one address stay apart. 0 when out of memory. */
uint32_t locations_id(struct locations *locations, uint64_t address, uint32_t gone,
		      uint32_t generation);

/* Starts fetching what locations_id will look at. */
void locations_prefetch(const struct locations *locations, uint64_t address);

/* The id of a function, known by its names and file; new ones get the next number. 0 when out of memory. */
uint32_t locations_function(struct locations *locations, const struct function *function);

#endif
