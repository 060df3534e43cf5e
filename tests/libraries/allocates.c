/* SPDX-License-Identifier: Apache-2.0 */
/*
 * CFLAGS: -fno-builtin -fno-stack-protector
 * Stands before the agent and before libc's dlsym and dlvsym, which allocate here with every look-up, as those
 * of other tools do; in the agent's first pass that is while it has no allocator yet. The blocks must be
 * zeroed, stay as they are, and be given back in the end.
 */
#include <link.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { KEPT = 200 };

static struct {
	unsigned char *at;
	size_t size;
} kept[KEPT];
static size_t n;
static _Atomic int inside;
void *real_dlsym, *real_dlvsym;

/* Of a symbol that the object defines; its table ends where its texts begin, as all linkers lay it out. */
static int find_in(struct dl_phdr_info *info, size_t size, void *arg)
{
	const ElfW(Dyn) *d = NULL;
	const ElfW(Sym) *s = NULL;
	const char *texts = NULL;

	if (!strstr(info->dlpi_name, "libc.so"))
		return 0;
	for (int i = 0; i < info->dlpi_phnum; i++)
		if (info->dlpi_phdr[i].p_type == PT_DYNAMIC)
			d = (const void *)(info->dlpi_addr + info->dlpi_phdr[i].p_vaddr);
	for (; d && d->d_tag; d++) {
		if (d->d_tag == DT_SYMTAB)
			s = (const void *)d->d_un.d_ptr;
		if (d->d_tag == DT_STRTAB)
			texts = (const char *)d->d_un.d_ptr;
	}
	for (; s && (const char *)s < texts; s++) {
		if (!s->st_value)
			continue;
		if (!strcmp(texts + s->st_name, "dlsym"))
			real_dlsym = (void *)(info->dlpi_addr + s->st_value);
		if (!strcmp(texts + s->st_name, "dlvsym"))
			real_dlvsym = (void *)(info->dlpi_addr + s->st_value);
	}
	return 1;
}

/* Called with the arguments of the look-up saved. */
__attribute__((used, visibility("hidden"))) void allocate(void);
void allocate(void)
{
	if (!real_dlsym)
		dl_iterate_phdr(find_in, NULL);
	if (n == KEPT || atomic_exchange(&inside, 1))
		return;
	kept[n].size = 1 + n * 37 % 400;
	kept[n].at = calloc(1, kept[n].size);
	for (size_t i = 0; i < kept[n].size; i++)
		if (kept[n].at[i])
			abort();
	memset(kept[n].at, (int)n + 1, kept[n].size);
	/* at once, as error texts are; and grown */
	if (n % 4 == 3)
		free(malloc(50));
	if (n % 4 == 2) {
		kept[n].at = realloc(kept[n].at, kept[n].size + 300);
		if (!kept[n].at)
			abort();
	}
	n++;
	atomic_store(&inside, 0);
}

/* The caller must stay the caller: RTLD_NEXT is seen from there. */
#define LOOK_UP(name)                                                                                       \
	__asm__(".globl " #name "\n.type " #name ", @function\n" #name ":\n"                                \
		"push %rdi\npush %rsi\npush %rdx\ncall allocate\npop %rdx\npop %rsi\npop %rdi\n"            \
		"mov real_" #name "@GOTPCREL(%rip), %rax\njmp *(%rax)\n.size " #name ", . - " #name "\n")
LOOK_UP(dlsym);
LOOK_UP(dlvsym);

static void __attribute__((destructor)) give_back(void)
{
	static const char done[] = "all given back\n", few[] = "few look-ups\n";

	for (size_t i = 0; i < n; i++) {
		for (size_t k = 0; k < kept[i].size; k++)
			if (kept[i].at[k] != (unsigned char)(i + 1))
				abort();
		if (i % 2)
			kept[i].at = realloc(kept[i].at, 5000);
		free(kept[i].at);
	}
	/* some programs have closed it by now */
	if (write(1, n > 50 ? done : few, n > 50 ? sizeof(done) - 1 : sizeof(few) - 1) < 0)
		return;
}
