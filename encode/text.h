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
struct text_words {
	enum text_form form;
	const char *name, *unit, *trailer;
};

/* words' texts live until the end. Names are always written; files and lines with SYMBOLIZE_LINES. */
struct text_writer *text_begin(struct sink *sink, const struct text_words *words,
			       const struct snapshot *snapshot, enum symbolize symbolize);
/* As pprof_step and pprof_wait. */
int text_step(struct text_writer *writer, uint64_t budget_ns);
int text_wait(const struct text_writer *writer, uint64_t *out_wake_ns);
void text_drop(struct text_writer *writer);

#endif
