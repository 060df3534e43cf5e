/* SPDX-License-Identifier: Apache-2.0 */
/* The one door to the kernel. tests/unit links fault_sys.c in its place to fail the n-th call. */
#include "agent/base/sys.h"

#include "agent/base/vdso.h"
#include "syscall.h"

long sys_enter(long nr, long a, long b, long c, long d, long e, long f)
{
	return arch_syscall(nr, a, b, c, d, e, f);
}

uint64_t sys_clock_ns(clockid_t clock)
{
	struct timespec ts;

	if (vdso_clock_gettime && vdso_clock_gettime(clock, &ts) == 0)
		return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
	if (sys_enter(SYS_clock_gettime, clock, (long)&ts, 0, 0, 0, 0) != 0)
		return 0;
	return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

int sys_write_all(int fd, const void *buf, size_t size)
{
	const char *at = buf;

	while (size > 0) {
		long n = sys_write(fd, at, size);

		if (n == -EINTR)
			continue;
		if (n < 0)
			return (int)n;
		at += n;
		size -= (size_t)n;
	}
	return 0;
}

long sys_read_file(const char *path, void *buf, size_t size)
{
	long fd = sys_open(path, O_RDONLY | O_CLOEXEC);
	size_t have = 0;
	long n = 0;

	if (fd < 0)
		return fd;
	while (have < size) {
		n = sys_read((int)fd, (char *)buf + have, size - have);
		if (n == -EINTR)
			continue;
		if (n <= 0)
			break;
		have += (size_t)n;
	}
	sys_close((int)fd);
	return n < 0 ? n : (long)have;
}
