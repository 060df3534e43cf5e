/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Two signs. The first definition of malloc in the search order of the loader is not ours
 * (hooks/alloc.c looked when the process started): then we see nothing. A loaded file names the
 * functions of a known allocator: then it may take memory by these names, past malloc. Names are
 * searched for in the files' string tables, not symbol by symbol; defined or only used makes no
 * difference. The file whose malloc is the next behind ours is not foreign: its blocks are seen, but for
 * those of an operator new that goes its own way.
 */
#include "agent/foreign.h"

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#include "agent/base/attr.h"
#include "agent/base/fmt.h"
#include "agent/base/mem.h"
#include "agent/base/sys.h"
#include "encode/elf.h"
#include "encode/maps.h"
#include "hooks/real.h"

enum { CHUNK = 64 << 10, OVERLAP = 32, STRINGS_MAX = 64 << 20 };

static const struct known {
	const char *symbol, *allocator;
} known[] = {
	{ "je_malloc", "jemalloc" },	  { "je_mallocx", "jemalloc" },
	{ "_rjem_malloc", "jemalloc" },	  { "_rjem_mallocx", "jemalloc" },
	{ "mallocx", "jemalloc" },	  { "mi_malloc", "mimalloc" },
	{ "tc_malloc", "tcmalloc" },	  { "TCMallocInternalMalloc", "tcmalloc" },
	{ "rpmalloc", "rpmalloc" },	  { "scudo_malloc", "scudo" },
	{ "scalable_malloc", "TBB's scalable allocator" },
};

/* In the file of the malloc behind ours: its C++ operators are its own and do not call malloc. */
static const struct known own_new[] = { { "_Znwm", "" } };

/* What was found in a file, kept for as long as the process lives. */
struct verdict {
	struct verdict *next;
	const struct known *found; /* NULL: none */
	char path[];
};

static struct verdict *verdicts;

/* "\0name\0" in a block that begins and ends anywhere: the caller overlaps blocks by OVERLAP. */
static const struct known *search_block(const char *block, size_t n, const struct known *names,
					size_t n_names)
{
	for (size_t k = 0; k < n_names; k++) {
		size_t len = strlen(names[k].symbol);
		const char *at = block, *end = block + n;

		while ((at = memchr(at, names[k].symbol[0], (size_t)(end - at)))) {
			if ((size_t)(end - at) <= len)
				break;
			if (at > block && !at[-1] && !memcmp(at, names[k].symbol, len + 1))
				return &names[k];
			at++;
		}
	}
	return NULL;
}

static const struct known *search_strings(int fd, uint64_t at, uint64_t size,
					  const struct known *names, size_t n_names)
{
	char *block = mem_alloc(CHUNK);
	const struct known *found = NULL;
	uint64_t end = at + (size < STRINGS_MAX ? size : STRINGS_MAX);

	while (block && !found && at < end) {
		long n = sys_pread(fd, block, CHUNK, at);

		if (n <= OVERLAP)
			break;
		found = search_block(block, (size_t)n, names, n_names);
		at += (uint64_t)n - OVERLAP;
	}
	mem_free(block);
	return found;
}

static const struct known *search_file(const char *path, bool wrapped)
{
	const struct known *names = wrapped ? own_new : known;
	size_t n = wrapped ? ARRAY_LEN(own_new) : ARRAY_LEN(known);
	const struct known *found;
	struct elf elf;
	long fd = sys_open(path, O_RDONLY | O_CLOEXEC);

	if (fd < 0 || elf_open_file(&elf, (int)fd) != 0)
		return NULL;
	found = search_strings(elf.fd, elf.dynsym.strings, elf.dynsym.strings_size, names, n);
	if (!found && elf.symtab.n)
		found = search_strings(elf.fd, elf.symtab.strings, elf.symtab.strings_size, names, n);
	elf_close(&elf);
	return found;
}

static const struct known *verdict_of(const char *path, bool wrapped)
{
	size_t len = strlen(path) + 1;
	struct verdict *v;

	for (v = verdicts; v; v = v->next)
		if (!strcmp(v->path, path))
			return v->found;
	v = mem_alloc(sizeof(*v) + len);
	if (!v)
		return NULL;
	memcpy(v->path, path, len);
	v->found = search_file(path, wrapped);
	v->next = verdicts;
	verdicts = v;
	return v->found;
}

static bool contains(const struct map *m, const void *function)
{
	return (uintptr_t)function >= m->start && (uintptr_t)function < m->end;
}

void foreign_say(void (*say)(void *to, const char *sentence), void *to)
{
	const char *rival = real_rival();
	struct maps maps;
	char text[512];

	if (rival) {
		fmt_buf(text, sizeof(text),
			"this program's malloc is that of %s, found before the agent's: its "
			"allocations are not in this profile",
			rival);
		say(to, text);
	}
	/* without the list there is nothing to say */
	maps_read(&maps);
	for (size_t i = 0; i < maps.n; i++) {
		const struct map *m = &maps.list[i];
		bool wrapped = contains(m, (const void *)real.malloc);
		const struct known *found;

		if (m->path[0] != '/' || contains(m, (const void *)foreign_say) ||
		    (rival && !strcmp(m->path, rival)))
			continue;
		found = verdict_of(m->path, wrapped);
		if (!found)
			continue;
		if (wrapped)
			fmt_buf(text, sizeof(text),
				"operator new of %s does not call malloc: what C++ code allocates "
				"is not in this profile",
				m->path);
		else
			fmt_buf(text, sizeof(text),
				"%s names %s (%s): what is allocated by that name instead of "
				"malloc is not in this profile",
				m->path, found->symbol, found->allocator);
		say(to, text);
	}
	maps_free(&maps);
}
