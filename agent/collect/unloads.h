/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Where code has been unloaded, and since which module generation what lies there now is another one. So a
 * stack that passes through nothing that was ever unloaded is the same stack in all generations: a program
 * that loads and unloads plug-ins for years does not fill the memory with copies of its other stacks.
 *
 * Exact to the page. Insert-only and lock-free; when its table is full, each unload counts for all
 * addresses, and STAT_UNLOADS_CROWDED says so.
 */
#ifndef COLLECT_UNLOADS_H
#define COLLECT_UNLOADS_H

#include <stdbool.h>
#include <stdint.h>

/* The first generation since which nothing was unmapped where these addresses lie; at most `generation`,
 * the one that was current before they were read. Notes that they are in use.
 * Context: signal, hook, agent. */
uint32_t unloads_since(const uintptr_t *pcs, uint32_t n, uint32_t generation);

/* Around the reading of addresses and unloads_since: meanwhile nothing that is unloaded is forgotten.
 * Context: signal, hook, agent. */
void unloads_enter(void);
void unloads_leave(void);

/* [start, end) was unmapped; `next` is the generation to come. false: it has been unmapped before, and no
 * address in it was used since: nobody will ask who lay there. One caller at a time. Context: hook. */
bool unloads_note(uintptr_t start, uintptr_t end, uint32_t next);

/* Nobody knows what was unmapped. Context: hook. */
void unloads_note_all(uint32_t next);

/* Context: child. */
void unloads_child(void);

#endif
