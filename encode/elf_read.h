/* SPDX-License-Identifier: Apache-2.0 */
/* Between elf.c, elf_tables.c and elf_fde.c only. Context: agent. */
#ifndef ENCODE_ELF_READ_H
#define ENCODE_ELF_READ_H

#include "encode/elf.h"

/* Bytes at a file offset; false for a mapped image. */
bool elf_read_offset(const struct elf *elf, uint64_t offset, void *buf, size_t size);

/* Bytes at what struct elf_symbols calls a place: offset of a file, address of a mapped image. */
bool elf_read_raw(const struct elf *elf, uint64_t at, void *buf, size_t size);

void elf_take_notes(struct elf *elf, const uint8_t *notes, size_t size, size_t align);

/* The section table of a file. A broken one is as none. 0 or -ENOMEM. */
int elf_take_sections(struct elf *elf, const Elf64_Ehdr *header);

/* The dynamic symbols of a mapped image. */
void elf_take_dynamic(struct elf *elf);

#endif
