/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The exec family: says that it is about to happen (collect/ending.h) when somebody wants to know, and goes
 * on to libc with registers and stack as they came, however many arguments there are.
 */
#include "save.h"

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
	save_arguments
	save	rax, rax
	call	ending_exec
	restore	rax, rax
	restore_arguments
	ret
	.cfi_endproc
	.size	tell_kept, . - tell_kept

	.section .note.GNU-stack, "", @progbits
