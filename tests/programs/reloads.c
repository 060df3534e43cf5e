/* SPDX-License-Identifier: Apache-2.0 */
/*
 * reloads LIBRARY...: loads one after the other, burns 2 ms in each, unloads it, for two minutes at most.
 * Prints "ready" first.
 */
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

int main(int argc, char **argv)
{
	alarm(120);
	printf("ready\n");
	fflush(stdout);
	for (int i = 0;; i = (i + 1) % (argc - 1)) {
		void *library = dlopen(argv[1 + i], RTLD_NOW);
		void (*burn)(double) = library ? (void (*)(double))dlsym(library, "inner_burn") : NULL;

		if (!burn)
			return 2;
		burn(0.002);
		dlclose(library);
	}
}
