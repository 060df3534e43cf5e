/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The agent's log. Until log_close_stderr() a line also goes to descriptor 2, in one write; after
 * it descriptor 2 may be the target's database (hazard I2), so lines go to memory only and are
 * read on /debug/pprof/agent.
 */
#ifndef BASE_LOG_H
#define BASE_LOG_H

#include "agent/base/attr.h"

struct sink;

enum log_level { LOG_ERROR, LOG_WARN, LOG_INFO, LOG_DEBUG };

/* What reaches descriptor 2 while it is ours; memory takes everything up to LOG_INFO, and LOG_DEBUG
 * when the level is LOG_DEBUG. Context: init. */
void log_set_level(enum log_level level);

/* One line without newline. Context: hook, agent, init, child; not signal. */
void log_line(enum log_level level, const char *format, ...) PRINTF(2, 3);

/* No more stderr. Context: init. */
void log_close_stderr(void);

/* The remembered lines, oldest first. Context: agent. */
int log_dump(struct sink *sink);

/* Context: child. */
void log_child(void);

#endif
