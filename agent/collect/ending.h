/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The ends of a process that can be seen coming: _exit and its kin, exec, and deaths by a signal whose
 * default action kills (collect/deaths.h). Nothing here does anything unless somebody asked to be told
 * (PPROF_OUTPUT, PPROF_SD_DIR); exit() itself is told of by libc's own list of exit handlers.
 */
#ifndef COLLECT_ENDING_H
#define COLLECT_ENDING_H

#include <stdatomic.h>

#include "agent/base/attr.h"

/* Not 0: somebody is to be told. Read by agent/arch/<cpu>/exec.S as well. */
extern _Atomic int ending_armed HIDDEN;

/* exits: the process is about to end, or nearly so; it may be told more than once. execs: it is about to
 * become another program, if the kernel agrees. Context: init. */
void ending_notify(void (*exits)(void), void (*execs)(void));

/* Context: hook. */
void ending_exit(void);
void ending_exec(void) HIDDEN;

#endif
