/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Reads one 64-bit ELF image: a file through pread, or what is mapped of it through
 * process_vm_readv. Never mapped and never dereferenced, so that a truncated, hostile or vanishing
 * image costs an error and not a fault (hazard F8). Every number in it is checked before use.
 *
 * Format: System V ABI, AMD64 supplement; .eh_frame_hdr and .gnu_debuglink: LSB core specification
 * and GDB's manual, "Separate Debug Files". Addresses here are the file's own (p_vaddr, st_value).
 *
 * Context: agent.
 */
#ifndef ENCODE_ELF_H
#define ENCODE_ELF_H

#include <elf.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { ELF_BUILD_ID_MAX = 32, ELF_NAME_MAX = 64 << 10 };

struct elf_load {
	uint64_t vaddr, memsz, offset, filesz;
	bool executable;
};

struct elf_range {
	uint64_t vaddr, offset, size;
};

/* A symbol table and its strings: file offsets, or addresses of a mapped image. */
struct elf_symbols {
	uint64_t at, n; /* n: 0 if there is none */
	uint64_t strings, strings_size;
	uint64_t versions; /* one Elf64_Half for each symbol; 0: none */
};

struct elf {
	bool mapped;
	int fd;		 /* of a file; -1: closed for now, reads fail */
	uint64_t size;	 /* of a file */
	uint64_t header; /* mapped image: run-time address of the ELF header */
	uint64_t bias;	 /* mapped image: run-time address - address in the file */
	uint16_t type;
	struct elf_load *loads; /* in address order */
	size_t n_loads;
	uint8_t build_id[ELF_BUILD_ID_MAX];
	size_t build_id_size; /* 0: has none */
	struct elf_range eh_frame_hdr; /* size 0: none */
	struct elf_range dynamic;
	/* From here on: files with section headers only (dynsym: mapped images, too). */
	struct elf_symbols symtab, dynsym;
	struct elf_range debuglink, debugdata; /* by offset; size 0: none */
	bool debug_info;		    /* has DWARF of its own */
	struct elf_range *plts, *relas;
	size_t n_plts, n_relas;
	uint8_t *executable; /* by section number */
	size_t n_sections;
};

/* The image in an open file; the descriptor is closed by elf_close, or at once on failure.
 * 0, -ENOEXEC for what is no ELF64 image of this machine, other -errno. */
int elf_open_file(struct elf *out_elf, int fd);

/* The image whose header is mapped at an address of this process. */
int elf_open_memory(struct elf *out_elf, uint64_t header);

void elf_close(struct elf *elf);

/* Bytes at an address of the image. false unless all of them are there. */
bool elf_read(const struct elf *elf, uint64_t vaddr, void *buf, size_t size);

/* Calls visit for each symbol until it returns false. 0, -errno, or 1 when visit ended it. */
int elf_visit_symbols(const struct elf *elf, const struct elf_symbols *symbols,
		      bool (*visit)(void *arg, const Elf64_Sym *symbol, uint64_t index), void *arg);

/* Whether each symbol is an old version that new programs do not link to: n bytes of 0 or 1, to be
 * freed with mem_free; NULL when nothing is known. */
uint8_t *elf_old_versions(const struct elf *elf, const struct elf_symbols *symbols);

/* The text at an offset of a symbol table's strings, NUL-terminated, cut at size - 1. Its length, or
 * -1 when there is none. */
long elf_string(const struct elf *elf, const struct elf_symbols *symbols, uint64_t offset, char *buf,
		size_t size);

/* Name and checksum of the separate debug file that .gnu_debuglink gives. */
bool elf_debuglink(const struct elf *elf, char *buf, size_t size, uint32_t *out_crc);

/* The function range of the FDE that covers an address, through .eh_frame_hdr's search table. */
bool elf_fde(const struct elf *elf, uint64_t vaddr, uint64_t *out_start, uint64_t *out_end);

/* The name of the function that the PLT entry at this address jumps to: its length, or -1. The start
 * of the entry goes to *out_start. */
long elf_plt_name(const struct elf *elf, uint64_t vaddr, char *buf, size_t size,
		  uint64_t *out_start);

/* The address in the image of a byte at a file offset; false if it is not loaded. */
bool elf_offset_to_vaddr(const struct elf *elf, uint64_t offset, uint64_t *out_vaddr);

/* Bytes of this process, whatever is there. false unless all could be read. */
bool elf_read_process(uint64_t address, void *buf, size_t size);

#endif
