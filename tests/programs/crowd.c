/* SPDX-License-Identifier: Apache-2.0 */
/* crowd N: N threads that all live at the same time and end; then "ready", and main waits for a line and returns 7. */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static pthread_barrier_t all;

static void *waits(void *arg)
{
	pthread_barrier_wait(&all);
	return arg;
}

int main(int argc, char **argv)
{
	int n = argc > 1 ? atoi(argv[1]) : 1;
	pthread_t *threads = calloc((size_t)n, sizeof(*threads));
	pthread_attr_t attr;
	char c;

	alarm(120); /* never outlive a test that went wrong */
	pthread_attr_init(&attr);
	pthread_attr_setstacksize(&attr, 64 << 10);
	pthread_barrier_init(&all, NULL, (unsigned)n + 1);
	for (int i = 0; i < n; i++)
		if (pthread_create(&threads[i], &attr, waits, NULL) != 0)
			return 77;
	pthread_barrier_wait(&all);
	for (int i = 0; i < n; i++)
		pthread_join(threads[i], NULL);
	puts("ready");
	fflush(stdout);
	while (read(0, &c, 1) == 1 && c != '\n')
		;
	return 7;
}
