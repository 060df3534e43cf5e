/* SPDX-License-Identifier: Apache-2.0 */
/* A new task with a stack of its own, made by the kernel's clone and nothing else. */
#ifndef ARCH_CLONE_H
#define ARCH_CLONE_H

#include <sys/syscall.h>

/* The new task calls run(arg), which must not return, on the stack that ends at stack_end (aligned to
 * 16). The id of the task or -errno. */
static inline long arch_clone(unsigned long flags, void *stack_end, void (*run)(void *), void *arg)
{
	void **top = (void **)stack_end - 2;
	long ret;

	top[0] = (void *)run;
	top[1] = arg;
	__asm__ volatile("xor	%%edx, %%edx\n\t" /* no places for ids, no thread pointer */
			 "xor	%%r10d, %%r10d\n\t"
			 "xor	%%r8d, %%r8d\n\t"
			 "syscall\n\t"
			 "test	%%rax, %%rax\n\t"
			 "jnz	1f\n\t"
			 "xor	%%ebp, %%ebp\n\t"
			 "pop	%%rax\n\t"
			 "pop	%%rdi\n\t"
			 "call	*%%rax\n\t"
			 "hlt\n"
			 "1:"
			 : "=a"(ret)
			 : "a"((long)SYS_clone), "D"(flags), "S"(top)
			 : "rdx", "r10", "r8", "rcx", "r11", "memory", "cc");
	return ret;
}

#endif
