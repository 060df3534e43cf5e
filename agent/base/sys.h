/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Every kernel call that the agent makes, as itself: the result is a value or -errno, the target's
 * errno is never touched, and no function that the target or another preload may have replaced is
 * passed through (hazard A6).
 *
 * Context of everything here: signal, hook, agent, init, child, unless said otherwise.
 */
#ifndef BASE_SYS_H
#define BASE_SYS_H

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <time.h>

/* The single point through which all calls go. */
long sys_enter(long nr, long a, long b, long c, long d, long e, long f);

#define SYS6(nr, a, b, c, d, e, f) \
	sys_enter(nr, (long)(a), (long)(b), (long)(c), (long)(d), (long)(e), (long)(f))
#define SYS5(nr, a, b, c, d, e) SYS6(nr, a, b, c, d, e, 0)
#define SYS4(nr, a, b, c, d)	SYS6(nr, a, b, c, d, 0, 0)
#define SYS3(nr, a, b, c)	SYS6(nr, a, b, c, 0, 0, 0)
#define SYS2(nr, a, b)		SYS6(nr, a, b, 0, 0, 0, 0)
#define SYS1(nr, a)		SYS6(nr, a, 0, 0, 0, 0, 0)
#define SYS0(nr)		SYS6(nr, 0, 0, 0, 0, 0, 0)

/* Nanoseconds of a clock, 0 if the clock does not exist. Units: ns. */
uint64_t sys_clock_ns(clockid_t clock);

/* Writes all of buf. 0 or -errno. */
int sys_write_all(int fd, const void *buf, size_t size);

/* Reads up to size bytes of a file from its beginning. Number of bytes or -errno. */
long sys_read_file(const char *path, void *buf, size_t size);

/* Anonymous private memory, zeroed; NULL when refused. Never reserved ahead (hazard G6). */
static inline void *sys_map(size_t size)
{
	long r = SYS6(SYS_mmap, 0, size, PROT_READ | PROT_WRITE,
		      MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	return r < 0 && r > -4096 ? NULL : (void *)r;
}
static inline long sys_unmap(void *at, size_t size)
{
	return SYS2(SYS_munmap, at, size);
}
static inline long sys_protect(void *at, size_t size, int prot)
{
	return SYS3(SYS_mprotect, at, size, prot);
}
static inline long sys_advise(void *at, size_t size, int advice)
{
	return SYS3(SYS_madvise, at, size, advice);
}

static inline long sys_open(const char *path, int flags)
{
	return SYS4(SYS_openat, AT_FDCWD, path, flags, 0600);
}
static inline long sys_openat(int dir, const char *path, int flags)
{
	return SYS4(SYS_openat, dir, path, flags, 0600);
}
static inline long sys_close(int fd)
{
	return SYS1(SYS_close, fd);
}
static inline long sys_close_range(unsigned first, unsigned last, unsigned flags)
{
	return SYS3(SYS_close_range, first, last, flags);
}
static inline long sys_read(int fd, void *buf, size_t size)
{
	return SYS3(SYS_read, fd, buf, size);
}
static inline long sys_pread(int fd, void *buf, size_t size, uint64_t at)
{
	return SYS4(SYS_pread64, fd, buf, size, at);
}
static inline long sys_write(int fd, const void *buf, size_t size)
{
	return SYS3(SYS_write, fd, buf, size);
}
static inline long sys_fstat(int fd, struct stat *out)
{
	return SYS2(SYS_fstat, fd, out);
}
static inline long sys_stat(const char *path, struct stat *out)
{
	return SYS4(SYS_newfstatat, AT_FDCWD, path, out, 0);
}
static inline long sys_lstat(const char *path, struct stat *out)
{
	return SYS4(SYS_newfstatat, AT_FDCWD, path, out, AT_SYMLINK_NOFOLLOW);
}
static inline long sys_readlink(const char *path, char *buf, size_t size)
{
	return SYS4(SYS_readlinkat, AT_FDCWD, path, buf, size);
}
static inline long sys_unlink(const char *path)
{
	return SYS3(SYS_unlinkat, AT_FDCWD, path, 0);
}
static inline long sys_rename(const char *from, const char *to)
{
	return SYS4(SYS_renameat, AT_FDCWD, from, AT_FDCWD, to);
}
static inline long sys_getdents(int fd, void *buf, size_t size)
{
	return SYS3(SYS_getdents64, fd, buf, size);
}
static inline long sys_dup3(int from, int to, int flags)
{
	return SYS3(SYS_dup3, from, to, flags);
}
static inline long sys_fcntl(int fd, int cmd, long arg)
{
	return SYS3(SYS_fcntl, fd, cmd, arg);
}
static inline long sys_fchmod(int fd, unsigned mode)
{
	return SYS2(SYS_fchmod, fd, mode);
}
static inline long sys_pipe(int fds[2], int flags)
{
	return SYS2(SYS_pipe2, fds, flags);
}
static inline long sys_eventfd(unsigned initial, int flags)
{
	return SYS2(SYS_eventfd2, initial, flags);
}
static inline long sys_poll(struct pollfd *fds, unsigned n, int timeout_ms)
{
	return SYS3(SYS_poll, fds, n, timeout_ms);
}
static inline long sys_ppoll(struct pollfd *fds, unsigned n, const struct timespec *timeout)
{
	return SYS5(SYS_ppoll, fds, n, timeout, NULL, 8);
}

static inline long sys_socket(int family, int type, int protocol)
{
	return SYS3(SYS_socket, family, type, protocol);
}
static inline long sys_bind(int fd, const void *addr, socklen_t size)
{
	return SYS3(SYS_bind, fd, addr, size);
}
static inline long sys_connect(int fd, const void *addr, socklen_t size)
{
	return SYS3(SYS_connect, fd, addr, size);
}
static inline long sys_listen(int fd, int backlog)
{
	return SYS2(SYS_listen, fd, backlog);
}
static inline long sys_accept(int fd, void *addr, socklen_t *size, int flags)
{
	return SYS4(SYS_accept4, fd, addr, size, flags);
}
static inline long sys_recv(int fd, void *buf, size_t size, int flags)
{
	return SYS6(SYS_recvfrom, fd, buf, size, flags, 0, 0);
}
/* MSG_NOSIGNAL always: a client that left must not raise SIGPIPE in the target (hazard J1). */
static inline long sys_send(int fd, const void *buf, size_t size, int flags)
{
	return SYS6(SYS_sendto, fd, buf, size, flags | MSG_NOSIGNAL, 0, 0);
}
static inline long sys_shutdown(int fd, int how)
{
	return SYS2(SYS_shutdown, fd, how);
}
static inline long sys_setsockopt(int fd, int level, int name, const void *value, socklen_t size)
{
	return SYS5(SYS_setsockopt, fd, level, name, value, size);
}
static inline long sys_getsockopt(int fd, int level, int name, void *value, socklen_t *size)
{
	return SYS5(SYS_getsockopt, fd, level, name, value, size);
}
static inline long sys_getsockname(int fd, void *addr, socklen_t *size)
{
	return SYS3(SYS_getsockname, fd, addr, size);
}

static inline long sys_ioctl(int fd, unsigned long request, void *arg)
{
	return SYS3(SYS_ioctl, fd, request, arg);
}

static inline int sys_gettid(void)
{
	return (int)SYS0(SYS_gettid);
}
static inline int sys_getpid(void)
{
	return (int)SYS0(SYS_getpid);
}
static inline int sys_getppid(void)
{
	return (int)SYS0(SYS_getppid);
}
static inline unsigned sys_geteuid(void)
{
	return (unsigned)SYS0(SYS_geteuid);
}
static inline long sys_unshare(int flags)
{
	return SYS1(SYS_unshare, flags);
}
static inline long sys_prctl(int op, unsigned long a, unsigned long b)
{
	return SYS5(SYS_prctl, op, a, b, 0, 0);
}
static inline long sys_kill(int pid, int sig)
{
	return SYS2(SYS_kill, pid, sig);
}
/* size of the kernel's sigset_t is 8 */
static inline long sys_sigprocmask(int how, const uint64_t *set, uint64_t *out_old)
{
	return SYS4(SYS_rt_sigprocmask, how, set, out_old, 8);
}
static inline long sys_futex_wait(const void *word, uint32_t expected, const struct timespec *timeout)
{
	return SYS4(SYS_futex, word, 128 /* FUTEX_WAIT_PRIVATE */, expected, timeout);
}
static inline long sys_futex_wake(const void *word, int n)
{
	return SYS3(SYS_futex, word, 129 /* FUTEX_WAKE_PRIVATE */, n);
}
static inline long sys_sleep_ns(uint64_t ns)
{
	struct timespec ts = { (time_t)(ns / 1000000000u), (long)(ns % 1000000000u) };

	return SYS2(SYS_nanosleep, &ts, NULL);
}
static inline long sys_process_vm_readv(int pid, const struct iovec *local, unsigned n_local,
					const struct iovec *remote, unsigned n_remote)
{
	return SYS6(SYS_process_vm_readv, pid, local, n_local, remote, n_remote, 0);
}

/* Children. */
static inline long sys_wait4(int pid, int *out_status, int options)
{
	return SYS4(SYS_wait4, pid, out_status, options, NULL);
}
static inline long sys_execve(const char *path, char *const *argv, char *const *envp)
{
	return SYS3(SYS_execve, path, argv, envp);
}

/* Kernel timers. `id` is the kernel's, not glibc's timer_t. */
static inline long sys_timer_create(clockid_t clock, struct sigevent *event, int *out_id)
{
	return SYS3(SYS_timer_create, clock, event, out_id);
}
static inline long sys_timer_settime(int id, int flags, const struct itimerspec *value)
{
	return SYS4(SYS_timer_settime, id, flags, value, NULL);
}
static inline long sys_timer_delete(int id)
{
	return SYS1(SYS_timer_delete, id);
}

/* CLOCK of another thread's CPU time, from the kernel's encoding of dynamic clock ids. */
static inline clockid_t sys_thread_cpu_clock(int tid)
{
	return (clockid_t)((~(unsigned)tid << 3) | 6u);
}

#endif
