/* SPDX-License-Identifier: Apache-2.0 */
/* The system call instruction of x86-64. Result is the kernel's: a value, or -errno. */
#ifndef ARCH_SYSCALL_H
#define ARCH_SYSCALL_H

static inline long arch_syscall(long nr, long a, long b, long c, long d, long e, long f)
{
	register long r10 __asm__("r10") = d;
	register long r8 __asm__("r8") = e;
	register long r9 __asm__("r9") = f;
	long ret;

	__asm__ volatile("syscall"
			 : "=a"(ret)
			 : "a"(nr), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8), "r"(r9)
			 : "rcx", "r11", "memory");
	return ret;
}

static inline void arch_relax(void)
{
	__asm__ volatile("pause");
}

#endif
