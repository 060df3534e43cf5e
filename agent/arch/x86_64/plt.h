/* SPDX-License-Identifier: Apache-2.0 */
/* Entries of procedure linkage tables of x86-64: [endbr64] [bnd] jmp *slot(%rip). */
#ifndef ARCH_PLT_H
#define ARCH_PLT_H

#include <elf.h>
#include <stdint.h>
#include <string.h>

enum { ARCH_ELF_MACHINE = EM_X86_64, ARCH_PLT_ENTRY = 16 };

/* The address of the GOT slot that the entry jumps through, 0 if the code is no such entry. */
static inline uint64_t arch_plt_slot(const uint8_t code[ARCH_PLT_ENTRY], uint64_t address)
{
	static const uint8_t endbr64[] = { 0xf3, 0x0f, 0x1e, 0xfa };
	unsigned at = memcmp(code, endbr64, sizeof(endbr64)) == 0 ? sizeof(endbr64) : 0;
	int32_t displacement;

	if (code[at] == 0xf2)
		at++;
	if (code[at] != 0xff || code[at + 1] != 0x25)
		return 0;
	memcpy(&displacement, code + at + 2, sizeof(displacement));
	return address + at + 6 + (uint64_t)(int64_t)displacement;
}

#endif
