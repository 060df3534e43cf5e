/* SPDX-License-Identifier: Apache-2.0 */
/* Context: init. */
#include "hooks/layout.h"

#include "agent/base/sys.h"
#include "agent/collect/locks.h"
#include "hooks/real.h"
#include "hooks/rwlock.h"
#include "hooks/sem.h"

struct layout_strange layout_strange = { 1, 1, 1 };

enum { RECURSIVE = 1, ANY_VALUE = 5 };

static bool knows_mutex(void)
{
	pthread_mutex_t m = PTHREAD_RECURSIVE_MUTEX_INITIALIZER_NP;
	bool known = m.__data.__kind == RECURSIVE && !m.__data.__lock;

	if (real.pthread_mutex_lock(&m) != 0)
		return false;
	known = known && m.__data.__lock == 1 && m.__data.__owner == sys_gettid() &&
		m.__data.__count == 1;
	if (real.pthread_mutex_lock(&m) != 0)
		return false;
	known = known && m.__data.__count == 2;
	real.pthread_mutex_unlock(&m);
	real.pthread_mutex_unlock(&m);
	return known && !m.__data.__lock;
}

static bool knows_rwlock(void)
{
	pthread_rwlock_t l = PTHREAD_RWLOCK_INITIALIZER;
	bool known = !l.__data.__readers;

	if (real.pthread_rwlock_rdlock(&l) != 0)
		return false;
	known = known && l.__data.__readers == 1 << RWLOCK_READER_SHIFT;
	real.pthread_rwlock_unlock(&l);
	known = known && !l.__data.__readers;
	if (real.pthread_rwlock_wrlock(&l) != 0)
		return false;
	known = known && l.__data.__readers == (RWLOCK_WRITE_PHASE | RWLOCK_WRITE_LOCKED);
	real.pthread_rwlock_unlock(&l);
	return known && !(l.__data.__readers & ~(unsigned)RWLOCK_WRITE_PHASE);
}

static bool knows_sem(void)
{
	sem_t s;
	bool known;

	if (sem_init(&s, 0, ANY_VALUE) != 0)
		return false;
	known = sem_value(&s) == ANY_VALUE;
	if (real.sem_wait(&s) != 0)
		return false;
	return known && sem_value(&s) == ANY_VALUE - 1;
}

void layout_start(void)
{
	layout_strange.mutex = !knows_mutex();
	layout_strange.rwlock = !knows_rwlock();
	layout_strange.sem = !knows_sem();
	if (layout_strange.mutex || layout_strange.rwlock || layout_strange.sem)
		locks_all_busy();
}
