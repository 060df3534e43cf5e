/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Calls that wait for the other side of a socket.
 *
 * Context: hook.
 */
#include "hooks/traced.h"

/* clang-format off */
#define NET(type, name, parameters, ...) \
	TRACED_HOOK(type, name, parameters, TRACE_NET, TRACED_NO_FD, __VA_ARGS__)

NET(int, accept, (int fd, __SOCKADDR_ARG from, socklen_t *restrict size), fd, from, size)
NET(int, accept4, (int fd, __SOCKADDR_ARG from, socklen_t *restrict size, int flags), fd, from, size, flags)
NET(int, connect, (int fd, __CONST_SOCKADDR_ARG to, socklen_t size), fd, to, size)
NET(ssize_t, recv, (int fd, void *to, size_t size, int flags), fd, to, size, flags)
NET(ssize_t, recvfrom,
    (int fd, void *restrict to, size_t size, int flags, __SOCKADDR_ARG from, socklen_t *restrict from_size),
    fd, to, size, flags, from, from_size)
NET(ssize_t, recvmsg, (int fd, struct msghdr *message, int flags), fd, message, flags)
NET(int, recvmmsg, (int fd, struct mmsghdr *list, unsigned n, int flags, struct timespec *time),
    fd, list, n, flags, time)
NET(ssize_t, __recv_chk, (int fd, void *to, size_t size, size_t room, int flags), fd, to, size, room, flags)
NET(ssize_t, __recvfrom_chk,
    (int fd, void *restrict to, size_t size, size_t room, int flags, __SOCKADDR_ARG from,
     socklen_t *restrict from_size),
    fd, to, size, room, flags, from, from_size)
NET(ssize_t, send, (int fd, const void *from, size_t size, int flags), fd, from, size, flags)
NET(ssize_t, sendto,
    (int fd, const void *from, size_t size, int flags, __CONST_SOCKADDR_ARG to, socklen_t to_size),
    fd, from, size, flags, to, to_size)
NET(ssize_t, sendmsg, (int fd, const struct msghdr *message, int flags), fd, message, flags)
NET(int, sendmmsg, (int fd, struct mmsghdr *list, unsigned n, int flags), fd, list, n, flags)
/* clang-format on */
