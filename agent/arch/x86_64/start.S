/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The way into main. Our __libc_start_main replaces `main` by a trampoline and jumps on to libc's;
 * when every initialiser has run, libc calls the trampoline, which starts the agent and jumps to the
 * real main: no frame of ours stays on the program's stack.
 */
#include "save.h"


	.text
	.globl	__libc_start_main
	.type	__libc_start_main, @function
__libc_start_main:
	.cfi_startproc
	endbr64
	save_arguments
	sub	$8, %rsp
	.cfi_adjust_cfa_offset 8
	call	start_replace_main	/* main in rdi -> the main to give to libc */
	mov	%rax, 48(%rsp)
	add	$8, %rsp
	.cfi_adjust_cfa_offset -8
	restore_arguments
	mov	start_libc_main(%rip), %rax
	jmp	*%rax
	.cfi_endproc
	.size	__libc_start_main, . - __libc_start_main

	.globl	start_trampoline
	.hidden	start_trampoline
	.type	start_trampoline, @function
start_trampoline:
	.cfi_startproc
	endbr64
	save	rdi, rsi, rdx
	call	start_before_main
	restore	rdx, rsi, rdi
	jmp	*start_main(%rip)
	.cfi_endproc
	.size	start_trampoline, . - start_trampoline

	.section .note.GNU-stack, "", @progbits
