/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One mapped file at work. Only for encode/image.c, which keeps and asks them, and encode/image_load.c,
 * which finds and reads their files. Context: agent; one thread at a time.
 */
#ifndef ENCODE_IMAGE_WORK_H
#define ENCODE_IMAGE_WORK_H

#include "encode/image.h"
#include "encode/image_file.h"
#include "encode/symtab.h"

enum source { SOURCE_DEBUG, SOURCE_SYMTAB, SOURCE_DYNSYM, SOURCES };

struct image {
	struct image *next;
	char *path;
	uint64_t inode, major, minor;
	struct image_file own;	 /* not known: the file is not the one that is mapped, or gone */
	struct image_file debug; /* separate debug file */
	struct elf mapped;	 /* where it is mapped; used when own is not known */
	bool is_mapped;		 /* mapped is valid; such an image is not kept */
	bool keep;
	bool loaded;   /* debug and table are set */
	struct image_luck luck;
	char *strings; /* copy of the mapped image's strings: it may be unmapped meanwhile */
	struct symtab table;
	struct elf_symbols sources[SOURCES];
	char build_id[2 * ELF_BUILD_ID_MAX + 1];
	uint64_t used; /* self.round of the last images_get */
};

/* What is known of an image at once: its own file, if it can be believed, or where it is mapped. NULL: out
 * of memory. */
struct image *image_new(const struct image_key *key);
void image_drop(struct image *image);

/* Its symbol table, on the first name that is asked for: a mapping list alone needs no symbols. */
void image_load(struct image *image);

/* The parts that hold for files and mapped images alike; NULL: neither is known. */
const struct elf *image_elf(const struct image *image);

#endif
