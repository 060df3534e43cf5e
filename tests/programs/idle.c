/* SPDX-License-Identifier: Apache-2.0 */
/* Does nothing at all until a line comes on stdin; prints "ready" first. */
#include <stdio.h>
#include <unistd.h>

int main(void)
{
	char c;

	alarm(600); /* never outlive a test that went wrong */
	puts("ready");
	fflush(stdout);
	while (read(0, &c, 1) == 1 && c != '\n')
		;
	return 0;
}
