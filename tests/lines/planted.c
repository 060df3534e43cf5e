/* SPDX-License-Identifier: Apache-2.0 */
/* Burns CPU in a chain of inlined functions whose lines carry marks. Until its alarm. */
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define ALWAYS static inline __attribute__((always_inline))

struct state {
	volatile unsigned sum;
	unsigned seed;
};

ALWAYS unsigned inner(unsigned x, unsigned n)
{
	for (unsigned i = 0; i < n; i++)
		x = (x ^ (x >> 7)) * 1664525u + i; /* HOT */
	return x;
}

ALWAYS unsigned middle(unsigned x, unsigned n)
{
	if (x == 12345)
		x++;
	return inner(x ^ 1, n); /* CALLS inner */
}

__attribute__((noinline)) unsigned outer(struct state *s, unsigned n)
{
	unsigned x = middle(s->seed, n); /* CALLS middle */

	if (x == 0 && getenv("NEVER_SET_THIS")) {
		fprintf(stderr, "unlikely %u\n", x);
		abort();
	}
	return x;
}

static int compare(const void *a, const void *b)
{
	return *(const int *)a - *(const int *)b;
}

int main(void)
{
	struct state s = { 0, 1 };
	int list[64];

	alarm(120);
	for (;;) {
		for (int i = 0; i < 64; i++)
			list[i] = (int)(s.seed * (unsigned)i % 61);
		qsort(list, 64, sizeof(*list), compare);
		s.seed += (unsigned)list[3];
		s.sum += outer(&s, 4000000);
	}
}
