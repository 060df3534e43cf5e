/* SPDX-License-Identifier: Apache-2.0 */
/* CFLAGS: -fno-builtin */
/*
 * heap_pause N: N allocations that stay, then N releases. Prints "longest", where the last block lay, and the
 * CPU time of the longest call in each of WINDOWS runs of calls, in ns. Addresses are the same every time, so
 * that what belongs to a call comes again with it, and what came from elsewhere does not.
 */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/personality.h>
#include <time.h>
#include <unistd.h>

enum { WINDOWS = 500 };

static uint64_t cpu_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &ts);
	return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

int main(int argc, char **argv)
{
	static uint64_t longest[WINDOWS];
	size_t n = argc > 1 ? (size_t)atol(argv[1]) : 400000;
	void **blocks, *last = NULL;

	if (!(personality(0xffffffff) & ADDR_NO_RANDOMIZE) && personality(ADDR_NO_RANDOMIZE) != -1)
		execv("/proc/self/exe", argv);
	blocks = calloc(n, sizeof(*blocks));
	if (!blocks)
		return 1;
	for (size_t i = 0; i < 2 * n; i++) {
		uint64_t *most = &longest[i * WINDOWS / (2 * n)], start = cpu_ns(), took;

		if (i < n)
			last = blocks[i] = malloc(32);
		else
			free(blocks[i - n]);
		took = cpu_ns() - start;
		if (took > *most)
			*most = took;
	}
	printf("longest %p", last);
	for (int i = 0; i < WINDOWS; i++)
		printf(" %lu", (unsigned long)longest[i]);
	printf("\n");
	return 0;
}
