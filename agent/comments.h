/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Lines for Profile.comment: what a profile says of itself. Context: agent.
 */
#ifndef AGENT_COMMENTS_H
#define AGENT_COMMENTS_H

#include <stddef.h>

#include "agent/base/attr.h"

/* The lines are kept in it, so it lives until the profile is written. What has no room is left out. */
enum { COMMENTS_MAX = 16, COMMENTS_TEXT = 4096 };
struct comments {
	unsigned n;
	size_t used;
	const char *lines[COMMENTS_MAX + 1]; /* NULL-terminated */
	char text[COMMENTS_TEXT];
};
void comments_add(struct comments *comments, const char *format, ...) PRINTF(2, 3);
/* A line for each counter of kind DROP that is not 0. */
void comments_add_drops(struct comments *comments);

#endif
