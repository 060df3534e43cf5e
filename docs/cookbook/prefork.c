/* SPDX-License-Identifier: Apache-2.0 */
/* A server that forks its workers; the second has got a bad share. For docs/cookbook.md; ends after two minutes. */
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

static volatile unsigned long sum;

__attribute__((noinline)) static void check_signature(void)
{
	for (unsigned i = 0; i < 3000000; i++)
		sum += i;
}

__attribute__((noinline)) static void work(int number)
{
	char *volatile buffer;

	alarm(120);
	for (;;) {
		buffer = malloc(1000);
		free(buffer);
		if (number == 2)
			check_signature();
		else
			usleep(10000);
	}
}

int main(void)
{
	alarm(120);
	for (int n = 1; n <= 3; n++) {
		if (fork() == 0) {
			prctl(PR_SET_NAME, (char[]){'w', 'o', 'r', 'k', 'e', 'r', '-', (char)('0' + n), 0});
			prctl(PR_SET_PDEATHSIG, 15);
			work(n);
		}
	}
	while (wait(NULL) > 0)
		;
}
