/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Closes every descriptor that it can think of, the agent's included if it could be reached, and
 * then uses the numbers again: an echo server on a unix socket and a file that is written and read
 * back all the time, from two threads. Any byte that is not its own ends it with a status that says
 * where.
 *
 *   closes_all SOCKET FILE   serves until a client sends "end"
 */
#include <fcntl.h>
#include <pthread.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

enum { BLOCK = 4096 };

static int file_fd;
static volatile uint64_t sink;

__attribute__((noinline)) static void reuse_hot(uint64_t x)
{
	for (int i = 0; i < 100000; i++)
		x = x * 6364136223846793005u + 1;
	sink = x;
}

/* Writes a block, reads it back; nobody else may have written or moved the position. */
static void *file_loop(void *arg)
{
	unsigned char out[BLOCK], in[BLOCK];

	for (unsigned round = 0;; round++) {
		for (int i = 0; i < BLOCK; i++)
			out[i] = (unsigned char)(round * 7 + (unsigned)i);
		if (lseek(file_fd, 0, SEEK_SET) != 0 || write(file_fd, out, BLOCK) != BLOCK)
			_exit(10);
		if (lseek(file_fd, 0, SEEK_CUR) != BLOCK || lseek(file_fd, 0, SEEK_END) != BLOCK)
			_exit(11);
		if (pread(file_fd, in, BLOCK, 0) != BLOCK || memcmp(in, out, BLOCK) != 0)
			_exit(12);
		reuse_hot(round);
	}
	return arg;
}

static void serve(int client)
{
	char buf[256];
	ssize_t n;

	while ((n = read(client, buf, sizeof(buf))) > 0) {
		if (n == 3 && !memcmp(buf, "end", 3))
			_exit(0);
		if (write(client, buf, (size_t)n) != n)
			break;
		reuse_hot((uint64_t)n);
	}
	close(client);
}

int main(int argc, char **argv)
{
	struct sockaddr_un at = { .sun_family = AF_UNIX };
	int fillers[20], server;
	pthread_t thread;

	alarm(240); /* never outlive a test that went wrong */
	if (argc < 3)
		return 2;
	for (int fd = 0; fd < 65536; fd++)
		close(fd);
	/* 0 is the server, 1 the file; the rest of the low numbers are copies of the file, so that
	 * whoever writes to a descriptor that it does not own is found out. */
	server = socket(AF_UNIX, SOCK_STREAM, 0);
	file_fd = open(argv[2], O_RDWR | O_CREAT | O_TRUNC, 0600);
	if (server != 0 || file_fd != 1)
		_exit(13);
	for (int i = 0; i < 20; i++)
		if ((fillers[i] = dup(file_fd)) != i + 2)
			_exit(14);
	strncpy(at.sun_path, argv[1], sizeof(at.sun_path) - 1);
	if (bind(server, (struct sockaddr *)&at, sizeof(at)) != 0 || listen(server, 50) != 0)
		_exit(15);
	if (pthread_create(&thread, NULL, file_loop, NULL) != 0)
		_exit(16);
	for (;;) {
		int client = accept(server, NULL, NULL);

		if (client < 0)
			_exit(17);
		serve(client);
	}
}
