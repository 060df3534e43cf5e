/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Layouts are those that glibc fixes in its ABI (sysdeps/nptl/bits/struct_mutex.h, struct_rwlock.h of
 * x86): programs compiled against them cannot be changed, so neither can they.
 */
#include "agent/collect/waitsfor.h"

#include <dlfcn.h>
#include <linux/futex.h>
#include <string.h>

#include "agent/base/attr.h"
#include "agent/base/sys.h"
#include "agent/collect/ehframe.h"
#include "agent/collect/peek.h"
#include "agent/collect/stacks.h"
#include "agent/collect/task.h"

enum {
	FRAMES = 6,	       /* libc's own frames above its system call: never more */
	CONTENDED = 2,	       /* libc's word for "locked, and somebody waits" */
	TID_MAX = 1 << 22,     /* PID_MAX_LIMIT of the kernel */
	MUTEX_KINDS = 0x3ff,   /* bits of __kind that have a meaning */
	MUTEX_ROBUST = 0x10,   /* among them */
	WORD_TID = 0x3fffffff, /* FUTEX_TID_MASK */
};

struct mutex_words {
	uint32_t lock, count, owner, nusers, kind;
};
struct rwlock_words {
	uint32_t readers, writers, wrphase_futex, writers_futex, pad[2], cur_writer, shared;
};

/* What stands for each: libc's function that a thread sleeps in. */
static struct {
	const char *name;
	enum waitsfor_what what;
	uintptr_t start;
} functions[] = {
	{ "pthread_mutex_lock", WAITS_FOR_MUTEX, 0 },
	{ "pthread_mutex_timedlock", WAITS_FOR_MUTEX, 0 },
	{ "pthread_mutex_clocklock", WAITS_FOR_MUTEX, 0 },
	{ "pthread_cond_wait", WAITS_FOR_CONDITION, 0 },
	{ "pthread_cond_timedwait", WAITS_FOR_CONDITION, 0 },
	{ "pthread_cond_clockwait", WAITS_FOR_CONDITION, 0 },
	{ "cnd_wait", WAITS_FOR_CONDITION, 0 },
	{ "cnd_timedwait", WAITS_FOR_CONDITION, 0 },
	{ "pthread_rwlock_rdlock", WAITS_FOR_RWLOCK, 0 },
	{ "pthread_rwlock_timedrdlock", WAITS_FOR_RWLOCK, 0 },
	{ "pthread_rwlock_clockrdlock", WAITS_FOR_RWLOCK, 0 },
	{ "pthread_rwlock_wrlock", WAITS_FOR_RWLOCK, 0 },
	{ "pthread_rwlock_timedwrlock", WAITS_FOR_RWLOCK, 0 },
	{ "pthread_rwlock_clockwrlock", WAITS_FOR_RWLOCK, 0 },
	{ "sem_wait", WAITS_FOR_SEMAPHORE, 0 },
	{ "sem_timedwait", WAITS_FOR_SEMAPHORE, 0 },
	{ "sem_clockwait", WAITS_FOR_SEMAPHORE, 0 },
	{ "pthread_barrier_wait", WAITS_FOR_BARRIER, 0 },
	{ "pthread_join", WAITS_FOR_JOIN, 0 },
};

static struct {
	uintptr_t syscall;	    /* libc's syscall(): who calls it makes objects of its own */
	uintptr_t libc_lo, libc_hi; /* the object that holds pthread_mutex_lock */
} self;

void waitsfor_start(void)
{
	struct eh_object libc;

	for (size_t i = 0; i < ARRAY_LEN(functions); i++)
		functions[i].start = (uintptr_t)dlsym(RTLD_NEXT, functions[i].name);
	self.syscall = (uintptr_t)dlsym(RTLD_NEXT, "syscall");
	if (functions[0].start && eh_object_at(functions[0].start, &libc)) {
		self.libc_lo = libc.start;
		self.libc_hi = libc.end;
	}
}

const char *waitsfor_name(enum waitsfor_what what)
{
	static const char *const names[] = {
		[WAITS_FOR_NOTHING] = "",	    [WAITS_FOR_FUTEX] = "futex",
		[WAITS_FOR_LOCK] = "lock of libc",  [WAITS_FOR_MUTEX] = "mutex",
		[WAITS_FOR_RWLOCK] = "rwlock",	    [WAITS_FOR_CONDITION] = "condition",
		[WAITS_FOR_SEMAPHORE] = "semaphore", [WAITS_FOR_BARRIER] = "barrier",
		[WAITS_FOR_JOIN] = "thread",
	};

	return names[what];
}

static bool in_libc(uintptr_t pc)
{
	return pc >= self.libc_lo && pc < self.libc_hi;
}

static uintptr_t function_of(uintptr_t pc)
{
	struct eh_object object;
	struct eh_fde fde;

	return eh_object_at(pc, &object) && eh_find(&object, pc, &fde) == EH_OK ? fde.start : 0;
}

/* Which of libc's functions the thread sleeps in; WAITS_FOR_FUTEX: none that we know, but one of
 * libc's; WAITS_FOR_NOTHING: it is not libc that waits. */
static enum waitsfor_what function_says(const struct stack *stack)
{
	enum waitsfor_what found = WAITS_FOR_NOTHING;

	for (uint32_t i = 0; i < stack->depth && i < FRAMES && in_libc(stack->pcs[i]); i++) {
		uintptr_t start = function_of(stack->pcs[i]);

		if (start && start == self.syscall)
			return WAITS_FOR_NOTHING;
		found = WAITS_FOR_FUTEX;
		for (size_t k = 0; k < ARRAY_LEN(functions); k++)
			if (start && functions[k].start == start)
				return functions[k].what;
	}
	return found;
}

static bool read_words(const struct peeker *peeker, uintptr_t at, void *out, size_t size)
{
	return peek_memory(peeker, at, out, size) == (long)size;
}

static bool is_tid(uint32_t n)
{
	return n > 0 && n <= TID_MAX;
}

static bool is_alive(int tid)
{
	return SYS3(SYS_tgkill, sys_getpid(), tid, 0) != -ESRCH;
}

static void owned(struct waitsfor *out, enum waitsfor_what what, uintptr_t address, int owner)
{
	out->what = (uint8_t)what;
	out->address = address;
	out->owner = owner;
	out->gone = owner && !is_alive(owner);
}

/* A lock whose word says "contended": a mutex if libc's function says so, or if what follows the word
 * is what follows in a mutex that a living thread holds (the lock taken again at the end of a wait for
 * a condition is inside a function that we cannot look up). */
static bool find_mutex(const struct peeker *peeker, uintptr_t word, enum waitsfor_what says,
		       struct waitsfor *out)
{
	struct mutex_words m;

	if (!read_words(peeker, word, &m, sizeof(m)) || m.lock != CONTENDED)
		return false;
	if (!is_tid(m.owner) || !m.nusers || m.nusers > TID_MAX || m.kind & ~(uint32_t)MUTEX_KINDS)
		return false;
	if (says != WAITS_FOR_MUTEX && !is_alive((int)m.owner))
		return false;
	owned(out, WAITS_FOR_MUTEX, word, (int)m.owner);
	return true;
}

/* The word of a robust mutex holds its owner, as the kernel wants it. */
static bool find_robust(const struct peeker *peeker, uintptr_t word, uint32_t val, struct waitsfor *out)
{
	struct mutex_words m;

	if (!(val & FUTEX_WAITERS) || !is_tid(val & WORD_TID) || !read_words(peeker, word, &m, sizeof(m)) ||
	    m.lock != val || !(m.kind & MUTEX_ROBUST) || m.kind & ~(uint32_t)MUTEX_KINDS)
		return false;
	owned(out, WAITS_FOR_MUTEX, word, (int)(val & WORD_TID));
	return true;
}

/* Readers and writers wait at two words of the lock. Only a writer writes down who it is. */
static void find_rwlock(const struct peeker *peeker, uintptr_t word, struct waitsfor *out)
{
	static const size_t at[] = { offsetof(struct rwlock_words, wrphase_futex),
				     offsetof(struct rwlock_words, writers_futex) };
	struct rwlock_words l;

	owned(out, WAITS_FOR_RWLOCK, word, 0);
	for (size_t i = 0; i < ARRAY_LEN(at); i++) {
		if (!read_words(peeker, word - at[i], &l, sizeof(l)) || !is_tid(l.cur_writer) ||
		    l.shared > 1)
			continue;
		owned(out, WAITS_FOR_RWLOCK, word - at[i], (int)l.cur_writer);
		return;
	}
}

static bool find_join(const struct peeker *peeker, const struct task_call *call, struct waitsfor *out)
{
	uint32_t word, val = (uint32_t)call->arg[2];

	if (!is_tid(val) || (call->arg[1] & FUTEX_PRIVATE_FLAG) || !is_alive((int)val) ||
	    !read_words(peeker, call->arg[0], &word, sizeof(word)) || word != val)
		return false;
	owned(out, WAITS_FOR_JOIN, 0, (int)val);
	return true;
}

static void find_in_libc(const struct peeker *peeker, const struct task_call *call,
			 enum waitsfor_what says, struct waitsfor *out)
{
	uint32_t val = (uint32_t)call->arg[2];
	uintptr_t word = call->arg[0];

	if (val == CONTENDED && says != WAITS_FOR_RWLOCK && says != WAITS_FOR_SEMAPHORE) {
		if (find_mutex(peeker, word, says, out))
			return;
		if (says == WAITS_FOR_FUTEX) {
			owned(out, WAITS_FOR_LOCK, word, 0);
			return;
		}
	}
	if ((says == WAITS_FOR_FUTEX || says == WAITS_FOR_MUTEX) && find_robust(peeker, word, val, out))
		return;
	if (says == WAITS_FOR_RWLOCK)
		find_rwlock(peeker, word, out);
	else if ((says == WAITS_FOR_FUTEX || says == WAITS_FOR_JOIN) &&
		 find_join(peeker, call, out))
		return;
	else if (says != WAITS_FOR_JOIN)
		owned(out, says, says == WAITS_FOR_CONDITION || says == WAITS_FOR_BARRIER ? 0 : word, 0);
}

void waitsfor_find(const struct peeker *peeker, const struct task_call *call, const struct stack *stack,
		   struct waitsfor *out)
{
	unsigned op = (unsigned)call->arg[1] & FUTEX_CMD_MASK;
	enum waitsfor_what says;
	uint32_t word;

	memset(out, 0, sizeof(*out));
	if (call->nr != SYS_futex)
		return;
	out->what = WAITS_FOR_FUTEX;
	out->address = call->arg[0];
	out->timed = call->arg[3] != 0;
	if (op == FUTEX_LOCK_PI || op == FUTEX_LOCK_PI2) {
		/* the kernel's own rule: the word holds the owner, whoever made the lock */
		if (read_words(peeker, call->arg[0], &word, sizeof(word)) && is_tid(word & WORD_TID))
			owned(out, WAITS_FOR_MUTEX, call->arg[0], (int)(word & WORD_TID));
		return;
	}
	if (op != FUTEX_WAIT && op != FUTEX_WAIT_BITSET)
		return;
	says = function_says(stack);
	if (says != WAITS_FOR_NOTHING)
		find_in_libc(peeker, call, says, out);
}
