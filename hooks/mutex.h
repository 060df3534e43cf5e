/* SPDX-License-Identifier: Apache-2.0 */
/* What functions that give up a mutex have in common. Context: hook. */
#ifndef HOOKS_MUTEX_H
#define HOOKS_MUTEX_H

#include <pthread.h>

/* The caller, which has it, is about to give it up through `function`. Call it if locks_waited(mutex):
 * closes the segments of those who wait, unless this unlock lets nobody in. */
void mutex_unlocks(const pthread_mutex_t *mutex, const void *function);

#endif
