/* SPDX-License-Identifier: Apache-2.0 */
/*
 * CFLAGS: -fno-builtin
 * What a preload that fakes the time does, at its worst: every clock of libc jumps by years at each look.
 */
#include <stdatomic.h>
#include <sys/time.h>
#include <time.h>

static time_t anywhere(void)
{
	static _Atomic unsigned n;

	return (time_t)(atomic_fetch_add(&n, 1) * 2654435761u);
}

int clock_gettime(clockid_t clock, struct timespec *out)
{
	*out = (struct timespec){ anywhere(), 5 };
	return 0;
}

int gettimeofday(struct timeval *restrict out, void *restrict zone)
{
	*out = (struct timeval){ anywhere(), 5 };
	return 0;
}

time_t time(time_t *out)
{
	time_t now = anywhere();

	if (out)
		*out = now;
	return now;
}

int timespec_get(struct timespec *out, int base)
{
	*out = (struct timespec){ anywhere(), 5 };
	return base;
}

clock_t clock(void)
{
	return anywhere();
}
