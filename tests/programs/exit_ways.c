/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Ends in the way that is asked for, with unflushed stdio output and an atexit handler that writes to
 * descriptor 1: both must come out exactly as without the agent.
 */
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static void at_exit(void)
{
	static const char text[] = "atexit\n";

	if (write(1, text, sizeof(text) - 1) < 0)
		_exit(99);
}

static void *later(void *arg)
{
	/* long enough for main to be gone when this thread ends */
	usleep(100000);
	printf("unflushed thread");
	return arg;
}

static void *at_once(void *arg)
{
	printf("unflushed thread");
	return arg;
}

static void *calls_exit(void *arg)
{
	printf("unflushed thread");
	exit(5);
	return arg;
}

static void *waits(void *arg)
{
	pause();
	return arg;
}

int main(int argc, char **argv)
{
	const char *way = argc > 1 ? argv[1] : "return";
	pthread_t t, u;

	atexit(at_exit);
	/* Ends of output that reach a pipe must not depend on its being a terminal. */
	setvbuf(stdout, NULL, _IOFBF, 4096);
	printf("unflushed main\n");
	if (!strcmp(way, "return"))
		return 3;
	if (!strcmp(way, "exit"))
		exit(4);
	if (!strcmp(way, "_exit"))
		_exit(6);
	if (!strcmp(way, "quick_exit"))
		quick_exit(7);
	if (!strcmp(way, "abort"))
		abort();
	if (!strcmp(way, "kill"))
		raise(SIGKILL);
	if (!strcmp(way, "segv"))
		raise(SIGSEGV);
	if (!strcmp(way, "main_first")) { /* the last thread is not main */
		pthread_create(&t, NULL, later, NULL);
		pthread_exit(NULL);
	}
	if (!strcmp(way, "main_first_two")) {
		pthread_create(&t, NULL, later, NULL);
		pthread_create(&u, NULL, at_once, NULL);
		pthread_exit(NULL);
	}
	if (!strcmp(way, "main_last")) {
		pthread_create(&t, NULL, at_once, NULL);
		pthread_join(t, NULL);
		pthread_exit(NULL);
	}
	if (!strcmp(way, "main_alone"))
		pthread_exit(NULL);
	if (!strcmp(way, "thread_exits")) {
		pthread_create(&t, NULL, calls_exit, NULL);
		pause();
	}
	if (!strcmp(way, "return_beside_thread")) {
		pthread_create(&t, NULL, waits, NULL);
		return 8;
	}
	if (!strcmp(way, "exec")) {
		fflush(stdout);
		execl("/bin/echo", "echo", "replaced", NULL);
	}
	return 2;
}
