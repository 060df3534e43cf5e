/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The leaf of a heap profile's stack is the function that wanted memory: what a language puts between
 * it and malloc (operator new, allocator classes, Rust's global allocator) is left out, the way Go
 * leaves out its own allocator. Context: agent.
 */
#ifndef AGENT_HEAPTRIM_H
#define AGENT_HEAPTRIM_H

#include <stdbool.h>

struct snapshot;

/* Sets `skip` of every sample. Without memory for the look-up some stay as they are. */
void heaptrim(struct snapshot *snapshot);

/* Is this (simplified) function name one of those? */
bool heaptrim_is_allocator(const char *name);

#endif
