/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Sleeps and waits for descriptors: only execution traces show them. While none runs each is one branch
 * and the real call.
 *
 * Context: hook.
 */
#include "hooks/timed.h"

EXPORT int nanosleep(const struct timespec *time, struct timespec *left)
{
	int result;

	TRACED(result, TRACE_SLEEP, nanosleep, time, left);
	return result;
}

EXPORT int clock_nanosleep(clockid_t clock, int flags, const struct timespec *time, struct timespec *left)
{
	int result;

	TRACED(result, TRACE_SLEEP, clock_nanosleep, clock, flags, time, left);
	return result;
}

EXPORT int usleep(useconds_t us)
{
	int result;

	TRACED(result, TRACE_SLEEP, usleep, us);
	return result;
}

EXPORT unsigned sleep(unsigned seconds)
{
	unsigned result;

	TRACED(result, TRACE_SLEEP, sleep, seconds);
	return result;
}

EXPORT int poll(struct pollfd *fds, nfds_t n, int timeout)
{
	int result;

	TRACED(result, TRACE_NET, poll, fds, n, timeout);
	return result;
}

EXPORT int ppoll(struct pollfd *fds, nfds_t n, const struct timespec *timeout, const sigset_t *mask)
{
	int result;

	TRACED(result, TRACE_NET, ppoll, fds, n, timeout, mask);
	return result;
}

EXPORT int select(int n, fd_set *restrict reads, fd_set *restrict writes, fd_set *restrict others,
		  struct timeval *restrict timeout)
{
	int result;

	TRACED(result, TRACE_NET, select, n, reads, writes, others, timeout);
	return result;
}

EXPORT int pselect(int n, fd_set *restrict reads, fd_set *restrict writes, fd_set *restrict others,
		   const struct timespec *restrict timeout, const sigset_t *restrict mask)
{
	int result;

	TRACED(result, TRACE_NET, pselect, n, reads, writes, others, timeout, mask);
	return result;
}

EXPORT int epoll_wait(int fd, struct epoll_event *events, int n, int timeout)
{
	int result;

	TRACED(result, TRACE_NET, epoll_wait, fd, events, n, timeout);
	return result;
}

EXPORT int epoll_pwait(int fd, struct epoll_event *events, int n, int timeout, const sigset_t *mask)
{
	int result;

	TRACED(result, TRACE_NET, epoll_pwait, fd, events, n, timeout, mask);
	return result;
}
