/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Names as pprof shows them by default: C++ and Rust demangled, without parameters, return types and
 * C++ template arguments; the marks that compilers add to parts and copies of a function (.cold,
 * .part.0, .constprop.0) dropped. Context: agent; one thread at a time.
 */
#ifndef ENCODE_DEMANGLE_H
#define ENCODE_DEMANGLE_H

#include <stdbool.h>
#include <stddef.h>

/* A text that grows; all zero is an empty one. */
struct demangle_text {
	char *text; /* NUL-terminated once a call returned true */
	size_t len, room;
	bool no_memory;
};

/* The name of a linkage name: out->text, which lives until the next call with this `out`. A name that
 * is not mangled comes out as it is, less its marks. false: out of memory. */
bool demangle(struct demangle_text *out, const char *linkage);

void demangle_free(struct demangle_text *out);

#endif
