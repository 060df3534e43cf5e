/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What is known of one mapped file: its symbol table, from the best source there is, and the files
 * to read names from. Kept from answer to answer; a file is believed only while it is the one that
 * is mapped (build ID, else inode and program headers), because wrong names are worse than none.
 *
 * Order of sources: separate debug file by build ID, by .gnu_debuglink | own .symtab | .dynsym.
 * A file that was replaced or removed is opened through /proc/self/map_files where the kernel lets us
 * (CAP_SYS_ADMIN or CAP_CHECKPOINT_RESTORE); else it is read where it is mapped: .dynsym and the FDE table.
 *
 * Context: agent; one thread at a time.
 */
#ifndef ENCODE_IMAGE_H
#define ENCODE_IMAGE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "encode/elf.h"

/* Which image is wanted. */
struct image_key {
	const char *path;    /* as mapped */
	const char *open_as; /* the same file through another name, e.g. /proc/thread-self/exe */
	uint64_t header;     /* run-time address of its ELF header, 0: not mapped */
	uint64_t header_end; /* of the mapping that begins there, 0: unknown */
	uint64_t inode;	     /* 0: unknown */
	uint64_t major, minor;
	const uint8_t *build_id; /* for images that are not mapped any more */
	size_t build_id_size;
};

struct image;

/* The image of a key; from the cache if it is there. NULL: out of memory. Valid until
 * images_trim. */
struct image *images_get(const struct image_key *key);

/* Lower-case hex, "" if it has none. Lives as long as the image. */
const char *image_build_id(const struct image *image);

/* False for what is no ELF image at all: memory files of JIT compilers. */
bool image_is_elf(const struct image *image);

bool image_vaddr(const struct image *image, uint64_t offset, uint64_t *out_vaddr);

struct image_name {
	uint64_t start; /* address of the function in the image */
	bool named;	/* false: only the start is known, from the FDE */
};

/* The linkage name of the function at an address of the image, into buf (cut at size - 1).
 * false: nothing is known. */
bool image_find(struct image *image, uint64_t vaddr, char *buf, size_t size,
		struct image_name *out_name);

/* What pprofagent-symbolize can say about an image, and from which files. */
struct image_source {
	const char *path, *other, *debug; /* see encode/symbolizer/main.c; "": none */
	uint64_t dev, inode, size, mtime_s, mtime_ns; /* what path and other must be */
	bool lines;			  /* has debug information */
	bool names;			  /* has function names that only .gnu_debugdata knows */
};

/* false: nothing. The texts live as long as the image. */
bool image_source(struct image *image, struct image_source *out);

/* As mapped. Lives as long as the image. */
const char *image_path(const struct image *image);

/* How the symbolizer fared with an image; encode/lines_gap.c writes it. */
struct image_luck {
	unsigned faults;   /* it died over it, as it said itself */
	unsigned deaths;   /* it was killed at work on it, so many times in a row */
	uint64_t again_ns; /* not to be asked again before (CLOCK_MONOTONIC) */
};

struct image_luck *image_luck(struct image *image);

/* Closes the files that names were read from: no descriptor is kept between answers. */
void images_sleep(void);

/* Forgets images that were not asked for since the call before the last one, and those that could
 * not be kept. */
void images_trim(void);

/* Forgets everything: base/mem.h starts anew in a forked child. Context: child. */
void images_child(void);

/* Bytes of memory in all cached tables. */
size_t images_bytes(void);

#endif
