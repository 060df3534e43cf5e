/* SPDX-License-Identifier: Apache-2.0 */
#include "encode/symtab.h"

#include <errno.h>

#include "agent/base/mem.h"
#include "encode/grow.h"

enum { KEY_BYTES = 8, INSERTION_MAX = 16 };

struct adding {
	struct symtab *table;
	const struct elf *elf;
	const uint8_t *old; /* by symbol number; NULL: unknown */
	uint8_t source;
	bool no_memory;
};

static bool is_code(const struct elf *elf, const Elf64_Sym *s)
{
	unsigned type = ELF64_ST_TYPE(s->st_info);

	if (s->st_shndx == SHN_UNDEF || s->st_name == 0)
		return false;
	if (type == STT_FUNC || type == STT_GNU_IFUNC)
		return true;
	/* labels of assembly; section numbers are known of files only */
	return type == STT_NOTYPE && s->st_shndx < elf->n_sections && elf->executable[s->st_shndx];
}

static bool add_symbol(void *arg, const Elf64_Sym *s, uint64_t index)
{
	struct adding *adding = arg;
	struct symtab *table = adding->table;
	uint64_t start = s->st_value - table->base;

	if (!is_code(adding->elf, s) || s->st_value < table->base || start > UINT32_MAX ||
	    s->st_size > UINT32_MAX)
		return true;
	if (table->n >= UINT32_MAX - 1 ||
	    !grow_room(&table->list, &table->room, table->n + 1, sizeof(*table->list))) {
		adding->no_memory = true;
		return false;
	}
	table->list[table->n++] = (struct symtab_entry){
		.start = (uint32_t)start,
		.size = (uint32_t)s->st_size,
		.name = s->st_name,
		.source = adding->source,
		.binding = ELF64_ST_BIND(s->st_info),
		.type = ELF64_ST_TYPE(s->st_info),
		.old = adding->old && adding->old[index],
	};
	return true;
}

int symtab_add(struct symtab *table, const struct elf *elf, const struct elf_symbols *symbols,
	       uint8_t source)
{
	uint8_t *old = elf_old_versions(elf, symbols);
	struct adding adding = { .table = table, .elf = elf, .old = old, .source = source };
	int err = elf_visit_symbols(elf, symbols, add_symbol, &adding);

	mem_free(old);
	return adding.no_memory ? -ENOMEM : err < 0 ? err : 0;
}

/* By start, the largest first. */
static uint64_t key(const struct symtab_entry *e)
{
	return (uint64_t)e->start << 32 | (uint32_t)~e->size;
}

static void insertion_sort(struct symtab_entry *list, size_t n)
{
	for (size_t i = 1; i < n; i++) {
		struct symtab_entry e = list[i];
		size_t k = i;

		for (; k > 0 && key(&list[k - 1]) > key(&e); k--)
			list[k] = list[k - 1];
		list[k] = e;
	}
}

/* In-place radix sort, most significant byte first ("American flag"; McIlroy, Bostic, McIlroy,
 * "Engineering Radix Sort", 1993): no second copy of the table, no worst case that a hostile file
 * could choose. */
static void radix_sort(struct symtab_entry *list, size_t n, unsigned byte)
{
	unsigned shift = (KEY_BYTES - 1 - byte) * 8;
	size_t next[256], end[256] = { 0 };
	size_t sum = 0;

	if (n <= INSERTION_MAX) {
		insertion_sort(list, n);
		return;
	}
	for (size_t i = 0; i < n; i++)
		end[key(&list[i]) >> shift & 255]++;
	for (unsigned b = 0; b < 256; b++) {
		next[b] = sum;
		sum += end[b];
		end[b] = sum;
	}
	for (unsigned b = 0; b < 256; b++) {
		while (next[b] < end[b]) {
			struct symtab_entry e = list[next[b]];
			unsigned to = key(&e) >> shift & 255;

			list[next[b]] = list[next[to]];
			list[next[to]++] = e;
		}
	}
	for (unsigned b = 0; b < 256 && byte + 1 < KEY_BYTES; b++) {
		size_t begin = b ? end[b - 1] : 0;

		radix_sort(list + begin, end[b] - begin, byte + 1);
	}
}

static uint64_t end_of(const struct symtab_entry *e)
{
	return (uint64_t)e->start + e->size;
}

/* Links each entry to the nearest earlier one that reaches over its start. */
static void link_enclosing(struct symtab *table)
{
	uint32_t top = 0;

	for (size_t i = 0; i < table->n; i++) {
		struct symtab_entry *e = &table->list[i];

		while (top && end_of(&table->list[top - 1]) <= e->start)
			top = table->list[top - 1].up;
		e->up = top;
		if (e->size)
			top = (uint32_t)i + 1;
	}
}

void symtab_finish(struct symtab *table)
{
	struct symtab_entry *fit;

	radix_sort(table->list, table->n, 0);
	link_enclosing(table);
	if (table->room > table->n + table->n / 8) {
		fit = mem_alloc((table->n + 1) * sizeof(*fit));
		if (!fit)
			return;
		for (size_t i = 0; i < table->n; i++)
			fit[i] = table->list[i];
		mem_free(table->list);
		table->list = fit;
		table->room = table->n + 1;
	}
}

/* First entry with the start of entry i. */
static size_t group_of(const struct symtab *table, size_t i)
{
	while (i > 0 && table->list[i - 1].start == table->list[i].start)
		i--;
	return i;
}

size_t symtab_find(const struct symtab *table, uint64_t vaddr, const struct symtab_entry **out_first,
		   bool *out_sure)
{
	uint64_t off = vaddr - table->base;
	size_t low = 0, high = table->n, first, n = 1;

	if (vaddr < table->base)
		return 0;
	while (low < high) {
		size_t mid = low + (high - low) / 2;

		if (table->list[mid].start <= off)
			low = mid + 1;
		else
			high = mid;
	}
	if (low == 0)
		return 0;
	first = group_of(table, low - 1);
	*out_sure = true;
	for (size_t i = first + 1;; i = table->list[i - 1].up) {
		if (end_of(&table->list[i - 1]) > off) {
			first = group_of(table, i - 1);
			break;
		}
		if (!table->list[i - 1].up) {
			/* no size reaches as far: labels without a size do, up to the next symbol */
			*out_sure = false;
			break;
		}
	}
	if (!*out_sure) {
		while (table->list[first].size && first + 1 < low)
			first++;
		if (table->list[first].size)
			return 0;
	}
	while (first + n < table->n && table->list[first + n].start == table->list[first].start &&
	       (!*out_sure || end_of(&table->list[first + n]) > off))
		n++;
	*out_first = &table->list[first];
	return n;
}

void symtab_free(struct symtab *table)
{
	mem_free(table->list);
	*table = (struct symtab){ 0 };
}
