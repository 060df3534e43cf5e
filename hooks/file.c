/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Reading and writing through descriptors, opening, syncing and locking files; waiting for children and
 * for System V's queues and semaphores. What stdio does inside libc does not come here.
 *
 * Variants that a fortified or large-file build calls have rows of their own: each forwards to the
 * function of its own name, so that a check in it stays what it is.
 *
 * Context: hook.
 */
#include <stdarg.h>

#include "hooks/traced.h"

/* clang-format off */
#define IO(name, parameters, ...) \
	TRACED_HOOK(ssize_t, name, parameters, TRACE_IO, fd, __VA_ARGS__)
#define CALL(type, name, parameters, ...) \
	TRACED_HOOK(type, name, parameters, TRACE_CALL, TRACED_NO_FD, __VA_ARGS__)

IO(read, (int fd, void *to, size_t size), fd, to, size)
IO(write, (int fd, const void *from, size_t size), fd, from, size)
IO(pread, (int fd, void *to, size_t size, off_t at), fd, to, size, at)
IO(pread64, (int fd, void *to, size_t size, off64_t at), fd, to, size, at)
IO(pwrite, (int fd, const void *from, size_t size, off_t at), fd, from, size, at)
IO(pwrite64, (int fd, const void *from, size_t size, off64_t at), fd, from, size, at)
IO(readv, (int fd, const struct iovec *parts, int n), fd, parts, n)
IO(writev, (int fd, const struct iovec *parts, int n), fd, parts, n)
IO(preadv, (int fd, const struct iovec *parts, int n, off_t at), fd, parts, n, at)
IO(preadv64, (int fd, const struct iovec *parts, int n, off64_t at), fd, parts, n, at)
IO(pwritev, (int fd, const struct iovec *parts, int n, off_t at), fd, parts, n, at)
IO(pwritev64, (int fd, const struct iovec *parts, int n, off64_t at), fd, parts, n, at)
IO(preadv2, (int fd, const struct iovec *parts, int n, off_t at, int flags), fd, parts, n, at, flags)
IO(preadv64v2, (int fd, const struct iovec *parts, int n, off64_t at, int flags), fd, parts, n, at, flags)
IO(pwritev2, (int fd, const struct iovec *parts, int n, off_t at, int flags), fd, parts, n, at, flags)
IO(pwritev64v2, (int fd, const struct iovec *parts, int n, off64_t at, int flags), fd, parts, n, at, flags)
IO(__read_chk, (int fd, void *to, size_t size, size_t room), fd, to, size, room)
IO(__pread_chk, (int fd, void *to, size_t size, off_t at, size_t room), fd, to, size, at, room)
IO(__pread64_chk, (int fd, void *to, size_t size, off64_t at, size_t room), fd, to, size, at, room)
IO(sendfile, (int fd, int from, off_t *at, size_t size), fd, from, at, size)
IO(sendfile64, (int fd, int from, off64_t *at, size_t size), fd, from, at, size)
IO(splice, (int fd, off64_t *at, int to, off64_t *to_at, size_t size, unsigned flags),
   fd, at, to, to_at, size, flags)
CALL(ssize_t, copy_file_range, (int fd, off64_t *at, int to, off64_t *to_at, size_t size, unsigned flags),
     fd, at, to, to_at, size, flags)

CALL(int, fsync, (int fd), fd)
CALL(int, fdatasync, (int fd), fd)
CALL(int, syncfs, (int fd), fd)
CALL(int, sync_file_range, (int fd, off64_t at, off64_t size, unsigned flags), fd, at, size, flags)
CALL(int, msync, (void *at, size_t size, int flags), at, size, flags)
CALL(int, flock, (int fd, int how), fd, how)
CALL(int, lockf, (int fd, int how, off_t size), fd, how, size)
CALL(int, lockf64, (int fd, int how, off64_t size), fd, how, size)

CALL(pid_t, wait, (int *status), status)
CALL(pid_t, waitpid, (pid_t pid, int *status, int options), pid, status, options)
CALL(pid_t, wait3, (int *status, int options, struct rusage *usage), status, options, usage)
CALL(pid_t, wait4, (pid_t pid, int *status, int options, struct rusage *usage), pid, status, options, usage)
CALL(int, waitid, (idtype_t what, id_t id, siginfo_t *info, int options), what, id, info, options)

CALL(ssize_t, msgrcv, (int id, void *to, size_t size, long type, int flags), id, to, size, type, flags)
CALL(int, msgsnd, (int id, const void *from, size_t size, int flags), id, from, size, flags)
CALL(int, semop, (int id, struct sembuf *ops, size_t n), id, ops, n)
CALL(int, semtimedop, (int id, struct sembuf *ops, size_t n, const struct timespec *time), id, ops, n, time)

#define OPEN(name, parameters, function, ...) \
	TRACED(static inline, int, name, parameters, TRACE_CALL, TRACED_NO_FD, function, __VA_ARGS__)
CALL(int, creat, (const char *path, mode_t mode), path, mode)
CALL(int, creat64, (const char *path, mode_t mode), path, mode)
CALL(int, __open_2, (const char *path, int flags), path, flags)
CALL(int, __open64_2, (const char *path, int flags), path, flags)
CALL(int, __openat_2, (int dir, const char *path, int flags), dir, path, flags)
CALL(int, __openat64_2, (int dir, const char *path, int flags), dir, path, flags)
OPEN(open_mode, (const char *path, int flags, mode_t mode), open, path, flags, mode)
OPEN(open64_mode, (const char *path, int flags, mode_t mode), open64, path, flags, mode)
OPEN(openat_mode, (int dir, const char *path, int flags, mode_t mode), openat, dir, path, flags, mode)
OPEN(openat64_mode, (int dir, const char *path, int flags, mode_t mode), openat64, dir, path, flags, mode)
TRACED(static inline, int, fcntl_wait, (int fd, int what, void *arg), TRACE_CALL, TRACED_NO_FD, fcntl,
       fd, what, arg)
TRACED(static inline, int, fcntl64_wait, (int fd, int what, void *arg), TRACE_CALL, TRACED_NO_FD, fcntl64,
       fd, what, arg)
/* clang-format on */

/* The mode is passed only with flags that make a file. */
#define OPEN_MODE(flags, mode)                                                    \
	do {                                                                      \
		if (((flags)&O_CREAT) || ((flags)&O_TMPFILE) == O_TMPFILE) {      \
			va_list list_;                                            \
                                                                                  \
			va_start(list_, flags);                                   \
			(mode) = va_arg(list_, mode_t);                           \
			va_end(list_);                                            \
		}                                                                 \
	} while (0)

EXPORT int open(const char *path, int flags, ...)
{
	mode_t mode = 0;

	OPEN_MODE(flags, mode);
	return open_mode(path, flags, mode);
}

EXPORT int open64(const char *path, int flags, ...)
{
	mode_t mode = 0;

	OPEN_MODE(flags, mode);
	return open64_mode(path, flags, mode);
}

EXPORT int openat(int dir, const char *path, int flags, ...)
{
	mode_t mode = 0;

	OPEN_MODE(flags, mode);
	return openat_mode(dir, path, flags, mode);
}

EXPORT int openat64(int dir, const char *path, int flags, ...)
{
	mode_t mode = 0;

	OPEN_MODE(flags, mode);
	return openat64_mode(dir, path, flags, mode);
}

static inline bool is_lock_wait(int what)
{
	return what == F_SETLKW || what == F_OFD_SETLKW;
}

/* libc, too, takes the third argument for a pointer, whether there is one or not. */
EXPORT int fcntl(int fd, int what, ...)
{
	va_list list;
	void *arg;

	va_start(list, what);
	arg = va_arg(list, void *);
	va_end(list);
	return is_lock_wait(what) ? fcntl_wait(fd, what, arg) : real.fcntl(fd, what, arg);
}

EXPORT int fcntl64(int fd, int what, ...)
{
	va_list list;
	void *arg;

	va_start(list, what);
	arg = va_arg(list, void *);
	va_end(list);
	return is_lock_wait(what) ? fcntl64_wait(fd, what, arg) : real.fcntl64(fd, what, arg);
}

EXPORT void sync(void)
{
	struct contention_wait wait;
	bool recorded = tracebuf_on() &&
			contention_trace_before(&wait, TRACE_CALL, (const void *)real.sync);

	real.sync();
	if (recorded)
		contention_trace_after(&wait, TRACED_NO_FD);
}
