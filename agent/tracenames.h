/* SPDX-License-Identifier: Apache-2.0 */
/* What an execution trace calls its addresses: functions, files, lines and inlined frames, all known before
 * the first stack is written. Context: agent. */
#ifndef AGENT_TRACENAMES_H
#define AGENT_TRACENAMES_H

#include <stdbool.h>
#include <stdint.h>

#include "encode/desc.h"
#include "encode/trace_tables.h"

struct stack;
struct symbols;
struct tracenames;

/* NULL: out of memory. */
struct tracenames *tracenames_new(enum symbolize symbolize);
void tracenames_drop(struct tracenames *names);

/* For the encoder. */
struct trace_names *tracenames_of(struct tracenames *names);

/* For whoever else needs names. */
struct symbols *tracenames_symbols(struct tracenames *names);

/* A stack of the trace (or NULL), before the first settling. false: out of memory. */
bool tracenames_note(struct tracenames *names, const struct stack *stack);

/* As lines_step and lines_wait. */
int tracenames_settle(struct tracenames *names, uint64_t budget_ns);
int tracenames_wait(const struct tracenames *names, uint64_t *out_wake_ns);

#endif
