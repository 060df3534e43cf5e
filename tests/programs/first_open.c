/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Which descriptor numbers the program gets: opens /dev/null three times, and lists what else is open
 * when main begins. Writes to the file given, not to stdout, which may be closed.
 */
#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

int main(int argc, char **argv)
{
	int fds[3], open_before = 0;
	char text[200];
	int out, n;

	if (argc < 2)
		return 2;
	for (int fd = 0; fd < 1024; fd++)
		open_before += fcntl(fd, F_GETFD) >= 0;
	for (int i = 0; i < 3; i++)
		fds[i] = open("/dev/null", O_RDONLY);
	out = open(argv[1], O_WRONLY | O_CREAT | O_TRUNC, 0644);
	n = snprintf(text, sizeof(text), "%d %d %d, %d open before\n", fds[0], fds[1], fds[2], open_before);
	return out < 0 || write(out, text, (size_t)n) != n;
}
