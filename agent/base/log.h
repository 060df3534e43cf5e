/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The agent's log. Between log_open_stderr() and log_close_stderr(), which is before main runs, lines
 * go to descriptor 2 as well, each in one write; after it descriptor 2 may be the target's database
 * (hazard I2), so lines go to memory only and are read on /debug/pprof/agent.
 */
#ifndef BASE_LOG_H
#define BASE_LOG_H

#include <stdbool.h>

#include "agent/base/attr.h"

struct sink;

enum log_level { LOG_ERROR, LOG_WARN, LOG_INFO, LOG_DEBUG };

/* What reaches descriptor 2 while it is ours; memory takes everything up to LOG_INFO, and LOG_DEBUG
 * when the level is LOG_DEBUG. Context: init. */
void log_set_level(enum log_level level);

/* One line without newline. Context: hook, agent, init, child; not signal. */
void log_line(enum log_level level, const char *format, ...) PRINTF(2, 3);

/* Until this call, lines wait in memory; then those up to the level go to descriptor 2 if `say`, and
 * later ones too. Context: init. */
void log_open_stderr(bool say);

/* No more stderr. Context: init. */
void log_close_stderr(void);

/* Lines up to the level that wait for log_open_stderr. Context: init. */
unsigned log_waiting(void);

/* The remembered lines, oldest first. Context: agent. */
int log_dump(struct sink *sink);

/* Context: child. */
void log_child(void);

#endif
