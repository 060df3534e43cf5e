/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Where the code of one answer lies: the rows of symbols_mapping(), and what stands behind each: a
 * piece of the mapping list or the tombstone of an unloaded module, and its file. Only for
 * encode/symbols.c, which names the functions in them. Context: agent.
 */
#ifndef ENCODE_PLACES_H
#define ENCODE_PLACES_H

#include "encode/gone.h"
#include "encode/maps.h"
#include "encode/symbols_from.h"

struct image;

struct place {
	struct mapping mapping;
	const struct map *map;		/* NULL: a tombstone, or a main executable without a piece */
	const struct module_gone *gone; /* NULL: mapped now */
	struct image *image;
	bool looked; /* image is set, be it to NULL */
};

struct places {
	struct maps maps;
	struct place *list; /* the main executable, the others by address, tombstones */
	size_t n, n_live;
	uint32_t *of_map; /* by number of the map: index of its place + 1, 0: none */
	struct gone gone;
	struct pool *texts; /* the caller's: paths and build IDs */
};

/* false when out of memory or the mapping list cannot be read; places_free is due in either case. */
bool places_read(struct places *places, const struct symbols_source *source, struct pool *texts);
void places_free(struct places *places);

/* The index of the place that an address belonged to in this module generation, or -1. */
long places_at(const struct places *places, uint64_t address, uint32_t generation);

/* The image of a place, read on the first look; NULL when there is none or memory ran out. */
struct image *places_image(struct places *places, struct place *place);

#endif
