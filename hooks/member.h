/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Names of the members of struct real, for C and for the assembler: the symbol's own, and `_old` behind
 * it where libc keeps an older implementation under the same name. Context: any.
 */
#ifndef HOOKS_MEMBER_H
#define HOOKS_MEMBER_H

#define HOOK_MEMBER_ANY(symbol)		symbol
#define HOOK_MEMBER_GLIBC_2_3_2(symbol) symbol
#define HOOK_MEMBER_GLIBC_2_2_5(symbol) symbol##_old

#endif
