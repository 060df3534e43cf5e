/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/collect/process.h"

#include "agent/base/sys.h"
#include "agent/base/tls.h"
#include "agent/collect/heap.h"

enum { LATER_NS = 200000000 };

_Atomic int process_pending;

static struct {
	enum process_role role;
	void (*start)(void);
	unsigned generation;
	_Atomic bool server;  /* setsid or daemon was called here, and no fork came after it */
	uint64_t forked_ns;   /* CLOCK_MONOTONIC of our birth by fork */
	bool own_session;     /* setsid or daemon was called in this very process */
	int parent;	      /* the process that forked us, 0 in the exec'ed one */
	volatile int *alive;  /* NULL: the kernel cannot do it */
	int forker;	      /* this process, as a child of it will need to know */
} self;

enum process_role process_role(void)
{
	return self.role;
}

unsigned process_generation(void)
{
	return self.generation;
}

/*
 * A page that the kernel empties in every forked child: fork() and its kin run our fork handlers, which
 * fill it again; a raw SYS_fork or _Fork does not (a vfork child shares its parent's memory and sees it
 * intact).
 */
void process_find_strays(void)
{
	self.alive = sys_map(4096);
	if (!self.alive)
		return;
	if (sys_advise((void *)self.alive, 4096, 18 /* MADV_WIPEONFORK */) != 0) {
		sys_unmap((void *)self.alive, 4096);
		self.alive = NULL;
		return;
	}
	*self.alive = 1;
}

bool process_is_stray(void)
{
	return self.alive && !*self.alive;
}

void process_set(enum process_role role, void (*start)(void))
{
	self.role = role;
	self.start = start;
}

void process_start_later(void)
{
	self.forked_ns = sys_clock_ns(CLOCK_MONOTONIC);
	heap_ask_again();
	atomic_store(&process_pending, PENDING_LATER);
}

static void start_once(void)
{
	int was = atomic_exchange(&process_pending, PENDING_NONE);

	if (was == PENDING_NONE)
		return;
	self.start();
}

void process_poke(void)
{
	int pending = atomic_load_explicit(&process_pending, memory_order_relaxed);

	if (pending == PENDING_NONE || self.role != PROCESS_TARGET)
		return;
	if (pending == PENDING_LATER &&
	    sys_clock_ns(CLOCK_MONOTONIC) - self.forked_ns < LATER_NS)
		return;
	if (!guard_enter())
		return;
	start_once();
	guard_leave();
}

void process_on_setsid(void)
{
	if (self.role != PROCESS_TARGET)
		return;
	atomic_store(&self.server, true);
	self.own_session = true;
	if (atomic_load(&process_pending) != PENDING_NONE) {
		atomic_store(&process_pending, PENDING_NOW);
		process_poke();
	}
}

void process_after_fork(void)
{
	if (atomic_load_explicit(&process_pending, memory_order_relaxed) == PENDING_NOW)
		process_poke();
}

void process_child(void)
{
	self.generation++;
	if (self.alive)
		*self.alive = 1;
	self.parent = self.forker;
	self.own_session = false;
	self.forked_ns = sys_clock_ns(CLOCK_MONOTONIC);
	heap_ask_again(); /* the next allocation may start the agent */
	if (self.role == PROCESS_TARGET)
		atomic_store(&process_pending, atomic_load(&self.server) ? PENDING_NOW : PENDING_LATER);
}

/* Not asked of the kernel by the child: its parent may be gone by then. */
void process_before_fork(void)
{
	self.forker = sys_getpid();
}

void process_forked(void)
{
	atomic_store(&self.server, false);
}

bool process_is_orphan(void)
{
	return self.parent && sys_getppid() != self.parent;
}

bool process_is_server(void)
{
	return self.own_session;
}
