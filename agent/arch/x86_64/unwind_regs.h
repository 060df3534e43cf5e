/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the unwinder must know of x86-64: DWARF register numbers (System V psABI, figure 3.36),
 * where the kernel puts registers in a signal frame, how to capture them, and what a call looks
 * like.
 */
#ifndef ARCH_UNWIND_REGS_H
#define ARCH_UNWIND_REGS_H

#include <stdbool.h>
#include <stdint.h>
#include <ucontext.h>

enum {
	ARCH_RBX = 3,
	ARCH_BP = 6,
	ARCH_SP = 7,
	ARCH_R12 = 12,
	ARCH_PC = 16, /* DWARF's return address column */
	ARCH_REGS = 17
};

/* Registers of a frame; bit r of known says that reg[r] is its value. */
struct unwind_regs {
	uintptr_t reg[ARCH_REGS];
	uint32_t known;
};

/* Registers that calls preserve, hence those whose rules are worth following, have a slot in an
 * unwind row; all others share ARCH_SLOT_OTHER. */
enum {
	ARCH_SLOT_RBX,
	ARCH_SLOT_BP,
	ARCH_SLOT_SP,
	ARCH_SLOT_R12,
	ARCH_SLOT_R13,
	ARCH_SLOT_R14,
	ARCH_SLOT_R15,
	ARCH_SLOT_PC,
	ARCH_SLOT_OTHER,
	ARCH_SLOTS
};
static const uint8_t arch_slot[ARCH_REGS] = {
	[0 ... 2] = ARCH_SLOT_OTHER, [3] = ARCH_SLOT_RBX,  [4 ... 5] = ARCH_SLOT_OTHER,
	[6] = ARCH_SLOT_BP,	     [7] = ARCH_SLOT_SP,   [8 ... 11] = ARCH_SLOT_OTHER,
	[12] = ARCH_SLOT_R12,	     [13] = ARCH_SLOT_R13, [14] = ARCH_SLOT_R14,
	[15] = ARCH_SLOT_R15,	     [16] = ARCH_SLOT_PC,
};
/* The inverse, without ARCH_SLOT_OTHER. */
static const uint8_t arch_slot_reg[ARCH_SLOT_OTHER] = {3, 6, 7, 12, 13, 14, 15, 16};

/* r12-r15: preserved by calls, but not followed by the 8-byte rules. */
enum { ARCH_KNOWN_ALL = (1u << ARCH_REGS) - 1, ARCH_KNOWN_LOST = 0xf000u };

/* Index in mcontext_t's gregs, by DWARF number. */
static const uint8_t arch_greg[ARCH_REGS] = {
	REG_RAX, REG_RDX, REG_RCX, REG_RBX, REG_RSI, REG_RDI, REG_RBP, REG_RSP, REG_R8,
	REG_R9,	 REG_R10, REG_R11, REG_R12, REG_R13, REG_R14, REG_R15, REG_RIP,
};

/* When a handler returns to the sigreturn trampoline, the stack pointer is at the kernel's
 * ucontext_t; its registers begin here. */
enum { ARCH_SIGFRAME_GREGS = 40 };

static inline void arch_from_context(const ucontext_t *context, uintptr_t reg[ARCH_REGS])
{
	for (int i = 0; i < ARCH_REGS; i++)
		reg[i] = (uintptr_t)context->uc_mcontext.gregs[arch_greg[i]];
}

/* The registers at this very instruction: as a call preserves the others, only these count. */
static inline __attribute__((always_inline)) void arch_capture(uintptr_t reg[ARCH_REGS])
{
	__asm__ volatile("movq %%rbx, 24(%0)\n\t"
			 "movq %%rbp, 48(%0)\n\t"
			 "movq %%rsp, 56(%0)\n\t"
			 "movq %%r12, 96(%0)\n\t"
			 "movq %%r13, 104(%0)\n\t"
			 "movq %%r14, 112(%0)\n\t"
			 "movq %%r15, 120(%0)\n\t"
			 "leaq 0(%%rip), %%rax\n\t"
			 "movq %%rax, 128(%0)"
			 :
			 : "r"(reg)
			 : "rax", "memory");
}
enum { ARCH_KNOWN_CAPTURED = 1u << 3 | 1u << 6 | 1u << 7 | 0xf000u | 1u << 16 };

/* Longest call instruction of interest. */
enum { ARCH_CALL_BYTES = 7 };

/* Whether a call through a register or memory ends where `at` begins: ff /2 with every form of its
 * operand (Intel SDM, volume 2, CALL). Reads the ARCH_CALL_BYTES bytes before it. */
static inline bool arch_after_indirect_call(const uint8_t *at)
{
	uint8_t m;

	m = at[-1];
	if (at[-2] == 0xff &&
	    ((m & 0xf8) == 0xd0 || ((m & 0xf8) == 0x10 && m != 0x14 && m != 0x15)))
		return true;
	m = at[-2];
	if (at[-3] == 0xff && (((m & 0xf8) == 0x50 && m != 0x54) || m == 0x14))
		return true;
	if (at[-4] == 0xff && at[-3] == 0x54)
		return true;
	m = at[-5];
	if (at[-6] == 0xff && (((m & 0xf8) == 0x90 && m != 0x94) || m == 0x15))
		return true;
	m = at[-6];
	return at[-7] == 0xff && (m == 0x94 || (m == 0x14 && (at[-5] & 7) == 5));
}

/* The same for any call. */
static inline bool arch_after_call(const uint8_t *at)
{
	return at[-5] == 0xe8 || arch_after_indirect_call(at);
}

/* What the call instruction that ends at `at` (address pc) calls: its target, or the address of the
 * word that holds it; 0 where only registers tell. */
static inline void arch_call_target(const uint8_t *at, uintptr_t pc, uintptr_t *out_target,
				    uintptr_t *out_slot)
{
	int32_t distance;

	*out_target = *out_slot = 0;
	__builtin_memcpy(&distance, at - 4, sizeof(distance));
	if (at[-5] == 0xe8)
		*out_target = pc + (uintptr_t)(intptr_t)distance;
	else if (at[-6] == 0xff && at[-5] == 0x15)
		*out_slot = pc + (uintptr_t)(intptr_t)distance;
}

/* A jump through a word of memory, as entries of procedure linkage tables are: the address
 * of that word; 0 for other code. `code` are the bytes at address pc. */
enum { ARCH_JUMP_BYTES = 11 };
static inline uintptr_t arch_jump_slot(const uint8_t code[ARCH_JUMP_BYTES], uintptr_t pc)
{
	int32_t distance;
	int at = 0;

	if (code[0] == 0xf3 && code[1] == 0x0f && code[2] == 0x1e && code[3] == 0xfa)
		at = 4; /* endbr64 */
	if (code[at] == 0xf2 && at == 4)
		at++; /* bnd */
	if (at > ARCH_JUMP_BYTES - 6 || code[at] != 0xff || code[at + 1] != 0x25)
		return 0;
	__builtin_memcpy(&distance, code + at + 2, sizeof(distance));
	return pc + (uintptr_t)at + 6 + (uintptr_t)(intptr_t)distance;
}

/* mov $15,%eax or %rax; syscall: rt_sigreturn, as C libraries without unwind tables spell it. */
enum { ARCH_SIGRETURN_BYTES = 9 };
static inline bool arch_is_sigreturn(const uint8_t code[ARCH_SIGRETURN_BYTES])
{
	if (code[0] == 0x48)
		return code[1] == 0xc7 && code[2] == 0xc0 && code[3] == 0x0f && !code[4] &&
		       !code[5] && !code[6] && code[7] == 0x0f && code[8] == 0x05;
	return code[0] == 0xb8 && code[1] == 0x0f && !code[2] && !code[3] && !code[4] &&
	       code[5] == 0x0f && code[6] == 0x05;
}

#endif
