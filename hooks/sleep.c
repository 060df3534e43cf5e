/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Sleeps, and waits for descriptors or signals.
 *
 * Context: hook.
 */
#include "hooks/traced.h"

/* clang-format off */
TRACED_HOOK(int, thrd_sleep, (const struct timespec *time, struct timespec *left),
	    TRACE_SLEEP, TRACED_NO_FD, time, left)
TRACED_HOOK(int, nanosleep, (const struct timespec *time, struct timespec *left),
	    TRACE_SLEEP, TRACED_NO_FD, time, left)
TRACED_HOOK(int, clock_nanosleep,
	    (clockid_t clock, int flags, const struct timespec *time, struct timespec *left),
	    TRACE_SLEEP, TRACED_NO_FD, clock, flags, time, left)
TRACED_HOOK(int, usleep, (useconds_t us), TRACE_SLEEP, TRACED_NO_FD, us)
TRACED_HOOK(unsigned, sleep, (unsigned seconds), TRACE_SLEEP, TRACED_NO_FD, seconds)

TRACED_HOOK(int, poll, (struct pollfd *fds, nfds_t n, int timeout),
	    TRACE_NET, TRACED_NO_FD, fds, n, timeout)
TRACED_HOOK(int, __poll_chk, (struct pollfd *fds, nfds_t n, int timeout, size_t room),
	    TRACE_NET, TRACED_NO_FD, fds, n, timeout, room)
TRACED_HOOK(int, ppoll,
	    (struct pollfd *fds, nfds_t n, const struct timespec *timeout, const sigset_t *mask),
	    TRACE_NET, TRACED_NO_FD, fds, n, timeout, mask)
TRACED_HOOK(int, __ppoll_chk,
	    (struct pollfd *fds, nfds_t n, const struct timespec *timeout, const sigset_t *mask, size_t room),
	    TRACE_NET, TRACED_NO_FD, fds, n, timeout, mask, room)
TRACED_HOOK(int, select,
	    (int n, fd_set *restrict reads, fd_set *restrict writes, fd_set *restrict others,
	     struct timeval *restrict timeout),
	    TRACE_NET, TRACED_NO_FD, n, reads, writes, others, timeout)
TRACED_HOOK(int, pselect,
	    (int n, fd_set *restrict reads, fd_set *restrict writes, fd_set *restrict others,
	     const struct timespec *restrict timeout, const sigset_t *restrict mask),
	    TRACE_NET, TRACED_NO_FD, n, reads, writes, others, timeout, mask)
TRACED_HOOK(int, epoll_wait, (int fd, struct epoll_event *events, int n, int timeout),
	    TRACE_NET, TRACED_NO_FD, fd, events, n, timeout)
TRACED_HOOK(int, epoll_pwait,
	    (int fd, struct epoll_event *events, int n, int timeout, const sigset_t *mask),
	    TRACE_NET, TRACED_NO_FD, fd, events, n, timeout, mask)
TRACED_HOOK(int, epoll_pwait2,
	    (int fd, struct epoll_event *events, int n, const struct timespec *timeout, const sigset_t *mask),
	    TRACE_NET, TRACED_NO_FD, fd, events, n, timeout, mask)

TRACED_HOOK(int, pause, (void), TRACE_CALL, TRACED_NO_FD, )
TRACED_HOOK(int, sigsuspend, (const sigset_t *mask), TRACE_CALL, TRACED_NO_FD, mask)
/* clang-format on */
