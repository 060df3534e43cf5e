/* SPDX-License-Identifier: Apache-2.0 */
/* Walks through code that has no tables, as compilers at run time make it. */
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>

#include "tests/unit/test.h"
#include "tests/unit/walk.h"

/* Code without tables. Each calls the function in rdi. */
static const uint8_t with_frame[] = {0x55, 0x48, 0x89, 0xe5, 0x48, 0x83,
				     0xec, 0x20, 0xff, 0xd7, 0xc9, 0xc3};
static const uint8_t without_frame[] = {0x48, 0x83, 0xec, 0x18, 0xff, 0xd7,
					0x48, 0x83, 0xc4, 0x18, 0xc3};
static const uint8_t leaf_traps[] = {0xcc, 0xc3};

static char *generated(const uint8_t *code, size_t size)
{
	char *at = mmap(NULL, 4096, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS,
			-1, 0);

	memcpy(at + 64, code, size);
	return at + 64;
}

/* Calls `code` with `then`, rdx and no base pointer: the chain of them would skip this frame. */
void call_generated(char *code, void (*then)(void), uintptr_t rdx);
__asm__(".text\n"
	".p2align 6\n"
	".type call_generated, @function\n"
	"call_generated:\n"
	"	.cfi_startproc\n"
	"	push	%rbp\n"
	"	.cfi_adjust_cfa_offset 8\n"
	"	.cfi_rel_offset %rbp, 0\n"
	"	xor	%ebp, %ebp\n"
	"	mov	%rdi, %rax\n"
	"	mov	%rsi, %rdi\n"
	"	call	*%rax\n"
	"	pop	%rbp\n"
	"	.cfi_adjust_cfa_offset -8\n"
	"	ret\n"
	"	.cfi_endproc\n"
	"	.p2align 6\n");

TEST(unwind_generated_code)
{
	char *framed = generated(with_frame, sizeof(with_frame));
	char *frameless = generated(without_frame, sizeof(without_frame));
	char *leaf = generated(leaf_traps, sizeof(leaf_traps));

	walk_bounds();
	walk_on_signal(SIGUSR1, walk_interrupted, 0);
	walk_on_signal(SIGTRAP, walk_interrupted, 0);
	call_generated(framed, walk_kill_self, 0);
	CHECK_INT(walked.end, UNWIND_ROOT);
	CHECK(walk_find((uintptr_t)framed, (uintptr_t)framed + 16) < FIND(call_generated));
	CHECK(FIND(call_generated) != UINT32_MAX);
	call_generated(frameless, walk_kill_self, 0);
	CHECK_INT(walked.end, UNWIND_ROOT);
	CHECK(walk_find((uintptr_t)frameless, (uintptr_t)frameless + 16) < FIND(call_generated));
	CHECK(FIND(call_generated) != UINT32_MAX);
	call_generated(leaf, walk_kill_self, 0);
	CHECK_INT(walked.end, UNWIND_ROOT);
	CHECK_INT(walked.pcs[0], leaf + 1);
	CHECK_INT(FIND(call_generated), 1);
}

/* As optimizing compilers at run time make it: no base pointer, and on the stack what an earlier
 * call left behind (rdx). */
static const uint8_t with_decoy[] = {0x48, 0x83, 0xec, 0x48, 0x48, 0x89, 0x54, 0x24,
				     0x08, 0xff, 0xd7, 0x48, 0x83, 0xc4, 0x48, 0xc3};

TEST(unwind_generated_code_with_decoy)
{
	char *code = generated(with_decoy, sizeof(with_decoy));
	uint32_t i;

	walk_bounds();
	walk_on_signal(SIGUSR1, walk_interrupted, 0);
	walk_deep(3, walk_kill_self);
	for (i = 2; i < walked.n; i++) /* deep calls itself at a fixed address */
		if (((const uint8_t *)walked.pcs[i])[-4] == 0xe8)
			break;
	CHECK(i < walked.n);
	call_generated(code, walk_kill_self, walked.pcs[i] + 1);
	CHECK_INT(walked.end, UNWIND_ROOT);
	i = walk_find((uintptr_t)code, (uintptr_t)code + sizeof(with_decoy));
	CHECK(i != UINT32_MAX);
	CHECK_INT(FIND(call_generated), i + 1);
}

/* The base pointer is a register like any other: here it points at a zero and a pointer to data
 * (rdx) next to the code, as that of regular expressions compiled at run time does. */
static const uint8_t with_other_base[] = {
	0x48, 0x83, 0xec, 0x48,			    /* sub $0x48, %rsp */
	0x48, 0x8d, 0x6c, 0x24, 0x08,		    /* lea 8(%rsp), %rbp */
	0x48, 0xc7, 0x45, 0x00, 0,    0,    0,	 0, /* movq $0, (%rbp) */
	0x48, 0x89, 0x55, 0x08,			    /* mov %rdx, 8(%rbp) */
	0xff, 0xd7, 0x48, 0x83, 0xc4, 0x48, 0xc3};  /* call *%rdi */

TEST(unwind_generated_code_with_other_base_pointer)
{
	char *code = generated(with_other_base, sizeof(with_other_base));
	uint32_t i;

	walk_bounds();
	walk_on_signal(SIGUSR1, walk_interrupted, 0);
	call_generated(code, walk_kill_self, (uintptr_t)code + 2048);
	CHECK_INT(walked.end, UNWIND_ROOT);
	i = walk_find((uintptr_t)code, (uintptr_t)code + sizeof(with_other_base));
	CHECK(i != UINT32_MAX);
	CHECK_INT(FIND(call_generated), i + 1);
}

static void *close_begins(void *arg)
{
	unwind_before_close();
	return arg;
}

static void *close_ends(void *arg)
{
	unwind_after_close();
	return arg;
}

static void in_thread(void *(*what)(void *))
{
	pthread_t thread;

	pthread_create(&thread, NULL, what, NULL);
	pthread_join(thread, NULL);
}

/* Tables are followed meanwhile, but nothing is guessed, except in the thread that closes: there
 * run the destructors of the module. */
TEST(unwind_while_a_module_is_closing)
{
	char *framed = generated(with_frame, sizeof(with_frame));

	walk_bounds();
	walk_on_signal(SIGUSR1, walk_interrupted, 0);
	in_thread(close_begins);
	walk_deep(5, walk_here);
	CHECK_INT(walked.end, UNWIND_ROOT);
	walk_same_as_glibc(1);
	call_generated(framed, walk_kill_self, 0);
	CHECK_INT(walked.end, UNWIND_NO_RULE);
	unwind_before_close();
	call_generated(framed, walk_kill_self, 0);
	CHECK_INT(walked.end, UNWIND_NO_RULE);
	in_thread(close_ends);
	unwind_after_close();
	call_generated(framed, walk_kill_self, 0);
	CHECK_INT(walked.end, UNWIND_ROOT);
	unwind_before_close();
	call_generated(framed, walk_kill_self, 0);
	CHECK_INT(walked.end, UNWIND_ROOT);
	unwind_after_close();
}
