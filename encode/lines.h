/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Files, lines and inlined functions of the addresses of one answer, asked of the symbolizing process
 * (encode/helper.h). Resumable; after two seconds the answer goes on with what is known by then, the
 * process goes on working, and the next answer has it. Answers that ask at the same time have their
 * turns one after the other.
 *
 * Context: agent.
 */
#ifndef ENCODE_LINES_H
#define ENCODE_LINES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "encode/locations.h"
#include "encode/symbols.h"

struct lines;

/* One frame of an address. */
struct line_frame {
	const char *name, *linkage; /* as in struct symbol */
	const char *file;	    /* "": unknown */
	uint32_t line, start;	    /* 0: unknown; start: first line of the function */
};

/* Asks for all of `locations`, which may grow until the first step and must outlive it, as symbols must.
 * NULL for those that lines_add is to give. NULL: out of memory, names have to do. */
struct lines *lines_new(struct symbols *symbols, struct locations *locations);
void lines_drop(struct lines *lines);

/* One more address; before the first step, without `locations` only. false: out of memory. */
bool lines_add(struct lines *lines, uint64_t address, uint32_t generation);

/* Works for about budget_ns. 1: call again; 2: call again when lines_wait() says; 0: done. Never fails: what
 * could not be had is not there. */
int lines_step(struct lines *lines, uint64_t budget_ns);

/* What a step waits for: a descriptor to be read (-1: none) and a time (CLOCK_MONOTONIC). */
int lines_wait(const struct lines *lines, uint64_t *out_wake_ns);

/* The frames of the address of locations->list[index], innermost first; 0: its symbol is all that is known.
 * The last is the function that `symbol` names. At the very first address of a function, which is what hooks
 * record of a call to it, there is only that. */
unsigned lines_count(const struct lines *lines, size_t index, const struct symbol *symbol);
bool lines_frame(struct lines *lines, size_t index, unsigned i, const struct symbol *symbol,
		 struct line_frame *out);

/* The index of an address that was given to lines_add; -1: it was not. */
long lines_index(struct lines *lines, uint64_t address, uint32_t generation);

/* What is missing and why, as one line; 0: nothing. lines may be NULL. The length of the text. */
size_t lines_complaint(const struct lines *lines, char *buf, size_t size);

/* Forgets all answers at work. Context: child. */
void lines_child(void);

#endif
