/* SPDX-License-Identifier: Apache-2.0 */
/* Which programs are not looked at. Context: init. */
#ifndef AGENT_LAUNCHERS_H
#define AGENT_LAUNCHERS_H

#include <stdbool.h>

/* True for programs that only start others: they never take the port, unless PPROF_EXE names them.
 * exe: file name of the program without directories; argv as main will see it. */
bool launchers_is_one(const char *exe, char **argv);

/* Shell pattern with *, ? and [...] against a name. */
bool launchers_match(const char *pattern, const char *name);

#endif
