/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A snapshot as a gzip'ed pprof profile. Resumable: step() works for about the time it is given and
 * then returns, so that one big answer does not make other clients wait. Memory: the string table and
 * one entry per distinct location and function; samples are streamed.
 *
 * Format: profile.proto of google/pprof, see encode/profile.proto; rules of validity as pprof, Parca
 * and Pyroscope check them (ids sequential from 1, mapping 1 = main executable, every location has a
 * line with a name, all text valid UTF-8 without control characters).
 *
 * Context: agent.
 */
#ifndef ENCODE_PPROF_H
#define ENCODE_PPROF_H

#include "agent/base/sink.h"
#include "encode/desc.h"

struct snapshot;
struct pprof_writer;

/* desc, facts, comments and snapshot stay the caller's and must live until the end; samples whose stacks come to
 * be the same are made one, the others of them zeros. NULL: out of memory. tag_name, when not NULL, gives the text label "thread" of a sample's tag (NULL: none). */
struct pprof_writer *pprof_begin(struct sink *sink, const struct profile_desc *desc,
				 const struct profile_facts *facts, struct snapshot *snapshot,
				 enum symbolize symbolize,
				 const char *(*tag_name)(uint32_t tag, char *buf, size_t size));

/* Works for about budget_ns. 1: more to do; 2: call again when pprof_wait() says; 0: all written; -errno. */
int pprof_step(struct pprof_writer *writer, uint64_t budget_ns);

/* A descriptor to be read (-1: none), and a time (CLOCK_MONOTONIC). */
int pprof_wait(const struct pprof_writer *writer, uint64_t *out_wake_ns);

void pprof_drop(struct pprof_writer *writer);

#endif
