/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A thread's state in the words of Go's dumps: "running", "IO wait", "semacquire", "sleep", "syscall",
 * with what it waits for behind. Context: agent.
 */
#ifndef AGENT_WAITWORDS_H
#define AGENT_WAITWORDS_H

#include "agent/base/sink.h"

struct dump;
struct dump_thread;

/* What stands between the brackets: "semacquire, mutex 0x7ffe10 held by 1235 \"worker\", 5 minutes". */
int waitwords_put(struct sink *to, const struct dump *dump, const struct dump_thread *thread);

/* The name between quotes; bytes that are not UTF-8 or not printable are written as \xNN. */
int waitwords_name(struct sink *to, const char *name);

/* "mutex 0x7ffe10 held by 1235 \"worker\"": what it waits for, or nothing. */
int waitwords_object(struct sink *to, const struct dump *dump, const struct dump_thread *thread);

#endif
