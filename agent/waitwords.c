/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/waitwords.h"

#include <stdbool.h>

#include "agent/base/attr.h"
#include "agent/base/fmt.h"
#include "agent/base/sys.h"
#include "agent/collect/dump.h"
#include "agent/collect/signals.h"

#define IO    "IO wait"
#define SLEEP "sleep"
#define CALL  "syscall"
#define LOCK  "semacquire"

enum { FD = 1 }; /* the first argument is a descriptor */

/* The system calls in which threads sleep. Those that are not here are shown by number. */
static const struct {
	short nr;
	bool fd;
	char name[17], state[11]; /* no pointers: nothing to relocate at start */
} calls[] = {
	{ SYS_read, FD, "read", IO },
	{ SYS_write, FD, "write", IO },
	{ SYS_pread64, FD, "pread64", IO },
	{ SYS_pwrite64, FD, "pwrite64", IO },
	{ SYS_readv, FD, "readv", IO },
	{ SYS_writev, FD, "writev", IO },
	{ SYS_preadv, FD, "preadv", IO },
	{ SYS_pwritev, FD, "pwritev", IO },
	{ SYS_recvfrom, FD, "recvfrom", IO },
	{ SYS_recvmsg, FD, "recvmsg", IO },
	{ SYS_recvmmsg, FD, "recvmmsg", IO },
	{ SYS_sendto, FD, "sendto", IO },
	{ SYS_sendmsg, FD, "sendmsg", IO },
	{ SYS_sendmmsg, FD, "sendmmsg", IO },
	{ SYS_accept, FD, "accept", IO },
	{ SYS_accept4, FD, "accept4", IO },
	{ SYS_connect, FD, "connect", IO },
	{ SYS_ppoll, 0, "ppoll", IO },
	{ SYS_pselect6, 0, "pselect6", IO },
	{ SYS_epoll_pwait, FD, "epoll_pwait", IO },
#ifdef SYS_poll
	{ SYS_poll, 0, "poll", IO },
	{ SYS_select, 0, "select", IO },
	{ SYS_epoll_wait, FD, "epoll_wait", IO },
	{ SYS_pause, 0, "pause", CALL },
	{ SYS_open, 0, "open", CALL },
	{ SYS_vfork, 0, "vfork", CALL },
#endif
#ifdef SYS_epoll_pwait2
	{ SYS_epoll_pwait2, FD, "epoll_pwait2", IO },
#endif
	{ SYS_sendfile, FD, "sendfile", IO },
	{ SYS_splice, FD, "splice", IO },
	{ SYS_copy_file_range, FD, "copy_file_range", IO },
	{ SYS_fsync, FD, "fsync", IO },
	{ SYS_fdatasync, FD, "fdatasync", IO },
	{ SYS_io_getevents, 0, "io_getevents", IO },
#ifdef SYS_io_uring_enter
	{ SYS_io_uring_enter, FD, "io_uring_enter", IO },
#endif
	{ SYS_nanosleep, 0, "nanosleep", SLEEP },
	{ SYS_clock_nanosleep, 0, "clock_nanosleep", SLEEP },
	{ SYS_futex, 0, "futex", LOCK },
#ifdef SYS_futex_waitv
	{ SYS_futex_waitv, 0, "futex_waitv", LOCK },
#endif
	{ SYS_semop, 0, "semop", LOCK },
	{ SYS_semtimedop, 0, "semtimedop", LOCK },
	{ SYS_flock, FD, "flock", LOCK },
	{ SYS_fcntl, FD, "fcntl", LOCK },
	{ SYS_msgrcv, 0, "msgrcv", CALL },
	{ SYS_msgsnd, 0, "msgsnd", CALL },
	{ SYS_mq_timedreceive, FD, "mq_timedreceive", CALL },
	{ SYS_mq_timedsend, FD, "mq_timedsend", CALL },
	{ SYS_wait4, 0, "wait4", CALL },
	{ SYS_waitid, 0, "waitid", CALL },
	{ SYS_rt_sigtimedwait, 0, "rt_sigtimedwait", CALL },
	{ SYS_rt_sigsuspend, 0, "rt_sigsuspend", CALL },
	{ SYS_openat, 0, "openat", CALL },
	{ SYS_close, FD, "close", CALL },
	{ SYS_ioctl, FD, "ioctl", CALL },
	{ SYS_getrandom, 0, "getrandom", CALL },
	{ SYS_clone, 0, "clone", CALL },
	{ SYS_execve, 0, "execve", CALL },
	{ SYS_mmap, 0, "mmap", CALL },
	{ SYS_munmap, 0, "munmap", CALL },
	{ SYS_mprotect, 0, "mprotect", CALL },
	{ SYS_madvise, 0, "madvise", CALL },
	{ SYS_exit, 0, "exit", CALL },
	{ SYS_exit_group, 0, "exit_group", CALL },
};

/* Bytes of the UTF-8 sequence at `at` that a person can read, 0: none. */
static unsigned readable(const unsigned char *at)
{
	static const uint32_t least[] = { 0, 0, 0xa0, 0x800, 0x10000 };
	unsigned n = *at < 0x80 ? 1 : *at >> 5 == 6 ? 2 : *at >> 4 == 14 ? 3 : *at >> 3 == 30 ? 4 : 0;
	uint32_t c;

	if (n < 2)
		return n && *at >= ' ' && *at != 0x7f;
	c = *at & (0x7fu >> n);
	for (unsigned i = 1; i < n; i++) {
		if (at[i] >> 6 != 2)
			return 0;
		c = c << 6 | (at[i] & 0x3f);
	}
	return c < least[n] || c > 0x10ffff || c >> 11 == 0x1b ? 0 : n;
}

int waitwords_name(struct sink *to, const char *name)
{
	int err = sink_text(to, "\"");

	while (!err && *name) {
		unsigned n = readable((const unsigned char *)name);

		if (!n) {
			err = fmt_sink(to, "\\x%02x", (unsigned char)*name++);
			continue;
		}
		if (*name == '"' || *name == '\\')
			err = sink_text(to, "\\");
		if (!err)
			err = sink_write(to, name, n);
		name += n;
	}
	return err ? err : sink_text(to, "\"");
}

static int put_owner(struct sink *to, const struct dump *dump, const struct waitsfor *wait)
{
	const struct dump_thread *owner = dump_find(dump, wait->owner);
	int err = fmt_sink(to, "%d", wait->owner);

	if (!err && wait->gone)
		return sink_text(to, ", which has ended");
	if (!err && owner && owner->facts.name[0]) {
		err = sink_text(to, " ");
		if (!err)
			err = waitwords_name(to, owner->facts.name);
	}
	return err;
}

int waitwords_object(struct sink *to, const struct dump *dump, const struct dump_thread *thread)
{
	const struct waitsfor *wait = &thread->wait;
	int err = sink_text(to, waitsfor_name((enum waitsfor_what)wait->what));

	if (!err && wait->address)
		err = fmt_sink(to, " 0x%lx", wait->address);
	if (err || !wait->owner)
		return err;
	err = sink_text(to, wait->what == WAITS_FOR_JOIN ? " " : " held by ");
	return err ? err : put_owner(to, dump, wait);
}

static int put_call(struct sink *to, const struct task_call *call)
{
	int err;

	for (size_t i = 0; i < ARRAY_LEN(calls); i++) {
		if (calls[i].nr != call->nr)
			continue;
		err = fmt_sink(to, "%s, %s", calls[i].state, calls[i].name);
		if (!err && calls[i].fd)
			err = fmt_sink(to, " fd %d", (int)call->arg[0]);
		return err;
	}
	return fmt_sink(to, CALL ", number %ld", call->nr);
}

static int put_asleep(struct sink *to, const struct dump *dump, const struct dump_thread *t)
{
	int err;

	switch (t->facts.state) {
	case 'T':
		return sink_text(to, "stopped");
	case 't':
		return sink_text(to, "stopped by a debugger");
	default:
		break;
	}
	if (t->call.nr < 0)
		return sink_text(to, "page fault");
	if (t->wait.what == WAITS_FOR_NOTHING)
		err = put_call(to, &t->call);
	else
		err = sink_text(to, LOCK ", ");
	if (!err && t->wait.what != WAITS_FOR_NOTHING)
		err = waitwords_object(to, dump, t);
	if (!err && t->facts.state == 'D')
		err = sink_text(to, ", uninterruptible");
	return err;
}

int waitwords_put(struct sink *to, const struct dump *dump, const struct dump_thread *t)
{
	uint64_t minutes = t->idle_ns / 60000000000u;
	int err;

	switch (t->how) {
	case DUMP_ASLEEP:
		err = put_asleep(to, dump, t);
		break;
	case DUMP_RUNNING:
		return sink_text(to, "running");
	case DUMP_DEAF:
		return fmt_sink(to, "running, blocks signal %d", atomic_load(&signals_held));
	case DUMP_DENIED:
		return sink_text(to, "not readable");
	default:
		return sink_text(to, "running, not read in time");
	}
	if (!err && t->idle_known && minutes)
		err = fmt_sink(to, ", %lu minutes", minutes);
	return err;
}
