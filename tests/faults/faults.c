/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Stands before the agent's one door to the kernel and before its allocators, in a build of the library for
 * tests (the linker's --wrap; all other objects are those of the product), and makes the n-th call fail in
 * a way in which the kernel may make it fail.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stddef.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>

#include "syscall.h"
#include "tests/faults/faults.h"

static struct faults *faults;

/* Errors by call; what is not here cannot fail for reasons other than a mistake of ours. */
static const struct {
	long nr;
	int error;
} errors[] = {
	{ SYS_mmap, ENOMEM },	      { SYS_openat, EMFILE },	       { SYS_read, EIO },
	{ SYS_pread64, EIO },	      { SYS_write, ENOSPC },	       { SYS_newfstatat, EACCES },
	{ SYS_fstat, EIO },	      { SYS_readlinkat, EACCES },      { SYS_getdents64, ENOMEM },
	{ SYS_renameat, ENOSPC },     { SYS_mkdirat, ENOSPC },	       { SYS_faccessat, EACCES },
	{ SYS_socket, EMFILE },	      { SYS_bind, EACCES },	       { SYS_listen, ENOBUFS },
	{ SYS_accept4, EMFILE },      { SYS_connect, ECONNREFUSED },   { SYS_recvfrom, ECONNRESET },
	{ SYS_sendto, ECONNRESET },   { SYS_setsockopt, ENOBUFS },     { SYS_getsockopt, ENOBUFS },
	{ SYS_getsockname, ENOBUFS }, { SYS_ppoll, ENOMEM },	       { SYS_poll, ENOMEM },
	{ SYS_close_range, ENOSYS },  { SYS_unshare, EPERM },	       { SYS_eventfd2, EMFILE },
	{ SYS_pipe2, EMFILE },	      { SYS_timer_create, EAGAIN },    { SYS_timer_settime, ESRCH },
	{ SYS_madvise, EINVAL },      { SYS_mprotect, ENOMEM },	       { SYS_process_vm_readv, EPERM },
	{ SYS_prctl, EINVAL },	      { SYS_sigaltstack, ENOMEM },     { SYS_getrandom, EAGAIN },
	{ SYS_uname, EFAULT },	      { SYS_chdir, EACCES },	       { SYS_getcwd, ENOENT },
	{ SYS_memfd_create, EMFILE }, { SYS_fcntl, EMFILE },	       { SYS_prlimit64, EPERM },
};

static bool due(unsigned kind)
{
	uint64_t n, from;

	if (!faults)
		return false;
	n = atomic_fetch_add(&faults->seen[kind], 1) + 1;
	from = atomic_load(&faults->from[kind]);
	if (!from || n < from || n - from >= atomic_load(&faults->count[kind]))
		return false;
	atomic_fetch_add(&faults->fired, 1);
	return true;
}

long __real_sys_enter(long nr, long a, long b, long c, long d, long e, long f);
long __wrap_sys_enter(long nr, long a, long b, long c, long d, long e, long f);
long __wrap_sys_enter(long nr, long a, long b, long c, long d, long e, long f)
{
	for (size_t i = 0; i < sizeof(errors) / sizeof(errors[0]); i++) {
		if (errors[i].nr != nr)
			continue;
		if (!due(FAULT_CALL))
			break;
		atomic_store(&faults->last, (uint64_t)nr);
		return -errors[i].error;
	}
	return __real_sys_enter(nr, a, b, c, d, e, f);
}

/* They lie in the same file as the door, where the linker cannot come in between. */
long __real_sys_read_file(const char *path, void *buf, size_t size);
long __wrap_sys_read_file(const char *path, void *buf, size_t size);
long __wrap_sys_read_file(const char *path, void *buf, size_t size)
{
	return due(FAULT_CALL) ? -EMFILE : __real_sys_read_file(path, buf, size);
}

int __real_sys_write_all(int fd, const void *buf, size_t size);
int __wrap_sys_write_all(int fd, const void *buf, size_t size);
int __wrap_sys_write_all(int fd, const void *buf, size_t size)
{
	return due(FAULT_CALL) ? -ENOSPC : __real_sys_write_all(fd, buf, size);
}

/* As when somebody sets the machine's clock: what CLOCK_MONOTONIC says does not change. */
uint64_t __real_sys_clock_ns(clockid_t clock);
uint64_t __wrap_sys_clock_ns(clockid_t clock);
uint64_t __wrap_sys_clock_ns(clockid_t clock)
{
	if (!faults || clock != CLOCK_REALTIME)
		return __real_sys_clock_ns(clock);
	atomic_fetch_add(&faults->looks, 1);
	return __real_sys_clock_ns(clock) + atomic_load(&faults->step);
}

struct arena;
#define FAILS(declare, call)                      \
	void *__real_##declare;                   \
	void *__wrap_##declare;                   \
	void *__wrap_##declare                    \
	{                                         \
		return due(FAULT_MEMORY) ? NULL : __real_##call; \
	}
FAILS(mem_alloc(size_t size), mem_alloc(size))
FAILS(mem_zalloc(size_t size), mem_zalloc(size))
FAILS(mem_realloc(void *ptr, size_t size), mem_realloc(ptr, size))
FAILS(mem_strdup(const char *text), mem_strdup(text))
FAILS(arena_alloc(struct arena *arena, size_t size), arena_alloc(arena, size))
FAILS(budget_map(size_t size), budget_map(size))

/* Before any other constructor of the library. */
static void __attribute__((constructor(101))) faults_start(int argc, char **argv, char **envp)
{
	for (; *envp; envp++) {
		long fd, at;

		if (strncmp(*envp, "FAULTS=", 7) != 0)
			continue;
		fd = arch_syscall(SYS_openat, AT_FDCWD, (long)(*envp + 7), O_RDWR, 0, 0, 0);
		if (fd < 0)
			return;
		at = arch_syscall(SYS_mmap, 0, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
		arch_syscall(SYS_close, fd, 0, 0, 0, 0, 0);
		if (at > 0 || at < -4096)
			faults = (struct faults *)at;
	}
}
