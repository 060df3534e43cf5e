/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Threads of OpenMP that wait at a barrier, for which GNU's library asks the kernel itself: no hook sees that. Its two
 * functions are looked for when this starts. One of four never comes. Prints "ready" (or "no OpenMP"), ends with stdin.
 */
#include <dlfcn.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define NOINLINE __attribute__((noinline, noclone))

static void (*barrier)(void);
static _Atomic int came;

static NOINLINE void waits_at_barrier(void)
{
	barrier();
	__asm__ volatile("");
}

static NOINLINE void works(void *arg)
{
	static _Atomic int first = 1;

	if (!atomic_exchange(&first, 0)) {
		came++;
		waits_at_barrier();
		return;
	}
	while (came < 3)
		usleep(1000);
	puts("ready");
	fflush(stdout);
	while (getchar() != EOF)
		;
	_exit(0);
}

int main(void)
{
	void *library, (*parallel)(void (*)(void *), void *, unsigned, unsigned);

	alarm(100);
	setenv("OMP_WAIT_POLICY", "passive", 1); /* no spinning before the wait */
	library = dlopen("libgomp.so.1", RTLD_NOW);
	*(void **)&parallel = library ? dlsym(library, "GOMP_parallel") : NULL;
	*(void **)&barrier = library ? dlsym(library, "GOMP_barrier") : NULL;
	if (!parallel || !barrier) {
		puts("no OpenMP");
		return 0;
	}
	parallel(works, NULL, 4, 0);
	return 0;
}
