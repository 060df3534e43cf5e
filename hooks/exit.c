/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The ends of a process that run no exit handlers. Nothing is done here unless somebody asked for it
 * (collect/ending.h). The exec family is in agent/arch/<cpu>/exec.S: its callers may pass any number of
 * arguments.
 *
 * Context: hook.
 */
#include "agent/base/attr.h"
#include "agent/collect/ending.h"
#include "hooks/real.h"

EXPORT void _exit(int status)
{
	ending_exit();
	real._exit(status);
	__builtin_unreachable();
}

EXPORT void _Exit(int status)
{
	ending_exit();
	real._Exit(status);
	__builtin_unreachable();
}

EXPORT void quick_exit(int status)
{
	ending_exit();
	real.quick_exit(status);
	__builtin_unreachable();
}
