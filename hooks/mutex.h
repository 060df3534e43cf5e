/* SPDX-License-Identifier: Apache-2.0 */
/* What functions that give up a mutex have in common. Context: hook. */
#ifndef HOOKS_MUTEX_H
#define HOOKS_MUTEX_H

#include <pthread.h>
#include <stdbool.h>

#include "agent/base/attr.h"
#include "agent/collect/locks.h"

/* The mutex is free, and nothing speaks against leaving it to the real function (see timed.h). */
INLINE bool mutex_looks_free(const pthread_mutex_t *mutex)
{
	unsigned word = (unsigned)__atomic_load_n(&mutex->__data.__lock, __ATOMIC_RELAXED);

	return LIKELY(!(word | locks_busy(mutex)));
}

/* The caller, which has it, is about to give it up: does that let somebody in? To be asked if
 * locks_waited(mutex). */
bool mutex_lets_in(const pthread_mutex_t *mutex);

#endif
