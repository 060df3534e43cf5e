/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/base/vdso.h"

#include <elf.h>
#include <link.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "agent/base/attr.h"

int (*vdso_clock_gettime)(clockid_t clock, struct timespec *out);

/* The image as it lies in memory: addresses in it are relative to where it was linked for. */
struct image {
	uintptr_t bias;
	const ElfW(Sym) * symbols;
	const char *names;
	const uint32_t *gnu_hash;
	const uint32_t *hash;
};

static bool read_image(const ElfW(Ehdr) * head, struct image *out)
{
	const ElfW(Phdr) *ph = (const void *)((const char *)head + head->e_phoff);
	const ElfW(Dyn) *dynamic = NULL;
	bool loaded = false;

	if (memcmp(head->e_ident, ELFMAG, SELFMAG) != 0)
		return false;
	for (int i = 0; i < head->e_phnum; i++) {
		if (ph[i].p_type == PT_LOAD && !loaded) {
			out->bias = (uintptr_t)head + ph[i].p_offset - ph[i].p_vaddr;
			loaded = true;
		} else if (ph[i].p_type == PT_DYNAMIC) {
			dynamic = (const void *)((const char *)head + ph[i].p_offset);
		}
	}
	if (!loaded || !dynamic)
		return false;
	for (; dynamic->d_tag != DT_NULL; dynamic++) {
		const void *at = (const void *)(out->bias + dynamic->d_un.d_ptr);

		if (dynamic->d_tag == DT_SYMTAB)
			out->symbols = at;
		else if (dynamic->d_tag == DT_STRTAB)
			out->names = at;
		else if (dynamic->d_tag == DT_GNU_HASH)
			out->gnu_hash = at;
		else if (dynamic->d_tag == DT_HASH)
			out->hash = at;
	}
	return out->symbols && out->names && (out->gnu_hash || out->hash);
}

/* One more than the highest symbol index that the hash table reaches. */
static uint32_t count_symbols(const struct image *in)
{
	const uint32_t *h = in->gnu_hash, *buckets, *chains;
	uint32_t last = 0;

	if (in->hash)
		return in->hash[1]; /* nchain */
	/* nbuckets, first symbol, bloom words, shift; bloom; buckets; chains that end in an odd word */
	buckets = h + 4 + h[2] * (sizeof(uintptr_t) / sizeof(uint32_t));
	chains = buckets + h[0];
	for (uint32_t i = 0; i < h[0]; i++)
		if (buckets[i] > last)
			last = buckets[i];
	if (last < h[1])
		return 0;
	while (!(chains[last - h[1]] & 1))
		last++;
	return last + 1;
}

void vdso_start(unsigned long at)
{
	static const char *const wanted[] = { "__vdso_clock_gettime", "__kernel_clock_gettime" };
	struct image in = { 0, NULL, NULL, NULL, NULL };
	uint32_t n;

	if (!at || !read_image((const void *)at, &in))
		return;
	n = count_symbols(&in);
	for (uint32_t i = 0; i < n; i++) {
		const ElfW(Sym) *s = &in.symbols[i];

		for (size_t k = 0; k < ARRAY_LEN(wanted); k++)
			if (s->st_shndx != SHN_UNDEF && !strcmp(in.names + s->st_name, wanted[k]))
				vdso_clock_gettime =
					(__typeof__(vdso_clock_gettime))(in.bias + s->st_value);
	}
}
