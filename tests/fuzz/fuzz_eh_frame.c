/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Any bytes as unwind tables. Input: 4 bytes (distance of the PC from the table), 1 byte (mode),
 * then mode even: a whole object that begins with its .eh_frame_hdr; mode odd:  call frame
 * instructions alone; the byte after the mode says how many of them are the CIE's. The bytes lie at
 * the end of a heap block of just their size, so that the sanitizers see any read beyond. Built
 * with libFuzzer, or with replay.c, which runs files.
 */
#include "agent/collect/unwind_rule.h"
#include "agent/collect/unwind_walk.h"
#include "tests/fuzz/fuzz.h"

enum { STACK_WORDS = 64, STACK_AT = 0x10000 };

static void use_row(const struct eh_fde *fde, const struct eh_row *row, uintptr_t pc)
{
	static uintptr_t words[STACK_WORDS];
	struct unwind_walk walk = {.generation = 1};

	rule_from_row(fde, row);
	for (int i = 0; i < STACK_WORDS; i++)
		words[i] = STACK_AT + (uintptr_t)i * 8 % 400;
	unwind_stack_fix(&walk.stack, STACK_AT, STACK_AT + sizeof(words), words);
	for (int i = 0; i < ARCH_REGS; i++)
		walk.regs.reg[i] = STACK_AT + (uintptr_t)i * 24;
	walk.regs.reg[ARCH_SP] = STACK_AT + 8;
	walk.regs.reg[ARCH_PC] = pc;
	walk.regs.known = ARCH_KNOWN_ALL;
	walk.full = true;
	unwind_step_row(&walk, fde, row);
	walk.regs.known = 1u << ARCH_SP | 1u << ARCH_PC;
	unwind_step_row(&walk, fde, row);
}

static void use_fde(const struct eh_fde *fde, uintptr_t pc)
{
	uintptr_t pcs[] = {fde->start, pc, fde->end - 1};
	struct eh_row row;

	for (int i = 0; i < 3; i++)
		if (eh_run(fde, pcs[i], &row) == EH_OK)
			use_row(fde, &row, pcs[i]);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct eh_object object;
	struct eh_fde fde;
	int32_t distance;
	uint8_t mode, *copy;
	size_t n;

	if (size < 8)
		return 0;
	memcpy(&distance, data, 4);
	mode = data[4];
	n = size - 6;
	/* The table wants an address divisible by 4; the end of the block is what must be exact. */
	copy = malloc(n);
	if (!copy)
		return 0;
	memcpy(copy, data + 6, n);
	if (mode & 1) {
		size_t split = data[5] < n ? data[5] : n;

		memset(&fde, 0, sizeof(fde));
		fde.start = 0x1000;
		fde.end = 0x1000000;
		fde.cie_code = copy;
		fde.cie_code_end = fde.code = copy + split;
		fde.code_end = copy + n;
		fde.code_align = 1;
		fde.data_align = -8;
		fde.encoding = mode & 2 ? 0x1b : 0x00;
		fde.signal = mode & 4;
		use_fde(&fde, 0x1000 + ((uint32_t)distance & 0xffffu));
	} else {
		uintptr_t pc = (uintptr_t)copy + (uintptr_t)(intptr_t)distance;

		object.start = (uintptr_t)copy;
		object.end = (uintptr_t)copy + n;
		object.hdr = copy;
		if (eh_find(&object, pc, &fde) == EH_OK)
			use_fde(&fde, pc);
	}
	free(copy);
	return 0;
}
