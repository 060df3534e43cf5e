/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Hooks of functions that wait for what is no lock: time, descriptors, files, children. Only execution
 * traces show these. While none runs such a hook is one branch and a jump to the real function: a
 * call with a return of its own would cost 5 ns behind a system call instead of 1, because processors
 * forget in the kernel where returns go.
 *
 * What happens while a trace runs is a function of its own, so that the other way needs no frame. It has
 * nothing to undo: the real call may be left by longjmp or cancellation. Context: hook.
 */
#ifndef HOOKS_TRACED_H
#define HOOKS_TRACED_H

#include "agent/collect/contention.h"
#include "hooks/real.h"

#define TRACED_NO_FD (-1)

/*
 * Defines `scope type name parameters`, whose work is real.function(names of the parameters).
 * reason: an enum trace_reason; TRACE_IO: the descriptor `fd` decides. Both may use the parameters.
 */
#define TRACED(scope, type, name, parameters, reason, fd, function, ...)                             \
	static NOINLINE type name##_traced parameters                                                \
	{                                                                                            \
		struct contention_wait wait_;                                                        \
		bool recorded_ = contention_trace_before(&wait_, reason,                             \
							 (const void *)real.function);               \
		type result_ = real.function(__VA_ARGS__);                                           \
                                                                                                     \
		if (recorded_)                                                                       \
			contention_trace_after(&wait_, fd);                                          \
		return result_;                                                                      \
	}                                                                                            \
                                                                                                     \
	scope type name parameters                                                                   \
	{                                                                                            \
		if (tracebuf_on())                                                                   \
			return name##_traced(__VA_ARGS__);                                           \
		return real.function(__VA_ARGS__);                                                   \
	}

/* A hook: the function of that name. */
#define TRACED_HOOK(type, name, parameters, reason, fd, ...) \
	TRACED(EXPORT, type, name, parameters, reason, fd, name, __VA_ARGS__)

#endif
