/* SPDX-License-Identifier: Apache-2.0 */
/* The rows block, mutex and threadcreate of the table of profiles: what collect/ counted, as they show it.
 * Context: agent. */
#ifndef AGENT_CONTENTION_H
#define AGENT_CONTENTION_H

#include <stddef.h>
#include <stdint.h>

#include "agent/profiles.h"

struct snapshot *block_take(const struct profile *profile, const struct request *request);
struct snapshot *mutex_take(const struct profile *profile, const struct request *request);
struct snapshot *threadcreate_take(const struct profile *profile, const struct request *request);

uint64_t block_count(void);
uint64_t mutex_count(void);

/* How the numbers came to be. */
void block_comment(const struct snapshot *snapshot, struct comments *comments);
void mutex_comment(const struct snapshot *snapshot, struct comments *comments);

/* The same for the text forms; threads live and ended. */
void block_text_trailer(char *buf, size_t size);
void mutex_text_trailer(char *buf, size_t size);
void threadcreate_text_trailer(char *buf, size_t size);

#endif
