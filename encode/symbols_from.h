/* SPDX-License-Identifier: Apache-2.0 */
/* What symbols_open reads from; given by hand in tests. Context: agent. */
#ifndef ENCODE_SYMBOLS_FROM_H
#define ENCODE_SYMBOLS_FROM_H

#include "encode/symbols.h"

struct module_gone;

struct symbols_source {
	const char *maps; /* text of a maps file; NULL: this process' own */
	size_t maps_size;
	uint64_t entry; /* an address in the main executable */
	const struct module_gone *gone;
};

struct symbols *symbols_open_from(const struct symbols_source *source);

#endif
