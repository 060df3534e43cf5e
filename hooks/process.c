/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The calls by which a process becomes another one. vfork and clone are never wrapped (hazard B6); the
 * exec family is only passed through (agent/arch/<cpu>/exec.S). What must happen inside fork happens in
 * pthread_atfork handlers, which also cover the forks that libc makes itself.
 *
 * Context: hook.
 */
#include "agent/base/attr.h"
#include "agent/collect/process.h"
#include "hooks/real.h"

EXPORT pid_t fork(void)
{
	pid_t pid = real.fork();

	if (pid == 0)
		process_after_fork();
	return pid;
}

EXPORT int daemon(int nochdir, int noclose)
{
	int err = real.daemon(nochdir, noclose);

	if (err == 0)
		process_on_setsid();
	return err;
}

EXPORT pid_t setsid(void)
{
	pid_t pid = real.setsid();

	if (pid != (pid_t)-1)
		process_on_setsid();
	return pid;
}
