/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The exec family: says that it is about to happen (collect/ending.h) when somebody wants to know, and goes
 * on to libc with registers and stack as they came, however many arguments there are.
 */
	.text
#define EXEC(name)			  \
	.globl	name			; \
	.type	name, @function		; \
name:					; \
	.cfi_startproc			; \
	endbr64				; \
	cmpl	$0, ending_armed(%rip)	; \
	je	1f			; \
	call	tell_kept		; \
1:	jmp	*real_at_##name(%rip)	; \
	.cfi_endproc			; \
	.size	name, . - name

EXEC(execve)
EXEC(execv)
EXEC(execvp)
EXEC(execvpe)
EXEC(execl)
EXEC(execlp)
EXEC(execle)
EXEC(fexecve)
EXEC(execveat)

/* Called with 8 bytes of return address upon an aligned frame: the stack is aligned again behind eight
 * more pushes. rax holds the number of vector registers of a variadic call. */
	.type	tell_kept, @function
tell_kept:
	.cfi_startproc
	push	%rdi
	.cfi_adjust_cfa_offset 8
	push	%rsi
	.cfi_adjust_cfa_offset 8
	push	%rdx
	.cfi_adjust_cfa_offset 8
	push	%rcx
	.cfi_adjust_cfa_offset 8
	push	%r8
	.cfi_adjust_cfa_offset 8
	push	%r9
	.cfi_adjust_cfa_offset 8
	push	%rax
	.cfi_adjust_cfa_offset 8
	push	%rax
	.cfi_adjust_cfa_offset 8
	call	ending_exec
	pop	%rax
	.cfi_adjust_cfa_offset -8
	pop	%rax
	.cfi_adjust_cfa_offset -8
	pop	%r9
	.cfi_adjust_cfa_offset -8
	pop	%r8
	.cfi_adjust_cfa_offset -8
	pop	%rcx
	.cfi_adjust_cfa_offset -8
	pop	%rdx
	.cfi_adjust_cfa_offset -8
	pop	%rsi
	.cfi_adjust_cfa_offset -8
	pop	%rdi
	.cfi_adjust_cfa_offset -8
	ret
	.cfi_endproc
	.size	tell_kept, . - tell_kept

	.section .note.GNU-stack, "", @progbits
