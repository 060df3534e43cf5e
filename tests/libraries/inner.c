/* SPDX-License-Identifier: Apache-2.0 */
/* What plugin.c looks for, and what programs/soak.c and programs/reloads.c load and unload. */
#include <time.h>

int inner_number(void);
int inner_number(void)
{
	return 7;
}

/* Uses so much CPU time. */
void inner_burn(double seconds);
void inner_burn(double seconds)
{
	struct timespec now;
	double end = 0, at;

	do {
		for (volatile int i = 0; i < 20000; i++)
			;
		clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
		at = (double)now.tv_sec + (double)now.tv_nsec * 1e-9;
		end = end ? end : at + seconds;
	} while (at < end);
}
