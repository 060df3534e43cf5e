/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/base/random.h"

#include <stdatomic.h>

#include "agent/base/attr.h"
#include "agent/base/sys.h"
#include "agent/base/tls.h"

static struct {
	uint64_t seed;		  /* 0: seeds come from the clock */
	_Atomic uint64_t threads; /* seeds given out, so that fixed seeds still differ by thread */
} self;

/* SplitMix64: turns close seeds into far ones (Steele, Lea, Flood 2014). */
static uint64_t mix(uint64_t x)
{
	x += 0x9e3779b97f4a7c15u;
	x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
	x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
	return x ^ (x >> 31);
}

void random_set_seed(uint64_t seed)
{
	self.seed = seed;
}

static COLD void seed_thread(void)
{
	uint64_t n = atomic_fetch_add_explicit(&self.threads, 1, memory_order_relaxed);
	uint64_t base = self.seed;

	if (!base)
		base = sys_clock_ns(CLOCK_MONOTONIC) ^ ((uint64_t)sys_gettid() << 40) ^
		       (uintptr_t)&tls;
	/* mixed twice: thread 1 of seed 1 is not thread 0 of seed 2 */
	tls.random = mix(mix(base) + n) | 1;
}

uint64_t random_next(void)
{
	uint64_t x;

	if (UNLIKELY(!tls.random))
		seed_thread();
	x = tls.random;
	x ^= x >> 12;
	x ^= x << 25;
	x ^= x >> 27;
	tls.random = x;
	return x * 0x2545f4914f6cdd1du;
}

uint64_t random_below(uint64_t below)
{
	return (uint64_t)(((unsigned __int128)random_next() * below) >> 64);
}

/*
 * -ln(u) without libm: u = m * 2^e with m in [1, 2); ln m by the series of
 * 2*artanh((m-1)/(m+1)), whose first dropped term is below 2e-9 for m < 2.
 */
static double minus_log(double u)
{
	union {
		double d;
		uint64_t bits;
	} v = { .d = u };
	int e = (int)(v.bits >> 52) - 1023;
	double t, t2, sum;

	v.bits = (v.bits & 0xfffffffffffffu) | 0x3ff0000000000000u;
	t = (v.d - 1) / (v.d + 1);
	t2 = t * t;
	sum = 1.0 / 15;
	for (int k = 13; k >= 1; k -= 2)
		sum = sum * t2 + 1.0 / k;
	return -(e * 0.69314718055994530942 + 2 * t * sum);
}

uint64_t random_exponential(uint64_t mean)
{
	/* 53 random bits, plus a half: u is never 0 and never 1 */
	double u = ((double)(random_next() >> 11) + 0.5) * 0x1p-53;
	double gap = minus_log(u) * (double)mean;

	return gap >= 0x1p62 ? (uint64_t)1 << 62 : (uint64_t)gap + 1;
}

void random_child(void)
{
	tls.random = 0;
}
