/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Sets its locale again and again, in a thread beside main, to each of those that its arguments name. Prints
 * how 1.5 and upper-case i look in the last of them, then "ready"; holds blocks, has fought for a lock, and works
 * in locale_hot(). For each line of input it prints both again; ends with its input.
 */
#include <ctype.h>
#include <locale.h>
#include <poll.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static pthread_barrier_t barrier;
static volatile uint64_t sink;
static char **names;
static void *volatile kept[16];

__attribute__((noinline)) static void locale_hot(void)
{
	for (int i = 0; i < 100000; i++)
		sink = sink * 6364136223846793005u + 1;
}

static void *changes(void *arg)
{
	for (int i = 1;; i = names[i + 1] ? i + 1 : 1)
		if (!setlocale(LC_ALL, names[i]))
			_exit(3);
	return arg;
}

static void *works(void *arg)
{
	pthread_barrier_wait(&barrier);
	pthread_mutex_lock(&mutex);
	pthread_mutex_unlock(&mutex);
	for (;;)
		locale_hot();
	return arg;
}

static void tell(locale_t as)
{
	locale_t before = uselocale(as);

	printf("%.1f %c\n", 1.5, toupper('i') == 'I' ? 'I' : '?');
	uselocale(before);
}

int main(int argc, char **argv)
{
	locale_t last = newlocale(LC_ALL_MASK, argv[argc - 1], 0);
	pthread_t t;
	char line[16];

	alarm(240); /* never outlive a test that went wrong */
	names = argv;
	setvbuf(stdout, NULL, _IOLBF, 4096);
	if (argc < 2 || !last)
		return 2;
	tell(last);
	for (int i = 0; i < 16; i++)
		kept[i] = malloc(100000);
	pthread_barrier_init(&barrier, NULL, 2);
	pthread_mutex_lock(&mutex);
	pthread_create(&t, NULL, works, NULL);
	pthread_barrier_wait(&barrier);
	poll(NULL, 0, 100);
	pthread_mutex_unlock(&mutex);
	pthread_create(&t, NULL, changes, NULL);
	puts("ready");
	while (fgets(line, sizeof(line), stdin))
		tell(last);
	return 0;
}
