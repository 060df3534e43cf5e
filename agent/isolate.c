/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/isolate.h"

#include <limits.h>
#include <sched.h>
#include <stddef.h>

#include "agent/base/sys.h"

enum { CLOSE_UNSHARE = 2 /* CLOSE_RANGE_UNSHARE */ };

static bool is_kept(unsigned fd, const int *fds, unsigned n)
{
	for (unsigned i = 0; i < n; i++)
		if ((unsigned)fds[i] == fd)
			return true;
	return false;
}

/* For kernels without close_range: what /proc lists. The table is already private. */
static void close_listed(const int *fds, unsigned n)
{
	_Alignas(8) char buf[2048];
	long dir = sys_open("/proc/thread-self/fd", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	bool closed = true;
	long got;

	if (dir < 0)
		return;
	/* closing while listing may skip entries: again until a pass closes nothing */
	while (closed) {
		closed = false;
		SYS3(SYS_lseek, dir, 0, 0);
		while ((got = sys_getdents((int)dir, buf, sizeof(buf))) > 0) {
			for (long at = 0; at < got;) {
				unsigned short len = *(unsigned short *)(buf + at + 16);
				const char *name = buf + at + 19;
				unsigned fd = 0;

				at += len;
				if (*name < '0' || *name > '9')
					continue;
				for (; *name; name++)
					fd = fd * 10 + (unsigned)(*name - '0');
				if ((long)fd == dir || is_kept(fd, fds, n))
					continue;
				sys_close((int)fd);
				closed = true;
			}
		}
	}
	sys_close((int)dir);
}

/* Everything but the kept ones, gap by gap. false: no close_range here. */
static bool close_gaps(const int *fds, unsigned n, unsigned flags)
{
	unsigned from = 0;

	for (;;) {
		unsigned next = UINT_MAX;

		for (unsigned i = 0; i < n; i++)
			if ((unsigned)fds[i] >= from && (unsigned)fds[i] < next)
				next = (unsigned)fds[i];
		if (next > from && sys_close_range(from, next - (next != UINT_MAX), flags) != 0)
			return false;
		if (next == UINT_MAX)
			return true;
		from = next + 1;
	}
}

static void fill_standard(void)
{
	for (;;) {
		/* an eventfd needs no path, and what is written to it goes nowhere */
		long fd = sys_eventfd(0, 04000 /* EFD_NONBLOCK */);

		if (fd < 0)
			return;
		if (fd > 2) {
			sys_close((int)fd);
			return;
		}
	}
}

bool isolate_descriptors(const int *fds, unsigned n)
{
	unsigned highest = 0;

	for (unsigned i = 0; i < n; i++)
		if ((unsigned)fds[i] > highest)
			highest = (unsigned)fds[i];
	/* with UNSHARE the kernel copies only what lies below the range: nothing of the program's */
	if (sys_close_range(highest + 1, UINT_MAX, CLOSE_UNSHARE) == 0) {
		close_gaps(fds, n, 0);
	} else {
		if (sys_unshare(CLONE_FILES) != 0)
			return false;
		close_listed(fds, n);
	}
	fill_standard();
	return true;
}

void isolate_directory(void)
{
	if (sys_unshare(CLONE_FS) == 0)
		SYS1(SYS_chdir, "/");
}
