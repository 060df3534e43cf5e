/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Files with debug information, as libdw reads them. Kept from request to request; given up when they
 * take too much memory.
 */
#ifndef SYMBOLIZER_MODULE_H
#define SYMBOLIZER_MODULE_H

#include <elfutils/libdw.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "encode/symbolizer/texts.h"

/* Which file is meant. It is believed only if it is this very one. */
struct module_spec {
	const char *path, *other; /* two names of it; other may be "" */
	const char *debug;	  /* separate debug file, "": none */
	uint64_t dev, inode, size, mtime_s, mtime_ns;
};

struct module;

/* NULL: not there, or another file by now. */
struct module *module_get(const struct module_spec *spec);

/* It has debug information that can be read. */
bool module_has_lines(const struct module *module);

/* Marks the beginning of a request: modules that no request used lately are closed, and all of them
 * when much memory is in use. */
void modules_round(void);

/* One frame of code at an address. */
struct frame {
	struct text *name; /* linkage name if the function has one, else as written */
	struct text *file; /* NULL: unknown */
	uint32_t line, start;
};

enum { FRAMES = 64 };

/* The frames at an address of the file, innermost first, the real function last. 0: nothing known. */
unsigned module_frames(struct module *module, uint64_t address, struct frame out[FRAMES]);

/* From the symbol table, .gnu_debugdata's included: name and first address of the function. */
bool module_symbol(struct module *module, uint64_t address, struct text **out_name, uint64_t *out_start);

#endif
