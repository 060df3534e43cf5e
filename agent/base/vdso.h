/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The kernel's clock without a system call. The kernel maps an ELF image (the vDSO, see vdso(7)) that
 * reads the clock in user space; libc's clock_gettime would do, but others may have replaced that.
 */
#ifndef BASE_VDSO_H
#define BASE_VDSO_H

#include <time.h>

/* NULL where the kernel offers none. Safe in a signal handler. Context: signal, hook, agent, init,
 * child. */
extern int (*vdso_clock_gettime)(clockid_t clock, struct timespec *out)
	__attribute__((visibility("hidden")));

/* Finds it; image is AT_SYSINFO_EHDR of getauxval(3), 0: none. Context: init. */
void vdso_start(unsigned long image);

#endif
