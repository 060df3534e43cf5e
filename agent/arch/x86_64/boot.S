/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One entry per row of hooks/hooks.def, and `real`, whose pointers start at them. An entry resolves all
 * rows (hooks/real.c) with the caller's argument registers kept, then jumps to what it stands for.
 * real_at_<member> is the address of one pointer, for other assembly.
 */
#include "save.h"

#include "hooks/member.h"

	.section .data.rel.real, "aw", @progbits
	.p2align 12
	.globl	real
	.hidden	real
	.type	real, @object
real:
#define ROW(member)		       \
	.globl	real_at_##member     ; \
	.hidden real_at_##member     ; \
real_at_##member:		     ; \
	.quad	boot_entry_##member;
#define HOOK_REQUIRED(member) ROW(member)
#define HOOK_OPTIONAL(member) ROW(member)
#define HOOK_RELEASE(member)
#define HOOK_MARKER(member)
#define HOOK(symbol, version, need) HOOK_##need(HOOK_MEMBER_##version(symbol))
#include "hooks/hooks.def"
	.size	real, . - real
	.p2align 12

	.text
	.set	index, 0
#undef HOOK_REQUIRED
#undef HOOK_OPTIONAL
#define ENTRY(member)			  \
	.type boot_entry_##member, @function; \
boot_entry_##member:			; \
	.cfi_startproc			; \
	endbr64				; \
	.byte 0x41, 0xbb		; /* mov $index, %r11d */ \
	.long index			; \
	.set index, index + 1		; \
	jmp boot_common			; \
	.cfi_endproc			; \
	.size boot_entry_##member, . - boot_entry_##member;
#define HOOK_REQUIRED(member) ENTRY(member)
#define HOOK_OPTIONAL(member) ENTRY(member)
#include "hooks/hooks.def"

	.type	boot_common, @function
boot_common:
	.cfi_startproc
	save_arguments
	save	rax
	mov	%r11d, %edi
	call	real_boot
	mov	%rax, %r11
	restore	rax
	restore_arguments
	jmp	*%r11
	.cfi_endproc
	.size	boot_common, . - boot_common

	.section .note.GNU-stack, "", @progbits
