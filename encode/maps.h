/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The executable pieces of the address space, from the text of /proc/thread-self/maps (proc(5)).
 * Adjacent pieces of one file with contiguous offsets are one, as is a piece of a file that was
 * moved to huge pages (anonymous, between two pieces of that file that it fits). Context: agent.
 */
#ifndef ENCODE_MAPS_H
#define ENCODE_MAPS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "encode/pool.h"

struct map {
	uint64_t start, end; /* run-time addresses */
	uint64_t offset;     /* of start in the file */
	uint64_t inode;	     /* 0: no file */
	uint32_t major, minor;
	uint64_t image;	  /* where the file's first byte is mapped; 0: nowhere */
	uint64_t image_end; /* of that piece, which may be another one */
	const char *path; /* unescaped, without " (deleted)"; "" if anonymous, "[vdso]" and so on */
	bool deleted;
};

struct maps {
	struct map *list; /* in address order */
	size_t n, room;
	struct pool pool;
};

/* Reads the list of this process. The main thread may have ended: the calling thread's view is used
 * (hazard M27). 0 or -errno; maps_free is due in either case. */
int maps_read(struct maps *maps);

/* The same from a text of `size` bytes. Lines that make no sense are left out. 0 or -ENOMEM. */
int maps_parse(struct maps *maps, const char *text, size_t size);

/* The piece that contains an address or NULL. */
const struct map *maps_find(const struct maps *maps, uint64_t address);

void maps_free(struct maps *maps);

#endif
