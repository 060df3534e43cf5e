/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A dump as Go prints all goroutines (debug=2): a paragraph per thread, "goroutine <tid> "name"
 * [<state>, <what it waits for>, <n> minutes]:", two lines per frame, "created by". Resumable.
 * Context: agent.
 */
#ifndef AGENT_DUMPTEXT_H
#define AGENT_DUMPTEXT_H

#include <stdint.h>

#include "agent/base/sink.h"
#include "encode/desc.h"

struct dump;
struct leaks;
struct dumptext;

/* The dump is complete and lives until dumptext_drop. leaks, when not NULL: only of these threads is
 * written, marked "leaked". NULL: out of memory. */
struct dumptext *dumptext_begin(struct sink *sink, const struct dump *dump, const struct leaks *leaks,
				enum symbolize symbolize);
/* Works for about budget_ns. 1: more to do; 2: call again when dumptext_wait() says; 0: all written; -errno. */
int dumptext_step(struct dumptext *text, uint64_t budget_ns);
int dumptext_wait(const struct dumptext *text, uint64_t *out_wake_ns);
void dumptext_drop(struct dumptext *text);

#endif
