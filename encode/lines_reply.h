/* SPDX-License-Identifier: Apache-2.0 */
/* What the symbolizing process answers, checked and kept. Only for encode/lines.c. Context: agent. */
#ifndef ENCODE_LINES_REPLY_H
#define ENCODE_LINES_REPLY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "encode/demangle.h"
#include "encode/pool.h"

struct question {
	uint64_t vaddr;
	uint64_t base;	/* run-time address - vaddr */
	int32_t file;	/* number of its file; -1: nothing is asked */
	uint32_t first; /* of the frames of the answer */
	uint8_t n;	/* of them */
	bool sent, answered;
	uint32_t symbol; /* number in results->symbols + 1, 0: none */
};

struct reply_frame {
	uint32_t name, file; /* numbers of texts, 0: none */
	uint32_t line, start;
};

struct reply_text {
	const char *linkage;
	const char *name; /* demangled; NULL: not asked yet */
};

struct reply_symbol {
	uint32_t name;
	uint64_t start;
};

struct reply_failure {
	uint32_t file; /* its number, unchecked */
	bool closed;   /* it could not be opened; else: its debug information could not be read */
};

struct lines_results {
	struct question *questions;
	size_t n;	  /* of questions */
	uint64_t seq;	  /* of the request that the answers must be to */
	bool ours;	  /* what comes in is the answer to it */
	bool ended;	  /* all of it */
	bool no_memory;
	bool died; /* the process said over which file */
	uint64_t died_dev, died_inode;
	size_t n_answered;
	struct reply_frame *frames;
	size_t n_frames, frames_room;
	struct reply_text *texts; /* number - 1 - texts_base */
	size_t n_texts, texts_room;
	size_t texts_base; /* of the process at hand: earlier numbers are another's */
	struct reply_symbol *symbols;
	size_t n_symbols, symbols_room;
	struct reply_failure *failures; /* whoever reads them sets n_failures to 0 */
	size_t n_failures, failures_room;
	struct pool pool;
	struct demangle_text text;
};

/* Reads what there is. Number of bytes; 0: nothing; -ENOMEM; other -errno: the process is gone, or talks
 * nonsense. */
long lines_reply_take(struct lines_results *results);

/* The names of a function by the number of its linkage name. false: out of memory. */
bool lines_reply_name(struct lines_results *results, uint32_t number, const char **out_name,
		      const char **out_linkage);

/* Another process goes on. */
void lines_results_restart(struct lines_results *results);

/* Nobody waits for answers for now: gives memory back. */
void lines_reply_rest(void);

/* Context: child. */
void lines_reply_child(void);

void lines_results_free(struct lines_results *results);

#endif
