/* SPDX-License-Identifier: Apache-2.0 */
/* LDLIBS: -ldl */
/*
 * A thread ends with malloc's lock in its hands: it leaves by the kernel's exit in the middle of
 * mallinfo2, which walks over a hundred thousand free chunks under the lock and hardly ever lets it go.
 * Another one, which says "wait <tid>", then waits for the lock for ever.
 */
#include <malloc.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

static _Atomic int walking, go;
static pthread_t holder;

static void leave(int sig)
{
	syscall(SYS_exit, 0);
}

static void *hold(void *arg)
{
	walking = 1;
	for (;;)
		mallinfo2();
	return NULL;
}

__attribute__((noinline, noclone)) static void *wait_for_malloc(void *arg)
{
	char line[32];
	int n;

	while (!go)
		usleep(1000);
	n = snprintf(line, sizeof(line), "wait %d\n", (int)gettid());

	if (write(1, line, (size_t)n) != n)
		abort();
	for (;;)
		mallinfo2();
	return NULL;
}

int main(void)
{
	static void *blocks[1 << 16];
	pthread_t thread;
	char c;

	signal(SIGUSR1, leave);
	/* many free chunks in the main arena: mallinfo2 counts them with the lock held */
	for (size_t i = 0; i < sizeof(blocks) / sizeof(blocks[0]); i++)
		blocks[i] = malloc(2000 + i % 64 * 16);
	for (size_t i = 0; i < sizeof(blocks) / sizeof(blocks[0]); i += 2)
		free(blocks[i]);
	/* before: pthread_create allocates */
	pthread_create(&thread, NULL, wait_for_malloc, NULL);
	pthread_create(&thread, NULL, hold, NULL);
	holder = thread;
	while (!walking)
		usleep(100);
	usleep(5000);
	pthread_kill(holder, SIGUSR1);
	usleep(20000);
	go = 1;
	while (read(0, &c, 1) > 0)
		;
	_exit(0);
}
