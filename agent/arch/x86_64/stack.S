/* SPDX-License-Identifier: Apache-2.0 */
/* void arch_on_stack(void (*fn)(void *), void *arg, void *top): calls fn(arg) on another stack. */
	.text
	.globl	arch_on_stack
	.hidden	arch_on_stack
	.type	arch_on_stack, @function
arch_on_stack:
	.cfi_startproc
	endbr64
	push	%rbp
	.cfi_adjust_cfa_offset 8
	.cfi_rel_offset %rbp, 0
	mov	%rsp, %rbp
	.cfi_def_cfa_register %rbp
	mov	%rdx, %rsp
	and	$-16, %rsp
	mov	%rdi, %rax
	mov	%rsi, %rdi
	call	*%rax
	mov	%rbp, %rsp
	pop	%rbp
	.cfi_def_cfa %rsp, 8
	ret
	.cfi_endproc
	.size	arch_on_stack, . - arch_on_stack

	.section .note.GNU-stack, "", @progbits
