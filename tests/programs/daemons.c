/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Becomes a daemon and burns CPU in daemon_hot().
 *
 *   daemons setsid|double|daemon|plain [talk]
 *
 * setsid: fork, setsid. double: fork, setsid, fork. daemon: daemon(3). plain: no fork, for comparison.
 * Without `talk` the daemon makes no libc call at all after its last fork (or setsid): its agent
 * must start without one. It ends by SIGTERM, or by itself after about a minute of CPU time.
 */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

static volatile uint64_t sink;

__attribute__((noinline)) static void daemon_hot(int talk)
{
	uint64_t x = 1;

	for (uint64_t round = 0; round < 60000; round++) {
		for (int i = 0; i < 1000000; i++)
			x = x * 6364136223846793005u + 1;
		sink = x;
		if (talk)
			free(malloc(100 + round % 100));
	}
}

int main(int argc, char **argv)
{
	const char *way = argc > 1 ? argv[1] : "plain";
	int talk = argc > 2 && !strcmp(argv[2], "talk");
	int status;
	pid_t child;

	if (!strcmp(way, "daemon")) {
		if (daemon(1, 1) != 0)
			return 1;
	} else if (strcmp(way, "plain") != 0) {
		child = fork();
		if (child > 0)
			return !strcmp(way, "double") ? (waitpid(child, &status, 0), 0) : 0;
		setsid();
		if (!strcmp(way, "double")) {
			child = fork();
			if (child > 0)
				_exit(0);
		}
	}
	daemon_hot(talk);
	return 0;
}
