/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Profiles as files: where they go, what they are called, how they get there. A profile is made in memory
 * and then written, so that the program's descriptor table holds a descriptor of ours for as short as can
 * be; under another name first, so that nobody ever reads half of one.
 *
 * Context: agent; by the holder of the turn (agent/turn.h).
 */
#ifndef AGENT_OUTFILE_H
#define AGENT_OUTFILE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Why a set is written, and what it says of itself. */
struct outfile_set {
	const char *reason;   /* "at exit" */
	unsigned number;      /* 0: the set of the process's end, else a numbered one */
	uint64_t since_ns;    /* CLOCK_MONOTONIC: when CPU sampling began, 0: it did not */
	uint64_t since_real_ns;
	int64_t cpu_period_ns;
	uint64_t deadline_ns; /* CLOCK_MONOTONIC: what is not written by then is left out */
};

/* What became of it. */
struct outfile_result {
	unsigned written; /* files */
	unsigned failed;
	long error; /* of the first that failed: -errno */
};

/* Makes the directory (and those above it) of PPROF_OUTPUT, %p and %e expanded, relative to the current
 * one. 0, or -errno. Context: init. */
int outfile_start(const char *pattern);

/* Another process: its files have other names. Context: child. */
void outfile_child(void);

/* Writes cpu, heap, allocs, mutex and block. */
void outfile_write(const struct outfile_set *set, struct outfile_result *out);

/* "/dir/exe.pid" of the files, once something was written. */
const char *outfile_base(void);

/* Expands %p (process), %e (program) and %% of pattern; what a file name should not hold becomes '_' in %e.
 * false: it does not fit. */
bool outfile_expand(char *out, size_t size, const char *pattern);

/* Makes the directories of an absolute path, the last one too. 0 or -errno. */
int outfile_make_directory(const char *path);

/* data[0..size) at path, by way of path.tmp. 0 or -errno. */
int outfile_put(const char *path, const void *data, size_t size, unsigned mode);

#endif
