/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ARCH_COUNT_DOWN(left, n, due): left -= n, and due says whether n reached all that was left, both 64 bits
 * without sign. One instruction on memory, whose flags are the answer: compilers make four of it, and
 * each allocation of the program pays for them.
 * Context: hook.
 */
#ifndef ARCH_COUNTDOWN_H
#define ARCH_COUNTDOWN_H

#define ARCH_COUNT_DOWN(left, n, due) __asm__("subq %2, %0" : "+m"(left), "=@ccbe"(due) : "r"((uint64_t)(n)))

#endif
