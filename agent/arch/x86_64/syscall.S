/* SPDX-License-Identifier: Apache-2.0 */
/*
 * libc's syscall(). Waiting on and waking a futex go to hooks/futex.c, with registers and stack as they
 * came: a C function of seven arguments finds the last one where syscall() has it. Everything
 * else, vfork and clone among it, goes on to libc without a frame in between.
 */
#include <sys/syscall.h>

/* linux/futex.h is not for assemblers */
#define FUTEX_WAKE	  1
#define FUTEX_WAIT_BITSET 9
#define FUTEX_FLAGS	  (128 | 256) /* FUTEX_PRIVATE_FLAG, FUTEX_CLOCK_REALTIME */

	.text
	.globl	syscall
	.type	syscall, @function
syscall:
	.cfi_startproc
	endbr64
	cmp	$SYS_futex, %rdi
	jne	1f
	mov	%edx, %r11d
	and	$~FUTEX_FLAGS, %r11d
	jz	futex_wait		/* FUTEX_WAIT is 0 */
	cmp	$FUTEX_WAIT_BITSET, %r11d
	je	futex_wait
	cmp	$FUTEX_WAKE, %r11d
	je	futex_wake
1:	jmp	*real_at_syscall(%rip)
	.cfi_endproc
	.size	syscall, . - syscall

	.section .note.GNU-stack, "", @progbits
