/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Whether locks look inside as we know them from glibc (part of its ABI: struct_mutex.h, struct_rwlock.h,
 * internaltypes.h). Compared at start with locks of our own. Where a layout is not known, the words of
 * such locks say nothing: then each unlock counts as one that lets a waiter in.
 */
#ifndef HOOKS_LAYOUT_H
#define HOOKS_LAYOUT_H

#include "agent/base/attr.h"

/* Not 0: not as we know it. All are strange until layout_start. */
extern struct layout_strange {
	int mutex;
	int rwlock;
	int sem;
} layout_strange HIDDEN;

/* Context: init. */
void layout_start(void);

#endif
