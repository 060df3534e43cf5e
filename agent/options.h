/* SPDX-License-Identifier: Apache-2.0 */
/* The settings, from the table in options.def. Read once, in the constructor; constant after it. */
#ifndef AGENT_OPTIONS_H
#define AGENT_OPTIONS_H

#include <stddef.h>
#include <stdint.h>

#include "encode/desc.h"

#define OPTION_TYPE_TEXT   const char *
#define OPTION_TYPE_INT	   int64_t
#define OPTION_TYPE_SWITCH int64_t
#define OPTION_TYPE_CHOICE int64_t

struct options {
#define OPTION(field, kind, name, fallback, min, max, unit, help) OPTION_TYPE_##kind field;
#include "agent/options.def"
#undef OPTION
};

struct sink;

/* Constant view; defaults before options_load. Context: any. */
extern const struct options *const options;

/* Reads PPROF_* from this environment; a bad value gets one clear line in the log and the default.
 * Copies every text. Context: init (constructor, hence not getenv: docs/architecture.md). */
void options_load(char **envp);

/* "PPROF_NAME=value (default|set)", one a line; secrets are shown as "(set)". Context: agent. */
int options_print(struct sink *sink);

#endif
