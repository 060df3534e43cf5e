/* SPDX-License-Identifier: Apache-2.0 */
/* Memory or nothing: this process is there to be thrown away, and who asked starts another. */
#ifndef SYMBOLIZER_DIE_H
#define SYMBOLIZER_DIE_H

#include <stdlib.h>

/* Exit statuses that the agent's log explains. */
enum { DIE_INPUT = 3, DIE_MEMORY = 4, DIE_OUTPUT = 5 };

/* Says which file is at work, and ends. */
void die(int status) __attribute__((noreturn));

static inline void *die_alloc(size_t size)
{
	void *p = malloc(size);

	if (!p)
		die(DIE_MEMORY);
	return p;
}

static inline void *die_realloc(void *old, size_t size)
{
	void *p = realloc(old, size);

	if (!p)
		die(DIE_MEMORY);
	return p;
}

#endif
