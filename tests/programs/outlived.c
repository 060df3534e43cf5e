/* SPDX-License-Identifier: Apache-2.0 */
/* LDLIBS: -lrt */
/*
 * main ends by pthread_exit while a thread of libc's own for asynchronous reads lives on for a second; with it the
 * process ends: what is still in stdout's buffer and an exit handler's line must come out then.
 */
#include <aio.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static void at_exit(void)
{
	static const char text[] = "atexit\n";

	if (write(1, text, sizeof(text) - 1) < 0)
		_exit(99);
}

int main(void)
{
	static char buffer[64];
	static struct aiocb block;

	alarm(60);
	atexit(at_exit);
	setvbuf(stdout, NULL, _IOFBF, 4096);
	printf("unflushed");
	block.aio_fildes = open("/dev/zero", O_RDONLY);
	block.aio_buf = buffer;
	block.aio_nbytes = sizeof(buffer);
	if (aio_read(&block) != 0)
		return 77;
	while (aio_error(&block))
		usleep(1000);
	pthread_exit(NULL);
}
