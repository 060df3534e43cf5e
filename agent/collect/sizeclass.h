/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Size classes of the heap profile: 8 steps per power of two, so that all blocks of a class have
 * the same weight within 13 %, and one (stack, class) bucket shows one block size. Sizes below 16
 * have a class each.
 *
 * Context: signal, hook, agent, init, child.
 */
#ifndef COLLECT_SIZECLASS_H
#define COLLECT_SIZECLASS_H

#include <stdint.h>

enum { SIZECLASS_N = 62 * 8 };

/* Position of the highest set bit; 0 for 0. */
static inline unsigned ilog2_64(uint64_t x)
{
	return x ? 63u - (unsigned)__builtin_clzll(x) : 0;
}

static inline uint32_t sizeclass_of(uint64_t size)
{
	unsigned e;

	if (size < 16)
		return (uint32_t)size;
	e = ilog2_64(size);
	return (e - 2) * 8 + ((uint32_t)(size >> (e - 3)) & 7);
}

/* The smallest size of a class. It is the one that the profile shows: the usual block sizes
 * (powers of two, their sums of neighbours) are classes' smallest sizes themselves. */
static inline uint64_t sizeclass_low(uint32_t sizeclass)
{
	if (sizeclass < 16)
		return sizeclass;
	return (uint64_t)(8 + sizeclass % 8) << (sizeclass / 8 - 1);
}

#endif
