/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Every function that waits, once and for a known time, each called by a thread and a function of its own: a row's
 * is wait_ROW.
 *
 *   every_wait MS
 *
 * Once a line comes on stdin, all threads begin to wait; MS later main lets them go one by one. Sleeps end on
 * their own. Prints for each "ROW KIND LEAST MOST READY": its time in ns, by its own clock, up to the moment when it
 * was let go and when it went on; of that, time without a processor, if that was taken from it. Then "done"; ends with
 * stdin.
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/futex.h>
#include <poll.h>
#include <pthread.h>
#include <semaphore.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/file.h>
#include <sys/msg.h>
#include <sys/resource.h>
#include <sys/select.h>
#include <sys/sem.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <threads.h>
#include <time.h>
#include <unistd.h>

#define NOINLINE __attribute__((noinline, noclone))

struct row {
	const char *name, *kind;
	void (*wait)(void);
	void (*make)(void), (*let_go)(void); /* by main; NULL: none is needed, and: it goes on by itself */
	union {
		pthread_mutex_t mutex;
		mtx_t mtx;
	};
	union {
		pthread_rwlock_t rwlock;
		pthread_cond_t cond;
		void *old_cond;
		cnd_t cnd;
		sem_t sem;
		pthread_barrier_t barrier;
		pthread_spinlock_t spin;
		pthread_t sleeper;
		thrd_t c11_sleeper;
	};
	_Atomic int word, begun, tid;
	int fd[2], id;
	pthread_t thread;
	uint64_t start, end, released, ready;
};
static _Thread_local struct row *me; /* whose functions run */
static struct timespec sleep_time;
static char buf[1 << 16];
static struct iovec part = { buf, 1 };

static uint64_t now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

static void check_here(int ok, const char *what)
{
	if (!ok) {
		fprintf(stderr, "every_wait: %s: %s\n", what, strerror(errno));
		_exit(2);
	}
}
#define check(ok) check_here((ok), #ok)

static const struct timespec *in_a_minute(clockid_t clock)
{
	static _Thread_local struct timespec ts;

	clock_gettime(clock, &ts);
	ts.tv_sec += 60;
	return &ts;
}
#define REAL in_a_minute(CLOCK_REALTIME)
#define MONO CLOCK_MONOTONIC, in_a_minute(CLOCK_MONOTONIC)

/* asm: the call must not be the last thing, a jump would leave no frame */
#define WAIT(row, ...)                       \
	static NOINLINE void wait_##row(void) \
	{                                    \
		check(__VA_ARGS__);          \
		__asm__ volatile("");        \
	}
/* The same for the conditions, once the lock is taken. */
#define WAIT_COND(row, lock, call)                          \
	static NOINLINE void wait_##row(void)               \
	{                                                   \
		for (check(!(lock)); !me->word; check(!(call))) \
			;                                   \
	}

#include "every_wait_calls.h"
#include "every_wait_locks.h"

#define ROW(kind, row, make, let_go) { .name = #row, #kind, wait_##row, make, let_go }
/* clang-format off */
static struct row rows[] = {
	ROW(sync, pthread_mutex_lock, hold_mutex, leave_mutex),
	ROW(sync, pthread_mutex_timedlock, hold_mutex, leave_mutex),
	ROW(sync, pthread_mutex_clocklock, hold_mutex, leave_mutex),
	ROW(sync, mtx_lock, hold_mtx, leave_mtx),
	ROW(sync, mtx_timedlock, hold_mtx, leave_mtx),
	ROW(sync, pthread_rwlock_rdlock, hold_rwlock, leave_rwlock),
	ROW(sync, pthread_rwlock_wrlock, hold_rwlock, leave_rwlock),
	ROW(sync, pthread_rwlock_timedrdlock, hold_rwlock, leave_rwlock),
	ROW(sync, pthread_rwlock_timedwrlock, hold_rwlock, leave_rwlock),
	ROW(sync, pthread_rwlock_clockrdlock, hold_rwlock, leave_rwlock),
	ROW(sync, pthread_rwlock_clockwrlock, hold_rwlock, leave_rwlock),
	ROW(sync, pthread_spin_lock, hold_spin, leave_spin),
	ROW(sync, syscall, NULL, wake_word),
	ROW(sync, pthread_cond_wait, make_cond, signal_cond),
	ROW(sync, pthread_cond_timedwait, make_cond, signal_cond),
	ROW(sync, pthread_cond_clockwait, make_cond, broadcast_cond),
#ifdef __x86_64__
	ROW(sync, old_cond_wait, make_old_cond, signal_old_cond),
	ROW(sync, old_cond_timedwait, make_old_cond, broadcast_old_cond),
#endif
	ROW(sync, cnd_wait, make_cnd, signal_cnd),
	ROW(sync, cnd_timedwait, make_cnd, broadcast_cnd),
	ROW(sync, sem_wait, make_sem, post_sem),
	ROW(sync, sem_timedwait, make_sem, post_sem),
	ROW(sync, sem_clockwait, make_sem, post_sem),
	ROW(sync, pthread_barrier_wait, make_barrier, come_to_barrier),
	ROW(sync, pthread_join, make_sleeper, end_sleeper),
	ROW(sync, pthread_timedjoin_np, make_sleeper, end_sleeper),
	ROW(sync, pthread_clockjoin_np, make_sleeper, end_sleeper),
	ROW(sync, thrd_join, make_c11_sleeper, end_sleeper),
	ROW(sleep, thrd_sleep, NULL, NULL),
	ROW(sleep, nanosleep, NULL, NULL),
	ROW(sleep, clock_nanosleep, NULL, NULL),
	ROW(sleep, usleep, NULL, NULL),
	ROW(sleep, sleep, NULL, NULL),
	ROW(network, poll, make_pipe, write_one),
	ROW(network, __poll_chk, make_pipe, write_one),
	ROW(network, ppoll, make_pipe, write_one),
	ROW(network, __ppoll_chk, make_pipe, write_one),
	ROW(network, select, make_pipe, write_one),
	ROW(network, pselect, make_pipe, write_one),
	ROW(network, epoll_wait, make_epoll, write_one),
	ROW(network, epoll_pwait, make_epoll, write_one),
	ROW(network, epoll_pwait2, make_epoll, write_one),
	ROW(network, read, make_pipe, write_one),
	ROW(network, __read_chk, make_pipe, write_one),
	ROW(network, readv, make_pipe, write_one),
	ROW(network, preadv2, make_pipe, write_one),
	ROW(network, preadv64v2, make_pipe, write_one),
	ROW(network, write, make_full_pipe, drain),
	ROW(network, writev, make_full_pipe, drain),
	ROW(network, pwritev2, make_full_pipe, drain),
	ROW(network, pwritev64v2, make_full_pipe, drain),
	ROW(network, splice, make_splice, write_one),
	ROW(network, sendfile, make_full_pipe, drain),
	ROW(network, sendfile64, make_full_pipe, drain),
	ROW(network, recv, make_pair, write_one),
	ROW(network, __recv_chk, make_pair, write_one),
	ROW(network, recvfrom, make_pair, write_one),
	ROW(network, __recvfrom_chk, make_pair, write_one),
	ROW(network, recvmsg, make_pair, write_one),
	ROW(network, recvmmsg, make_pair, write_one),
	ROW(network, send, make_full_pair, drain),
	ROW(network, sendto, make_full_pair, drain),
	ROW(network, sendmsg, make_full_pair, drain),
	ROW(network, sendmmsg, make_full_pair, drain),
	ROW(network, accept, make_server, come_to_server),
	ROW(network, accept4, make_server, come_to_server),
	ROW(network, connect, make_busy_server, accept_one),
	ROW(syscall, flock, lock_file, unlock_file),
	/* these two before other children end */
	ROW(syscall, wait, make_child, end_child),
	ROW(syscall, wait3, make_child, end_child),
	ROW(syscall, waitpid, make_child, end_child),
	ROW(syscall, wait4, make_child, end_child),
	ROW(syscall, waitid, make_child, end_child),
	ROW(syscall, lockf, make_lock_of_child, unlock_in_child),
	ROW(syscall, lockf64, make_lock_of_child, unlock_in_child),
	ROW(syscall, fcntl, make_lock_of_child, unlock_in_child),
	ROW(syscall, fcntl64, make_lock_of_child, unlock_in_child),
	ROW(syscall, open, make_fifo, open_to_write),
	ROW(syscall, open64, make_fifo, open_to_write),
	ROW(syscall, openat, make_fifo, open_to_write),
	ROW(syscall, openat64, make_fifo, open_to_write),
	ROW(syscall, __open_2, make_fifo, open_to_write),
	ROW(syscall, __open64_2, make_fifo, open_to_write),
	ROW(syscall, __openat_2, make_fifo, open_to_write),
	ROW(syscall, __openat64_2, make_fifo, open_to_write),
	ROW(syscall, creat, make_fifo, open_to_read),
	ROW(syscall, creat64, make_fifo, open_to_read),
	ROW(syscall, pause, NULL, kill_it),
	ROW(syscall, sigsuspend, NULL, kill_it),
	ROW(syscall, msgrcv, make_queue, remove_queue),
	ROW(syscall, msgsnd, make_queue, remove_queue),
	ROW(syscall, semop, make_sems, remove_sems),
	ROW(syscall, semtimedop, make_sems, remove_sems),
};
/* clang-format on */
enum { ROWS = sizeof(rows) / sizeof(rows[0]) };

/* ---- the threads ---- */

/* Time that this thread was ready to run and had no processor, ns; 0 where the kernel does not say. */
static uint64_t ready_ns(void)
{
	unsigned long ran = 0, ready = 0;
	FILE *f = fopen("/proc/thread-self/schedstat", "r");

	if (f && fscanf(f, "%lu %lu", &ran, &ready) != 2)
		ready = 0;
	if (f)
		fclose(f);
	return ready;
}
static long preempted(void)
{
	struct rusage used;

	return getrusage(RUSAGE_THREAD, &used) == 0 ? used.ru_nivcsw : 0;
}

static void *runs(void *arg)
{
	uint64_t ready = ready_ns();
	long before = preempted();

	me = arg;
	me->tid = gettid();
	me->begun = 1;
	me->start = now_ns();
	me->wait();
	me->end = now_ns();
	me->ready = preempted() != before ? ready_ns() - ready : 0;
	me->begun = 2;
	return NULL;
}

/* It sleeps in its call, as the kernel says. (One spins.) */
static int is_waiting(const struct row *row)
{
	char path[64], line[256];
	FILE *file;
	int sleeps;

	if (row->wait == wait_pthread_spin_lock)
		return row->begun;
	snprintf(path, sizeof(path), "/proc/self/task/%d/stat", row->tid);
	file = row->begun ? fopen(path, "r") : NULL;
	sleeps = file && fgets(line, sizeof(line), file) && strstr(line, ") S ");
	if (file)
		fclose(file);
	return sleeps;
}

static void run_all(int ms)
{
	for (int i = 0; i < ROWS; i++)
		check(!pthread_create(&rows[i].thread, NULL, runs, &rows[i]));
	for (int i = 0; i < ROWS; i++)
		while (rows[i].let_go && !is_waiting(&rows[i]))
			usleep(1000);
	usleep((unsigned)ms * 1000u);
	for (int i = 0; i < ROWS; i++) {
		me = &rows[i];
		me->released = now_ns();
		if (me->let_go)
			me->let_go();
		/* both wait for any child, so both must be gone before a child ends that another waits for */
		while (me->wait == wait_wait3 && (rows[i].begun < 2 || rows[i - 1].begun < 2))
			usleep(1000);
	}
}

int main(int argc, char **argv)
{
	char directory[] = "/tmp/every-wait-XXXXXX";
	int ms = argc > 1 ? atoi(argv[1]) : 300;

	alarm(100);
	check(mkdtemp(directory) && !chdir(directory) && !sigaction(SIGUSR1, &(struct sigaction){ .sa_handler = handler }, NULL));
	sleep_time = (struct timespec){ ms / 1000, ms % 1000 * 1000000 };
	for (int i = 0; i < ROWS; i++) {
		me = &rows[i];
		if (me->make)
			me->make();
	}
	puts("ready");
	fflush(stdout);
	check(getchar() != EOF);
	run_all(ms);
	for (int i = 0; i < ROWS; i++) {
		struct row *r = &rows[i];
		uint64_t least = r->released > r->start ? r->released - r->start : 0, most;

		pthread_join(r->thread, NULL);
		most = r->end - r->start;
		if (!r->let_go)
			least = (uint64_t)(r->wait == wait_sleep ? 1000 : ms) * 1000000;
		printf("%s %s %lu %lu %lu\n", r->name, r->kind, (unsigned long)least, (unsigned long)most, (unsigned long)r->ready);
		me = r;
		unlink(path_of_row());
	}
	check(!chdir("/") && !rmdir(directory));
	puts("done");
	fflush(stdout);
	while (getchar() != EOF)
		;
	return 0;
}
