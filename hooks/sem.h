/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The value of a semaphore in glibc's layout (struct new_sem of 64-bit platforms): the lower half of its
 * first 64 bits. Context: hook.
 */
#ifndef HOOKS_SEM_H
#define HOOKS_SEM_H

#include <semaphore.h>
#include <stdint.h>

#include "agent/base/attr.h"

INLINE uint32_t sem_value(const sem_t *sem)
{
	return (uint32_t)__atomic_load_n((const uint64_t *)(const void *)sem, __ATOMIC_RELAXED);
}

#endif
