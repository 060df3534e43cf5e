/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What one sampled block stands for. A block of s bytes is sampled with probability 1 - exp(-s/R),
 * R being the mean distance between samples in bytes, independently of all others; so each sampled
 * one counts as w = 1/(1 - exp(-s/R)) blocks and w*s bytes, and sums of w are unbiased (Horvitz and
 * Thompson, 1952).
 *
 * Sums are kept in integers, so that what a free subtracts is exactly what its allocation added.
 * Their unit depends on the size class: at least 16 bits below the weights that the class has, which
 * keeps the error of rounding a weight under 2^-17 of it and leaves room for 2^44 samples a bucket,
 * where a fixed 2^-16 would overflow after 140 TB.
 *
 * These functions compute with doubles: inside arch_fp_enter() (a hook must neither see nor leave
 * traces in the target's floating-point state), where they are deterministic.
 *
 * Context: hook, agent.
 */
#ifndef COLLECT_WEIGHT_H
#define COLLECT_WEIGHT_H

#include <stdint.h>

/* 1/(1 - exp(-size/rate)), 1 when rate <= 1. Relative error below 1e-9. size > 0 unless rate <= 1. */
double weight_factor(uint64_t size, uint64_t rate);

/* What a sampled block adds to the sums of its class. */
struct weight {
	int64_t count; /* blocks, in units of 2^-weight_count_bits */
	int64_t bytes; /* bytes, in units of 2^-weight_bytes_bits */
	int64_t plain; /* bytes, rounded: the unit of sums over all classes */
};

/* base_rate fixes the units and never changes; rate is that at which the block was sampled. */
struct weight weight_of(uint64_t size, uint64_t rate, uint64_t base_rate);

/* Fractional bits of a class's sums. */
unsigned weight_count_bits(uint32_t sizeclass, uint64_t base_rate);
unsigned weight_bytes_bits(uint32_t sizeclass, uint64_t base_rate);

/* value / 2^bits, rounded to nearest; never falls when value rises. */
static inline int64_t weight_round(int64_t value, unsigned bits)
{
	return bits ? (value + ((int64_t)1 << (bits - 1))) >> bits : value;
}

#endif
