/* SPDX-License-Identifier: Apache-2.0 */
/* Growing arrays in base/mem.h memory. Context: agent. */
#ifndef ENCODE_GROW_H
#define ENCODE_GROW_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "agent/base/mem.h"

/* Makes room for `need` elements of `size` bytes in *array, doubling *room. false when out of
 * memory: then the array is as it was. */
static inline bool grow_room(void *array, size_t *room, size_t need, size_t size)
{
	void **at = array;
	size_t fresh = *room ? *room : 16;
	void *moved;

	if (need <= *room)
		return true;
	while (fresh < need)
		fresh *= 2;
	if (fresh > SIZE_MAX / 2 / size)
		return false;
	moved = mem_realloc(*at, fresh * size);
	if (!moved)
		return false;
	*at = moved;
	*room = fresh;
	return true;
}

/* Spreads the bits of a key over a hash value: the finalizer of MurmurHash3 (public domain). */
static inline uint64_t grow_hash(uint64_t key)
{
	key ^= key >> 33;
	key *= 0xff51afd7ed558ccdu;
	key ^= key >> 33;
	key *= 0xc4ceb9fe1a85ec53u;
	return key ^ key >> 33;
}

#endif
