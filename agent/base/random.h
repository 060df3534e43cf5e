/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Random numbers without state outside the thread: xorshift64* (Vigna, "An experimental
 * exploration of Marsaglia's xorshift generators, scrambled", 2016). For sampling, not secrets.
 */
#ifndef BASE_RANDOM_H
#define BASE_RANDOM_H

#include <stdint.h>

/* Fixes the seeds of all threads that draw their first number later; 0 = from the clock and tid.
 * Context: init. */
void random_set_seed(uint64_t seed);

/* The next 64 bits of this thread. Context: signal, hook, agent, init, child. */
uint64_t random_next(void);

/* Uniform in [0, below). below > 0. Context: signal, hook, agent, init, child. */
uint64_t random_below(uint64_t below);

/* Exponentially distributed with the given mean, rounded up: P(result <= k) = 1 - exp(-k/mean) for
 * every whole k >= 1, hence memoryless over whole numbers.
 * Context: signal, hook, agent, init, child. */
uint64_t random_exponential(uint64_t mean);

/* Makes this thread draw a new seed: a forked child must not repeat its parent. Context: child. */
void random_child(void);

#endif
