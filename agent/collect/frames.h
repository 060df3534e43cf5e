/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A stack as we store it: program counters, leaf first. A frame that was interrupted (the leaf of a
 * signal, the frame behind a signal frame) has its exact PC; every other frame has its return
 * address minus one, so that a PC always lies inside the call that it stands for. No frame of the
 * agent itself is ever stored.
 *
 * PCs below FRAME_MARKS are not addresses but marks that encode/ shows as a named frame.
 */
#ifndef COLLECT_FRAMES_H
#define COLLECT_FRAMES_H

#include <stdint.h>

enum frame_mark {
	FRAME_TRUNCATED = 1,	 /* root: the stack is deeper than PPROF_MAX_FRAMES */
	FRAME_OTHER = 2,	 /* only frame: the stack table was full */
	FRAME_AGENT = 3,	 /* only frame: the sample hit the agent at work in this thread */
	FRAME_LATE = 4,		 /* leaf: CPU time used after the last tick that the kernel gave us */
	FRAME_NO_REGISTERS = 5,	 /* root: the walk needed a register that cannot be read */
	FRAME_UNKNOWN_ROOT = 6,	 /* root: the walk ended before a known thread root */
	FRAME_UNSEEN = 7,	 /* only frame: a contended lock became free by a way that we do not see */
	FRAME_NOT_READ = 8,	 /* only frame: the thread ran, and did not answer in time */
	FRAME_MARKS = 64
};

enum { FRAMES_MAX = 512 }; /* upper limit of PPROF_MAX_FRAMES */

/* The text that stands for a mark: "[truncated]" and so on; NULL if it is none. Context: any. */
static inline const char *frame_mark_name(uintptr_t pc)
{
	switch (pc) {
	case FRAME_TRUNCATED:
		return "[truncated]";
	case FRAME_OTHER:
		return "[other stacks]";
	case FRAME_AGENT:
		return "[pprof agent]";
	case FRAME_LATE:
		return "[after last tick]";
	case FRAME_NO_REGISTERS:
		return "[registers unknown]";
	case FRAME_UNKNOWN_ROOT:
		return "[unknown caller]";
	case FRAME_UNSEEN:
		return "[unlock not seen]";
	case FRAME_NOT_READ:
		return "[running, not read]";
	default:
		return pc < FRAME_MARKS ? "[mark]" : (const char *)0;
	}
}

#endif
