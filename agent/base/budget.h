/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The agent's memory budget: PPROF_MAX_MEM bytes for everything that grows (stacks, buckets, live
 * objects, encoders, caches). Whoever maps memory takes it here first; a refusal is an ordinary
 * event that its caller counts and survives.
 *
 * Context: signal, hook, agent, init, child.
 */
#ifndef BASE_BUDGET_H
#define BASE_BUDGET_H

#include <stdbool.h>
#include <stddef.h>

/* Sets the limit in bytes. Context: init. */
void budget_set(size_t limit);
size_t budget_limit(void);
size_t budget_used(void);

/* May size more bytes be taken for ever? Records get three quarters of the budget, so that there is
 * always memory to answer a request with. */
bool budget_can_keep(size_t size);

/* Takes size bytes, or returns false and takes nothing. */
bool budget_take(size_t size);
void budget_give(size_t size);

/* Anonymous zeroed memory charged to the budget; NULL when over it or when the kernel refuses. */
void *budget_map(size_t size);
void budget_unmap(void *at, size_t size);

#endif
