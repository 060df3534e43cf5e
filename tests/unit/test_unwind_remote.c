/* SPDX-License-Identifier: Apache-2.0 */
/* Walks over copies of stacks: libunwind's and our own give what the live walk gave. */
#include <pthread.h>
#include <semaphore.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "agent/base/stats.h"
#include "agent/collect/unwind_remote.h"
#include "tests/unit/test.h"
#include "tests/unit/walk.h"

enum { MAX = 256, RED_ZONE = 128 };

static struct {
	uintptr_t lo, hi;
	uintptr_t live[MAX];
	uint32_t n_live;
	struct unwind_snapshot snapshot;
	uintptr_t copy[1 << 15];
} got;

static void copy_stack(uintptr_t sp)
{
	size_t size;

	got.snapshot.stack_base = (sp - RED_ZONE) & ~(uintptr_t)7;
	size = got.hi - got.snapshot.stack_base;
	if (size > sizeof(got.copy))
		size = sizeof(got.copy);
	memcpy(got.copy, (void *)got.snapshot.stack_base, size);
	got.snapshot.stack = got.copy;
	got.snapshot.stack_size = size;
}

static void handler(int sig, siginfo_t *info, void *context)
{
	const ucontext_t *uc = context;
	enum unwind_end end;

	got.n_live = unwind_context(uc, got.lo, got.hi, got.live, MAX, &end);
	CHECK_INT(end, UNWIND_ROOT);
	unwind_snapshot_context(&got.snapshot, uc);
	copy_stack((uintptr_t)uc->uc_mcontext.gregs[REG_RSP]);
}

static NOINLINE int deep(int n)
{
	volatile char pad[1 + n % 5 * 48];

	pad[0] = 1;
	if (n == 0)
		raise(SIGUSR1);
	else
		deep(n - 1);
	STAY();
	return pad[0];
}

static void on_signal(int sig, void (*action)(int, siginfo_t *, void *))
{
	struct sigaction sa = {.sa_sigaction = action, .sa_flags = SA_SIGINFO};

	sigaction(sig, &sa, NULL);
}

static void same_as_live(void)
{
	uintptr_t pcs[MAX];
	enum unwind_end end;
	uint32_t n = unwind_remote(&got.snapshot, pcs, MAX, &end);

	CHECK_INT(end, UNWIND_ROOT);
	for (uint32_t i = 0; i < n && i < got.n_live; i++)
		if (pcs[i] != got.live[i])
			test_fail(__FILE__, __LINE__, "frame %u is %#lx, not %#lx", i, pcs[i],
				  got.live[i]);
	CHECK_INT(n, got.n_live);
}

/* The signal frame in the middle: a handler that raises. */
static void outer(int sig, siginfo_t *info, void *context)
{
	deep(3);
	STAY();
}

static void all_copies(void)
{
	walk_stack(&got.lo, &got.hi);
	on_signal(SIGUSR1, handler);
	on_signal(SIGUSR2, outer);
	deep(20);
	same_as_live();
	raise(SIGUSR2);
	CHECK(got.n_live > 8);
	same_as_live();
}

static bool with_libunwind(void)
{
	return unwind_remote_load() == 0 && unwind_remote_start() == 0;
}

TEST(remote_own_walker_is_the_live_walk)
{
	all_copies();
	CHECK_INT(stat_read(STAT_UNWIND_REMOTE), 0);
}

TEST(remote_libunwind_is_the_live_walk)
{
	if (!with_libunwind())
		test_skip(unwind_remote_status());
	CHECK_STR(unwind_remote_status(), "libunwind-x86_64.so.8");
	all_copies();
	CHECK_INT(stat_read(STAT_UNWIND_REMOTE), 2);
}

TEST(remote_truncates)
{
	uintptr_t pcs[MAX];
	enum unwind_end end;

	walk_stack(&got.lo, &got.hi);
	on_signal(SIGUSR1, handler);
	for (int with = 0; with < 2; with++) {
		deep(20);
		CHECK_INT(unwind_remote(&got.snapshot, pcs, 10, &end), 10);
		CHECK_INT(end, UNWIND_TRUNCATED);
		CHECK_INT(unwind_remote(&got.snapshot, pcs, got.n_live, &end), got.n_live);
		CHECK_INT(end, UNWIND_ROOT);
		if (!with_libunwind())
			break;
	}
}

/* A copy that is too short ends the walk in its bounds. */
TEST(remote_short_copy)
{
	uintptr_t pcs[MAX];
	enum unwind_end end;
	uint32_t n;

	walk_stack(&got.lo, &got.hi);
	on_signal(SIGUSR1, handler);
	for (int with = 0; with < 2; with++) {
		deep(20);
		got.snapshot.stack_size = 1024;
		got.snapshot.stack = guarded_copy(got.copy, 1024);
		n = unwind_remote(&got.snapshot, pcs, MAX, &end);
		CHECK(n > 1 && n < got.n_live);
		CHECK_INT(end, UNWIND_BOUNDS);
		for (uint32_t i = 0; i < n; i++)
			CHECK_INT(pcs[i], got.live[i]);
		if (!with_libunwind())
			break;
	}
}

TEST(remote_absent_library_is_said)
{
	/* Its status is a sentence, also before anything was tried. */
	CHECK(strstr(unwind_remote_status(), "own walker") != NULL);
}

TEST(remote_child_after_fork_at_work)
{
	if (!with_libunwind())
		test_skip(unwind_remote_status());
	unwind_remote_child(); /* it was not at work: stays */
	CHECK_STR(unwind_remote_status(), "libunwind-x86_64.so.8");
	all_copies();
}

/* A sleeping thread: only its PC and stack pointer are known. */

static struct {
	_Atomic int tid;
	sem_t sem;
	pthread_mutex_t mutex;
	pthread_cond_t cond;
	int how;
	uintptr_t lo, hi;
} sleeper = {.mutex = PTHREAD_MUTEX_INITIALIZER, .cond = PTHREAD_COND_INITIALIZER};

static NOINLINE void sleep_in(int how)
{
	struct timespec day = {86400, 0};

	switch (how) {
	case 0:
		nanosleep(&day, NULL);
		break;
	case 1:
		sem_wait(&sleeper.sem);
		break;
	case 2:
		pthread_mutex_lock(&sleeper.mutex);
		pthread_cond_wait(&sleeper.cond, &sleeper.mutex);
		break;
	case 3:
		pthread_cond_timedwait(&sleeper.cond, &sleeper.mutex,
				       &(struct timespec){1u << 31, 0});
		break;
	default:
		pause();
	}
	STAY();
}

/* Needs its base pointer: the size of the frame is known at run time only. */
static NOINLINE int with_base_pointer(int n, int how)
{
	volatile char pad[n];

	pad[0] = 1;
	sleep_in(how);
	STAY();
	return pad[0];
}

static NOINLINE void *sleeper_main(void *arg)
{
	walk_stack(&got.lo, &got.hi);
	sleeper.lo = got.lo;
	sleeper.hi = got.hi;
	sleeper.tid = (int)syscall(SYS_gettid);
	with_base_pointer(1000, sleeper.how);
	STAY();
	return arg;
}

static bool asleep(uintptr_t *out_pc, uintptr_t *out_sp)
{
	char path[64], text[256];
	unsigned long nr, a[6];
	FILE *f;
	int n;

	snprintf(path, sizeof(path), "/proc/self/task/%d/syscall", sleeper.tid);
	f = fopen(path, "r");
	n = f && fgets(text, sizeof(text), f)
		    ? sscanf(text, "%lu %lx %lx %lx %lx %lx %lx %lx %lx", &nr, &a[0], &a[1], &a[2],
			     &a[3], &a[4], &a[5], out_sp, out_pc)
		    : 0;
	if (f)
		fclose(f);
	return n == 9;
}

TEST(remote_sleeping_thread)
{
	sem_init(&sleeper.sem, 0, 0);
	for (int round = 0; round < 10; round++) {
		uintptr_t pc = 0, sp = 0, pcs[MAX];
		struct timespec moment = {0, 1000000};
		enum unwind_end end;
		pthread_t thread;
		uint32_t n;
		bool seen = false;

		if (round == 5 && !with_libunwind())
			break;
		sleeper.how = round % 5;
		sleeper.tid = 0;
		pthread_create(&thread, NULL, sleeper_main, NULL);
		/* asleep where it will stay: the same place twice in 20 ms */
		for (int tries = 0; tries < 5000; tries++) {
			uintptr_t pc_now = 0, sp_now = 0;

			nanosleep(&moment, NULL);
			if (tries % 20 || !sleeper.tid || !asleep(&pc_now, &sp_now))
				continue;
			if (pc_now == pc && sp_now == sp)
				break;
			pc = pc_now;
			sp = sp_now;
		}
		unwind_snapshot_asleep(&got.snapshot, pc, sp);
		got.hi = sleeper.hi;
		copy_stack(sp);
		n = unwind_remote(&got.snapshot, pcs, MAX, &end);
		for (uint32_t i = 0; i < n; i++)
			seen |= pcs[i] >= (uintptr_t)sleeper_main &&
				pcs[i] < (uintptr_t)sleeper_main + 200;
		if (end != UNWIND_ROOT || !seen)
			test_fail(__FILE__, __LINE__, "sleep %d: %u frames, %s", round, n,
				  unwind_end_name(end));
		/* The thread goes on sleeping until the test's process ends. */
		if (sleeper.how == 2) {
			pthread_mutex_t fresh = PTHREAD_MUTEX_INITIALIZER;

			sleeper.mutex = fresh;
		}
	}
}
