/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The strings and stacks of one execution trace, numbered from 1 in the order of arrival; 0 is none.
 * Names of addresses are asked for only when all stacks are known. Context: agent.
 */
#ifndef ENCODE_TRACE_TABLES_H
#define ENCODE_TRACE_TABLES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "encode/locations.h"
#include "encode/strtab.h"

struct stack;

/* Readers take at most this many bytes of a string, and 2048 of a stack: 100 frames of 20 bytes. */
enum { TRACE_TEXT_MAX = 1024, TRACE_FRAMES_MAX = 100 };

/* The module generation of now. */
#define TRACE_NOW UINT32_MAX

/* Where a frame is. */
struct trace_place {
	const char *function, *file; /* file: NULL or "": unknown */
	uint32_t line;
};

/* Who knows names. */
struct trace_names {
	/* The function of an address of this module generation (or TRACE_NOW): never NULL. */
	const char *(*function)(struct trace_names *names, uint64_t pc, uint32_t generation);
	/* 0, or the number of the unloaded module that it lay in; may be NULL. */
	uint32_t (*gone)(struct trace_names *names, uint64_t pc, uint32_t generation);
	/* May be NULL: then frames have no file.
	 * Frame i of an address, innermost first: the number of frames that it has, 0 when nothing is known. */
	unsigned (*place)(struct trace_names *names, uint64_t pc, uint32_t generation, unsigned i,
			  struct trace_place *out);
};

struct trace_frame {
	uint64_t pc; /* readers know a frame by it: no two have the same */
	uint32_t function, file, line;
};

struct trace_stack {
	const struct stack *stack; /* NULL: one frame, the two that follow */
	uint64_t pc;
	uint32_t text;
	uint32_t leaf; /* text number of the leaf's function, 0: not asked yet */
};

struct trace_tables {
	struct trace_names *names;
	struct strtab strings;
	struct trace_stack *stacks; /* id - 1 */
	size_t n_stacks, stacks_room;
	uint32_t *slots; /* id, by stack; 0: empty */
	size_t n_slots;
	struct locations locations; /* .function is a text number here */
	bool failed;		    /* out of memory: ids are missing */
};

/* false when out of memory; trace_tables_free is due in either case. */
bool trace_tables_init(struct trace_tables *tables, struct trace_names *names);
void trace_tables_free(struct trace_tables *tables);

/* Ids; 0 (and tables->failed) when out of memory. NULL and "" are 0. */
uint32_t trace_tables_text(struct trace_tables *tables, const char *text);
uint32_t trace_tables_stack(struct trace_tables *tables, const struct stack *stack);
/* A stack of one frame of this name; pc is not 0. */
uint32_t trace_tables_entry(struct trace_tables *tables, uint64_t pc, const char *name);

/* The function that a stack's leaf lies in. */
const char *trace_tables_leaf(struct trace_tables *tables, uint32_t id);

/* The frames of a stack, leaf first, without what libc puts below a thread's first function; the number
 * of them, at least 1. Deep ones lose frames before the root. Asks for names that are not known yet:
 * to be called for each stack before the strings are written. */
unsigned trace_tables_frames(struct trace_tables *tables, uint32_t id,
			     struct trace_frame out[TRACE_FRAMES_MAX]);

#endif
