/* SPDX-License-Identifier: Apache-2.0 */
/* Deadlocks in words: who waits for what that is held by whom. Context: agent. */
#ifndef AGENT_LEAKTEXT_H
#define AGENT_LEAKTEXT_H

struct dump;
struct leaks;

/* Lines that begin with '#', "" when there is nothing to tell; to be given back with mem_free. NULL: out
 * of memory. */
char *leaktext(const struct dump *dump, const struct leaks *leaks);

#endif
