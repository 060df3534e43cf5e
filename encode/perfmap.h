/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Names of code that a JIT compiler made, from /tmp/perf-PID.map: lines "START SIZE NAME", numbers in
 * hex (the format of Linux' tools/perf/Documentation/jit-interface.txt). Code moves: where lines
 * overlap, the last one wins. Names stay in the file until somebody asks for one. Context: agent.
 */
#ifndef ENCODE_PERFMAP_H
#define ENCODE_PERFMAP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct perfmap_range {
	uint64_t start, end;
	uint64_t name; /* offset in the file */
	uint32_t line; /* the higher, the newer */
	uint32_t size; /* of the name */
};

struct perfmap {
	int fd; /* -1: none */
	struct perfmap_range *list; /* sorted, without overlaps */
	size_t n;
};

/* Reads the map of this process if there is one that it wrote itself: /tmp is everybody's, so the
 * file must be a plain one that our user owns. 0 or -errno; perfmap_close is due after 0. */
int perfmap_open(struct perfmap *map);

/* The same from an open file, which perfmap_close then closes; also on failure. */
int perfmap_open_file(struct perfmap *map, int fd);

/* The name of an address into buf, cut at size - 1: its length, or -1. */
long perfmap_find(const struct perfmap *map, uint64_t address, char *buf, size_t size,
		  uint64_t *out_start);

void perfmap_close(struct perfmap *map);

#endif
