/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Random registers and random stacks, millions of them: no walk may crash, read outside its image
 * or run on for ever. Built with the address and undefined-behaviour sanitizers, which see every
 * read of the image (a block of the heap, or of a page between unreadable ones); the stack words
 * are chosen so that walks get far: return addresses of real code, addresses inside the image,
 * small numbers, noise. usage: walks NUMBER [SEED]
 */
#include <dlfcn.h>
#include <elf.h>
#include <link.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include "agent/collect/unwind_remote.h"
#include "agent/collect/unwind_walk.h"

enum { WORDS_MAX = 512, TEXTS_MAX = 64, CALLS_MAX = 200000, MAX = 128 };

static uint64_t state;

static uint64_t draw(void)
{
	state ^= state >> 12;
	state ^= state << 25;
	state ^= state >> 27;
	return state * 0x2545f4914f6cdd1du;
}
static uint64_t below(uint64_t n)
{
	return draw() % n;
}

static struct {
	uintptr_t start, size;
} texts[TEXTS_MAX];
static unsigned n_texts;
static uintptr_t calls[CALLS_MAX]; /* addresses behind call instructions */
static unsigned n_calls;

static int add_text(struct dl_phdr_info *info, size_t size, void *arg)
{
	for (int i = 0; i < info->dlpi_phnum; i++) {
		const ElfW(Phdr) *p = &info->dlpi_phdr[i];
		const uint8_t *at = (const uint8_t *)(info->dlpi_addr + p->p_vaddr);

		if (p->p_type != PT_LOAD || !(p->p_flags & PF_X) || n_texts == TEXTS_MAX ||
		    (p->p_flags & PF_R) == 0 || p->p_memsz < 64)
			continue;
		texts[n_texts].start = (uintptr_t)at;
		texts[n_texts++].size = p->p_memsz;
		for (size_t o = 16; o < p->p_filesz && n_calls < CALLS_MAX; o += 1 + below(4))
			if (arch_after_call(at + o))
				calls[n_calls++] = (uintptr_t)at + o;
	}
	return 0;
}

/* A readable page between two that are not: another stack, as far as anybody can tell. */
static uintptr_t island;

/* A value such as registers and stacks hold. */
static uintptr_t value(uintptr_t base, size_t words)
{
	switch (below(12)) {
	case 0:
		return draw();
	case 1:
		return below(4096);
	case 2:
		return (uintptr_t) - (intptr_t)below(4096);
	case 3: {
		unsigned t = (unsigned)below(n_texts);

		return texts[t].start + below(texts[t].size);
	}
	case 4:
	case 5:
	case 6:
		return base + 8 * below(words + 4) + (below(16) == 0 ? below(8) : 0);
	case 7:
		return below(2) ? island + below(3 * 4096) : 0x00007f0000000000u + (draw() >> 24);
	default:
		return calls[below(n_calls)];
	}
}

/* For live walks the block lies against an end of the readable page, as its neighbours may be read
 * on a stack whose extent had to be probed. */
static uintptr_t *live_image(size_t words)
{
	static uintptr_t pages;

	if (!pages) {
		pages = (uintptr_t)mmap(NULL, 3 * 4096, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1,
					0);
		mprotect((void *)(pages + 4096), 4096, PROT_READ | PROT_WRITE);
	}
	return (uintptr_t *)(below(2) ? pages + 4096 : pages + 8192 - words * 8);
}

static uint64_t by_end[UNWIND_ENDS], frames;

static void one(uint64_t i)
{
	size_t words = 1 + below(below(3) ? 48 : WORDS_MAX);
	uintptr_t *image = i % 4 ? malloc(words * sizeof(*image)) : live_image(words);
	uintptr_t base = below(2) ? (uintptr_t)image : 0x7ffd00000000u + 8 * below(1 << 20);
	uintptr_t pcs[MAX + 1];
	uint32_t max = (uint32_t)below(MAX + 1), n;
	enum unwind_end end;

	for (size_t w = 0; w < words; w++)
		image[w] = value(base, words);
	pcs[max] = 0x5a5a;
	if (i % 4) {
		struct unwind_snapshot snapshot = {
			.stack_base = base,
			.stack = image,
			.stack_size = words * 8,
		};

		for (int r = 0; r < ARCH_REGS; r++)
			snapshot.regs.reg[r] = value(base, words);
		if (below(4))
			snapshot.regs.reg[ARCH_PC] = calls[below(n_calls)];
		snapshot.regs.reg[ARCH_SP] =
			base + 8 * below(words) + (below(8) == 0 ? below(8) : 0);
		snapshot.regs.known =
			(uint32_t)(below(4) ? ARCH_KNOWN_ALL : draw() & ARCH_KNOWN_ALL) |
			1u << ARCH_PC | 1u << ARCH_SP;
		if (base == (uintptr_t)image)
			snapshot.stack_base += 1u << 30; /* then its own addresses point nowhere */
		n = unwind_remote(&snapshot, pcs, max, &end);
	} else {
		ucontext_t context;

		memset(&context, 0, sizeof(context));
		for (int r = 0; r < NGREG; r++)
			context.uc_mcontext.gregs[r] = (greg_t)value((uintptr_t)image, words);
		if (below(4))
			context.uc_mcontext.gregs[REG_RIP] = (greg_t)calls[below(n_calls)];
		/* Mostly on the stack that it should be on; else on one that must be probed. */
		if (below(64))
			context.uc_mcontext.gregs[REG_RSP] =
				(greg_t)((uintptr_t)image + 8 * below(words));
		n = unwind_context(&context, (uintptr_t)image, (uintptr_t)(image + words), pcs, max,
				   &end);
	}
	if (n > max || pcs[max] != 0x5a5a || (unsigned)end >= UNWIND_ENDS) {
		printf("walk %lu: %u of %u frames, end %d\n", i, n, max, end);
		abort();
	}
	by_end[end]++;
	frames += n;
	if (i % 4)
		free(image);
}

int main(int argc, char **argv)
{
	uint64_t number = argc > 1 ? strtoull(argv[1], NULL, 10) : 10000;

	state = argc > 2 ? strtoull(argv[2], NULL, 10) : (uint64_t)time(NULL);
	printf("walks: seed %lu\n", state);
	fflush(stdout);
	state = state * 2 + 1;
	dl_iterate_phdr(add_text, NULL);
	island = (uintptr_t)mmap(NULL, 3 * 4096, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	mprotect((void *)(island + 4096), 4096, PROT_READ | PROT_WRITE);
	for (uintptr_t at = island + 4096; at < island + 8192; at += 8)
		*(uintptr_t *)at = value(island + 4096, 512);
	unwind_start();
	alarm(1200);
	for (uint64_t i = 0; i < number; i++)
		one(i);
	printf("walks: %lu, frames %lu, calls known %u;", number, frames, n_calls);
	for (int e = 0; e < UNWIND_ENDS; e++)
		printf(" %s %lu", unwind_end_name((enum unwind_end)e), by_end[e]);
	printf("\n");
	return 0;
}
