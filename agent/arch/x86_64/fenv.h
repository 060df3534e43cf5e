/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Floating point in a hook: the target may have set a rounding mode, enabled traps, or be about to
 * read the exception flags. Between enter and leave the state is the default one, and leave restores
 * flags and all. Put the arithmetic into functions of another file: the compiler may move plain
 * floating-point operations across these.
 */
#ifndef ARCH_FENV_H
#define ARCH_FENV_H

#include <stdint.h>

static inline uint32_t arch_fp_enter(void)
{
	const uint32_t standard = 0x1f80; /* MXCSR: all traps masked, round to nearest */
	uint32_t old;

	__asm__ volatile("stmxcsr %0" : "=m"(old));
	__asm__ volatile("ldmxcsr %0" : : "m"(standard) : "memory");
	return old;
}

static inline void arch_fp_leave(uint32_t old)
{
	__asm__ volatile("ldmxcsr %0" : : "m"(old) : "memory");
}

#endif
