/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Names of addresses. Reads the mapping list and symbol tables at serve time, never in a hook or
 * handler; keeps what it read while the file (build ID, inode) is the one that is mapped.
 *
 * Context: agent.
 */
#ifndef ENCODE_SYMBOLS_H
#define ENCODE_SYMBOLS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "encode/desc.h"

/* One executable mapping, as profile.proto's Mapping wants it. */
struct mapping {
	uint64_t start, limit, offset;
	const char *path;     /* as the process sees it, " (deleted)" removed */
	const char *build_id; /* lower-case hex or "" */
	uint32_t first_generation, last_generation; /* of the modules it stands for; live: last = ~0 */
};

/* One answer's view of the address space: read once, used for all its addresses. mapping 0 is the
 * main executable; others in address order, tombstones of unloaded modules last. */
struct symbols;
struct symbols *symbols_open(void);
void symbols_close(struct symbols *symbols);
size_t symbols_mappings(const struct symbols *symbols);
const struct mapping *symbols_mapping(const struct symbols *symbols, size_t i);

struct symbol {
	long mapping;	     /* index, or -1: none (JIT code, marks) */
	const char *name;    /* demangled and simplified; never empty; lives until symbols_close */
	const char *linkage; /* mangled name, or equal to name */
	uint64_t start;	     /* run-time address of the function's first byte, 0 unknown */
	bool unnamed;	     /* the name is a placeholder for code of a file */
};

/* The function of an address that was recorded in this module generation. Always fills *out: an
 * address that nothing names gets a stable placeholder like "libfoo.so@0x2f340" (start of its FDE),
 * "libfoo.so+0x1234", "[anon]". false when out of memory. */
bool symbols_find(struct symbols *symbols, uint64_t address, uint32_t generation,
		  struct symbol *out);

/* The mapping alone, without reading a symbol table: its index, or -1. */
long symbols_mapping_at(const struct symbols *symbols, uint64_t address, uint32_t generation);

struct image;
/* The image that an address lies in, and the address there; NULL: in none. */
struct image *symbols_image_at(struct symbols *symbols, uint64_t address, uint32_t generation,
			       uint64_t *out_vaddr);

/* Is there anything that went away? If not, symbols_gone_at is always 0. */
bool symbols_any_gone(const struct symbols *symbols);

/* 0 for an address whose code is still mapped, else a number that tells its unloaded module from
 * all others. Costs nothing while no module was unloaded. */
uint32_t symbols_gone_at(const struct symbols *symbols, uint64_t address, uint32_t generation);

/* Drops cached tables of modules that are gone or were not used lately. */
void symbols_trim(void);

/* Forgets everything cached: base/mem.h starts anew in a forked child. Context: child. */
void symbols_child(void);

#endif
