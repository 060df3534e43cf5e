/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The functions of one image, sorted by address, 20 bytes each: names stay in the file until somebody
 * asks for one. Context: agent.
 */
#ifndef ENCODE_SYMTAB_H
#define ENCODE_SYMTAB_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "encode/elf.h"

struct symtab_entry {
	uint32_t start;	 /* address - base */
	uint32_t size;	 /* 0: the file does not say */
	uint32_t name;	 /* offset in the strings of its source */
	uint32_t up;	 /* entry that this one lies in (number + 1), 0: none */
	uint8_t source;	 /* as given to symtab_add */
	uint8_t binding; /* STB_LOCAL, STB_GLOBAL, STB_WEAK */
	uint8_t type;	 /* STT_FUNC, STT_GNU_IFUNC, STT_NOTYPE */
	bool old;	 /* a version kept for old programs */
};

struct symtab {
	struct symtab_entry *list;
	size_t n, room;
	uint64_t base; /* lowest address of the image */
};

/* Adds the functions of a symbol table. 0 or -errno (then some may have been added). */
int symtab_add(struct symtab *table, const struct elf *elf, const struct elf_symbols *symbols,
	       uint8_t source);

/* Sorts; due after the last symtab_add. */
void symtab_finish(struct symtab *table);

/* The entries (all with one start) that name an address: their number, the first in *out_first.
 * *out_sure: their size covers the address; otherwise they are the nearest labels before it. */
size_t symtab_find(const struct symtab *table, uint64_t vaddr, const struct symtab_entry **out_first,
		   bool *out_sure);

void symtab_free(struct symtab *table);

#endif
