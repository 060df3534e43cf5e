/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The debug=1 forms, which a person reads and the legacy parsers of `go tool pprof` read back.
 * Resumable like encode/pprof.h. Context: agent.
 */
#ifndef ENCODE_TEXT_H
#define ENCODE_TEXT_H

#include "agent/base/sink.h"
#include "encode/desc.h"

struct snapshot;
struct text_writer;

enum text_form {
	TEXT_COUNT,	 /* "<name> profile: total <N>", rows "<count> @ 0x.. 0x.." */
	TEXT_HEAP,	 /* "heap profile: <n>: <b> [<n>: <b>] @ <unit>" */
	TEXT_CONTENTION, /* "--- <name>:", "cycles/second=1000000000", rows "<ns> <count> @ .." */
};

/* name: "goroutine", "heap", "mutex" ...; unit: what follows '@' in a heap header; trailer: written
 * at the end (the MemStats block), may be NULL. */
struct text_writer *text_begin(struct sink *sink, enum text_form form, const char *name,
			       const char *unit, const struct snapshot *snapshot,
			       const char *trailer);
int text_step(struct text_writer *writer, uint64_t budget_ns);
void text_drop(struct text_writer *writer);

#endif
