/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The word that says who has a read-write lock, in glibc's layout (nptl/pthread_rwlock_common.c): the
 * number of readers above three flags. Context: hook.
 */
#ifndef HOOKS_RWLOCK_H
#define HOOKS_RWLOCK_H

#include <pthread.h>

#include "agent/base/attr.h"

enum {
	RWLOCK_WRITE_PHASE = 1,	 /* a writer has it, or had it last */
	RWLOCK_WRITE_LOCKED = 2, /* a writer has it or waits for it first */
	RWLOCK_READER_SHIFT = 3,
	RWLOCK_WRITER_SLEEPS = 2, /* in __writers_futex */
};

INLINE unsigned rwlock_word(const pthread_rwlock_t *lock)
{
	return __atomic_load_n(&lock->__data.__readers, __ATOMIC_RELAXED);
}

#endif
