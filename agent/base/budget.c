/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/base/budget.h"

#include <stdatomic.h>

#include "agent/base/sys.h"

static struct {
	_Atomic size_t limit; /* bytes; 0 before budget_set: then the default below holds */
	_Atomic size_t used;
} self = { .limit = (size_t)32 << 20 };

void budget_set(size_t limit)
{
	atomic_store_explicit(&self.limit, limit, memory_order_relaxed);
}

size_t budget_limit(void)
{
	return atomic_load_explicit(&self.limit, memory_order_relaxed);
}

size_t budget_used(void)
{
	return atomic_load_explicit(&self.used, memory_order_relaxed);
}

bool budget_can_keep(size_t size)
{
	return budget_used() + size <= budget_limit() / 4 * 3;
}

bool budget_take(size_t size)
{
	size_t before = atomic_fetch_add_explicit(&self.used, size, memory_order_relaxed);

	if (before + size >= before && before + size <= budget_limit())
		return true;
	atomic_fetch_sub_explicit(&self.used, size, memory_order_relaxed);
	return false;
}

void budget_give(size_t size)
{
	atomic_fetch_sub_explicit(&self.used, size, memory_order_relaxed);
}

void *budget_map(size_t size)
{
	void *at;

	if (!budget_take(size))
		return NULL;
	at = sys_map(size);
	if (!at)
		budget_give(size);
	return at;
}

void budget_unmap(void *at, size_t size)
{
	sys_unmap(at, size);
	budget_give(size);
}
