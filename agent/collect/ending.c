/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/collect/ending.h"

_Atomic int ending_armed;

static struct {
	void (*exits)(void);
	void (*execs)(void);
} self;

void ending_notify(void (*exits)(void), void (*execs)(void))
{
	self.exits = exits;
	self.execs = execs;
	atomic_store(&ending_armed, 1);
}

void ending_exit(void)
{
	if (atomic_load_explicit(&ending_armed, memory_order_acquire))
		self.exits();
}

void ending_exec(void)
{
	if (atomic_load_explicit(&ending_armed, memory_order_acquire))
		self.execs();
}
