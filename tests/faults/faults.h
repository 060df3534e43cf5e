/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The block that tests/faults/faults.c shares with the test, through the file that the variable FAULTS
 * names: which call fails, and how far somebody has set the clock. Written by the test, but for `seen`,
 * `fired`, `last` and `looks`. The same layout is in tests/integration/test_faults.py.
 */
#ifndef FAULTS_H
#define FAULTS_H

#include <stdatomic.h>
#include <stdint.h>

enum { FAULT_CALL, FAULT_MEMORY, FAULT_KINDS };

struct faults {
	_Atomic uint64_t seen[FAULT_KINDS];  /* calls that could fail, since the test last wrote 0 */
	_Atomic uint64_t from[FAULT_KINDS];  /* the first that fails, counted from 1; 0: none */
	_Atomic uint64_t count[FAULT_KINDS]; /* so many fail */
	_Atomic uint64_t fired;		     /* failures so far */
	_Atomic uint64_t last;		     /* system call number of the last one */
	_Atomic uint64_t step;		     /* ns that CLOCK_REALTIME is ahead of what it is, wrapping */
	_Atomic uint64_t looks;		     /* at CLOCK_REALTIME */
};

#endif
