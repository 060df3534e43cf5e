/* SPDX-License-Identifier: Apache-2.0 */
/* What /proc/PID/stat says of a process: proc(5). Context: agent. */
#ifndef AGENT_PROCSTAT_H
#define AGENT_PROCSTAT_H

#include <stdbool.h>
#include <stdint.h>

enum procstat_field { PROCSTAT_PARENT = 4, PROCSTAT_USER_TICKS = 14, PROCSTAT_SYSTEM_TICKS, PROCSTAT_STARTED = 22 };

struct procstat {
	char text[1024];
	const char *name; /* ends with a NUL of its own */
	const char *rest; /* from field 3 on */
};

/* process: a number, or "self". false: there is none such, or it cannot be read. */
bool procstat_read(struct procstat *stat, const char *process);

/* A field that is a number; 0 when it is not there. */
uint64_t procstat_number(const struct procstat *stat, enum procstat_field field);

#endif
