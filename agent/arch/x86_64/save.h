/* SPDX-License-Identifier: Apache-2.0 */
/*
 * For assembler: registers that a jump into the program or libc must find as they came, kept on the stack
 * around a call of ours, with what unwinders need to know of it.
 */
#ifndef ARCH_SAVE_H
#define ARCH_SAVE_H

	.macro	save register:vararg
	.irp	each, \register
	push	%\each
	.cfi_adjust_cfa_offset 8
	.endr
	.endm

	.macro	restore register:vararg
	.irp	each, \register
	pop	%\each
	.cfi_adjust_cfa_offset -8
	.endr
	.endm

/* The six of a call's arguments; 48 bytes. */
	.macro	save_arguments
	save	rdi, rsi, rdx, rcx, r8, r9
	.endm

	.macro	restore_arguments
	restore	r9, r8, rcx, rdx, rsi, rdi
	.endm

#endif
