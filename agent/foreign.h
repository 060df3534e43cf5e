/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Memory that does not come from the malloc that we wrap: is there another allocator in this process,
 * and does the program's malloc reach us at all? A heap profile that cannot see says so.
 * Context: agent.
 */
#ifndef AGENT_FOREIGN_H
#define AGENT_FOREIGN_H

#include <stddef.h>

/* Calls say(to, sentence) for each thing that the reader of a heap profile must know. The first call
 * looks into the symbol tables of the loaded files, which can take some ten milliseconds; later ones
 * only into new files. */
void foreign_say(void (*say)(void *to, const char *sentence), void *to);

#endif
