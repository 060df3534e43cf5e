/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Thread creation: the new thread first runs our registration, which ends in a tail jump to the
 * program's routine, so that no frame of ours stays on its stack. Without memory for that the thread
 * is created untouched.
 *
 * Context: hook.
 */
#include "agent/base/attr.h"
#include "agent/base/tls.h"
#include "agent/collect/contention.h"
#include "agent/collect/launch.h"
#include "agent/collect/process.h"
#include "agent/collect/record.h"
#include "hooks/real.h"

/* The size of the stack that the thread will get; 0 when that cannot be told. */
static size_t stack_size(const pthread_attr_t *attr)
{
	pthread_attr_t defaults;
	size_t size = 0;

	if (attr)
		return pthread_attr_getstacksize(attr, &size) == 0 ? size : 0;
	if (pthread_attr_init(&defaults) != 0)
		return 0;
	if (pthread_attr_getstacksize(&defaults, &size) != 0)
		size = 0;
	pthread_attr_destroy(&defaults);
	return size;
}

/* by: receives the stack of the caller, with `function` as its leaf. */
static struct thread_launch *launch(void *(*routine)(void *), void *arg, const pthread_attr_t *attr,
				    const void *function, const struct stack **by)
{
	struct thread_launch *made;

	if (!process_is_target() || process_is_stray() || !guard_enter())
		return NULL;
	*by = record_here_at(function);
	made = launch_new(routine, arg, stack_size(attr), *by);
	guard_leave();
	return made;
}

EXPORT int pthread_create(pthread_t *thread, const pthread_attr_t *attr, void *(*routine)(void *),
			  void *arg)
{
	const struct stack *by;
	struct thread_launch *made;
	int err;

	process_poke();
	made = launch(routine, arg, attr, (const void *)real.pthread_create, &by);
	if (!made)
		return real.pthread_create(thread, attr, routine, arg);
	err = real.pthread_create(thread, attr, launch_run, made);
	if (err)
		launch_abandon(made);
	else
		contention_created(by);
	return err;
}

/* glibc calls a C11 thread's routine as one that returns int: the value passes through launch_run's
 * tail jump in the same register. */
EXPORT int thrd_create(thrd_t *thread, thrd_start_t routine, void *arg)
{
	const struct stack *by;
	struct thread_launch *made;
	int err;

	process_poke();
	made = launch((void *(*)(void *))(void (*)(void))routine, arg, NULL,
		      (const void *)real.thrd_create, &by);
	if (!made)
		return real.thrd_create(thread, routine, arg);
	err = real.thrd_create(thread, (thrd_start_t)(void (*)(void))launch_run, made);
	if (err != thrd_success)
		launch_abandon(made);
	else
		contention_created(by);
	return err;
}
