/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What can be told of a mutex by looking at it, without changing it. Context: hook.
 *
 * glibc's __lock is 0 while the mutex is free. Where the layout is another one (hooks/layout.h), mutexes
 * are tried before they are waited for, which costs more but asks nothing of their inside.
 */
#ifndef HOOKS_MUTEX_H
#define HOOKS_MUTEX_H

#include <pthread.h>
#include <stdbool.h>

#include "hooks/layout.h"

/* 0: it is free. Else it may be taken, or nothing can be told. All that a lock of a free mutex costs. */
static inline int mutex_word(const pthread_mutex_t *mutex)
{
	return __atomic_load_n(&mutex->__data.__lock, __ATOMIC_RELAXED) | layout_strange.mutex;
}

/* Its word is not 0, but a lock of it will return without having waited: it is the caller's own, its
 * owner is dead, or the word is a priority ceiling. */
bool mutex_returns_at_once(const pthread_mutex_t *mutex);

/* The caller has it since it looked free, and yet its word says that somebody sleeps: in all likelihood
 * the caller itself did, and was not timed. */
static inline bool mutex_was_taken(const pthread_mutex_t *mutex)
{
	int word = __atomic_load_n(&mutex->__data.__lock, __ATOMIC_RELAXED);

	return word == 2 || word < 0;
}
void mutex_count_untimed(void);

/* Closes the segments of those who wait, unless this unlock is one that lets nobody in. */
void mutex_unlocks(const pthread_mutex_t *mutex, const void *function);

#endif
