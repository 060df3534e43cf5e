/* SPDX-License-Identifier: Apache-2.0 */
/* Section table, symbol tables, PLT relocations. */
#include <string.h>

#include "agent/base/attr.h"
#include "agent/base/mem.h"
#include "agent/base/sys.h"
#include "encode/elf_read.h"
#include "plt.h"

enum { SECTIONS_MAX = 1 << 16, NAMES_MAX = 4 << 20, CHUNK_SYMBOLS = 256, CHUNK_TEXT = 256 };

struct sections {
	Elf64_Shdr *list;
	size_t n;
	char *names; /* NUL-terminated */
	size_t names_size;
};

static const char *section_name(const struct sections *s, const Elf64_Shdr *section)
{
	return section->sh_name < s->names_size ? s->names + section->sh_name : "";
}

static struct elf_symbols symbols_of(const struct sections *s, const Elf64_Shdr *section)
{
	struct elf_symbols symbols = { 0 };

	if (section->sh_entsize == sizeof(Elf64_Sym) && section->sh_link < s->n) {
		symbols.at = section->sh_offset;
		symbols.n = section->sh_size / sizeof(Elf64_Sym);
		symbols.strings = s->list[section->sh_link].sh_offset;
		symbols.strings_size = s->list[section->sh_link].sh_size;
	}
	return symbols;
}

static void note_section(struct elf *elf, const Elf64_Shdr *section)
{
	uint8_t notes[512];
	size_t size = section->sh_size < sizeof(notes) ? section->sh_size : sizeof(notes);

	if (!elf->build_id_size && elf_read_offset(elf, section->sh_offset, notes, size))
		elf_take_notes(elf, notes, size, section->sh_addralign == 8 ? 8 : 4);
}

static void take_section(struct elf *elf, const struct sections *s, size_t i)
{
	const Elf64_Shdr *section = &s->list[i];
	struct elf_range range = { section->sh_addr, section->sh_offset, section->sh_size };
	const char *name = section_name(s, section);
	struct elf_symbols symbols;

	elf->executable[i] = !!(section->sh_flags & SHF_EXECINSTR);
	switch (section->sh_type) {
	case SHT_SYMTAB:
		elf->symtab = symbols_of(s, section);
		break;
	case SHT_DYNSYM:
		symbols = symbols_of(s, section);
		symbols.versions = elf->dynsym.versions;
		elf->dynsym = symbols;
		break;
	case SHT_GNU_versym:
		elf->dynsym.versions = section->sh_offset;
		break;
	case SHT_NOTE:
		note_section(elf, section);
		break;
	case SHT_RELA:
		if (section->sh_entsize == sizeof(Elf64_Rela) && section->sh_link < s->n &&
		    s->list[section->sh_link].sh_type == SHT_DYNSYM)
			elf->relas[elf->n_relas++] = range;
		break;
	case SHT_PROGBITS:
		if (strncmp(name, ".plt", 4) == 0)
			elf->plts[elf->n_plts++] = range;
		else if (strcmp(name, ".gnu_debuglink") == 0)
			elf->debuglink = range;
		else if (strcmp(name, ".gnu_debugdata") == 0)
			elf->debugdata = range;
		else if (strcmp(name, ".debug_info") == 0 || strcmp(name, ".zdebug_info") == 0)
			elf->debug_info = true;
		break;
	default:
		break;
	}
}

/* Reads the section headers and their names. false: broken or no memory; nothing is left behind. */
static bool read_sections(const struct elf *elf, const Elf64_Ehdr *header, struct sections *s)
{
	Elf64_Shdr first;
	uint64_t n = header->e_shnum, names = header->e_shstrndx;

	*s = (struct sections){ 0 };
	if (!header->e_shoff || header->e_shentsize != sizeof(Elf64_Shdr) ||
	    !elf_read_offset(elf, header->e_shoff, &first, sizeof(first)))
		return false;
	if (n == 0)
		n = first.sh_size;
	if (names == SHN_XINDEX)
		names = first.sh_link;
	if (n == 0 || n > SECTIONS_MAX || names >= n)
		return false;
	s->list = mem_alloc(n * sizeof(*s->list));
	if (!s->list || !elf_read_offset(elf, header->e_shoff, s->list, n * sizeof(*s->list)))
		goto fail;
	s->n = n;
	s->names_size = s->list[names].sh_size;
	if (s->names_size > NAMES_MAX)
		goto fail;
	s->names = mem_alloc(s->names_size + 1);
	if (!s->names ||
	    !elf_read_offset(elf, s->list[names].sh_offset, s->names, s->names_size))
		goto fail;
	s->names[s->names_size] = '\0';
	return true;
fail:
	mem_free(s->list);
	mem_free(s->names);
	return false;
}

int elf_take_sections(struct elf *elf, const Elf64_Ehdr *header)
{
	struct sections s;
	size_t plts = 0, relas = 0;

	if (!read_sections(elf, header, &s))
		return 0;
	for (size_t i = 0; i < s.n; i++) {
		plts += s.list[i].sh_type == SHT_PROGBITS &&
			strncmp(section_name(&s, &s.list[i]), ".plt", 4) == 0;
		relas += s.list[i].sh_type == SHT_RELA;
	}
	elf->executable = mem_zalloc(s.n);
	elf->plts = mem_alloc((plts + 1) * sizeof(*elf->plts));
	elf->relas = mem_alloc((relas + 1) * sizeof(*elf->relas));
	elf->n_sections = s.n;
	if (elf->executable && elf->plts && elf->relas)
		for (size_t i = 0; i < s.n; i++)
			take_section(elf, &s, i);
	mem_free(s.list);
	mem_free(s.names);
	return elf->executable && elf->plts && elf->relas ? 0 : -ENOMEM;
}

/* Number of symbols, from the GNU hash table: the end of the chain that reaches furthest. */
static uint64_t count_gnu_hash(const struct elf *elf, uint64_t table)
{
	struct {
		uint32_t buckets, first, bloom, shift;
	} h;
	uint64_t buckets, chains;
	uint32_t last = 0, link;

	if (!elf_read(elf, table, &h, sizeof(h)) || h.buckets > 1 << 24 || h.bloom > 1 << 24)
		return 0;
	buckets = table + sizeof(h) + (uint64_t)h.bloom * 8;
	chains = buckets + (uint64_t)h.buckets * 4;
	for (uint32_t i = 0; i < h.buckets; i++) {
		uint32_t bucket;

		if (!elf_read(elf, buckets + (uint64_t)i * 4, &bucket, sizeof(bucket)))
			return 0;
		if (bucket > last)
			last = bucket;
	}
	if (last < h.first)
		return h.first;
	do {
		if (!elf_read(elf, chains + (uint64_t)(last - h.first) * 4, &link, sizeof(link)))
			return 0;
		last++;
	} while (!(link & 1) && last);
	return last;
}

/* The loader writes run-time addresses over the dynamic section of what it loads; the vdso's keeps
 * the file's. */
static uint64_t dynamic_vaddr(const struct elf *elf, uint64_t value)
{
	return elf->bias && value >= elf->bias ? value - elf->bias : value;
}

void elf_take_dynamic(struct elf *elf)
{
	uint64_t gnu_hash = 0, hash = 0, n = 0;
	struct elf_symbols symbols = { 0 };

	for (uint64_t at = 0; elf->dynamic.size - at >= sizeof(Elf64_Dyn) && at < 1 << 16;
	     at += sizeof(Elf64_Dyn)) {
		Elf64_Dyn entry;

		if (!elf_read(elf, elf->dynamic.vaddr + at, &entry, sizeof(entry)) ||
		    entry.d_tag == DT_NULL)
			break;
		if (entry.d_tag == DT_SYMTAB)
			symbols.at = dynamic_vaddr(elf, entry.d_un.d_ptr);
		else if (entry.d_tag == DT_STRTAB)
			symbols.strings = dynamic_vaddr(elf, entry.d_un.d_ptr);
		else if (entry.d_tag == DT_STRSZ)
			symbols.strings_size = entry.d_un.d_val;
		else if (entry.d_tag == DT_VERSYM)
			symbols.versions = dynamic_vaddr(elf, entry.d_un.d_ptr);
		else if (entry.d_tag == DT_GNU_HASH)
			gnu_hash = dynamic_vaddr(elf, entry.d_un.d_ptr);
		else if (entry.d_tag == DT_HASH)
			hash = dynamic_vaddr(elf, entry.d_un.d_ptr);
	}
	if (hash) {
		uint32_t words[2];

		if (elf_read(elf, hash, words, sizeof(words)))
			n = words[1];
	} else if (gnu_hash) {
		n = count_gnu_hash(elf, gnu_hash);
	}
	if (symbols.at && symbols.strings) {
		symbols.n = n;
		elf->dynsym = symbols;
	}
}

int elf_visit_symbols(const struct elf *elf, const struct elf_symbols *symbols,
		      bool (*visit)(void *arg, const Elf64_Sym *symbol, uint64_t index), void *arg)
{
	Elf64_Sym chunk[CHUNK_SYMBOLS];

	for (uint64_t i = 0; i < symbols->n; i += CHUNK_SYMBOLS) {
		uint64_t n = symbols->n - i < CHUNK_SYMBOLS ? symbols->n - i : CHUNK_SYMBOLS;
		uint64_t at;

		if (__builtin_add_overflow(symbols->at, i * sizeof(*chunk), &at) ||
		    !elf_read_raw(elf, at, chunk, n * sizeof(*chunk)))
			return -EIO;
		for (uint64_t k = 0; k < n; k++)
			if (!visit(arg, &chunk[k], i + k))
				return 1;
	}
	return 0;
}

uint8_t *elf_old_versions(const struct elf *elf, const struct elf_symbols *symbols)
{
	enum { NOT_DEFAULT = 0x8000 };
	uint16_t chunk[CHUNK_SYMBOLS];
	uint8_t *old;

	if (!symbols->versions || symbols->n > elf->size + (elf->mapped ? UINT32_MAX : 0))
		return NULL;
	old = mem_zalloc(symbols->n + 1);
	if (!old)
		return NULL;
	for (uint64_t i = 0; i < symbols->n; i += CHUNK_SYMBOLS) {
		uint64_t n = symbols->n - i < CHUNK_SYMBOLS ? symbols->n - i : CHUNK_SYMBOLS;

		if (!elf_read_raw(elf, symbols->versions + i * sizeof(*chunk), chunk,
				  n * sizeof(*chunk)))
			break;
		for (uint64_t k = 0; k < n; k++)
			old[i + k] = !!(chunk[k] & NOT_DEFAULT);
	}
	return old;
}

long elf_string(const struct elf *elf, const struct elf_symbols *symbols, uint64_t offset, char *buf,
		size_t size)
{
	size_t have = 0;

	if (size == 0 || offset >= symbols->strings_size)
		return -1;
	while (have < size - 1) {
		uint64_t left = symbols->strings_size - offset - have;
		size_t n = size - 1 - have < CHUNK_TEXT ? size - 1 - have : CHUNK_TEXT;
		size_t len;

		if (n > left)
			n = left;
		if (n == 0 || !elf_read_raw(elf, symbols->strings + offset + have, buf + have, n))
			break;
		len = strnlen(buf + have, n);
		have += len;
		if (len < n)
			break;
	}
	buf[have] = '\0';
	return have ? (long)have : -1;
}

bool elf_debuglink(const struct elf *elf, char *buf, size_t size, uint32_t *out_crc)
{
	char section[512];
	size_t n = elf->debuglink.size, len;

	if (n == 0 || n > sizeof(section) ||
	    !elf_read_offset(elf, elf->debuglink.offset, section, n))
		return false;
	len = strnlen(section, n);
	if (len == 0 || len + 1 > size || ALIGN_UP(len + 1, (size_t)4) + 4 > n ||
	    memchr(section, '/', len))
		return false;
	memcpy(buf, section, len + 1);
	memcpy(out_crc, section + ALIGN_UP(len + 1, (size_t)4), 4);
	return true;
}

static bool relocation_symbol(const struct elf *elf, uint64_t slot, Elf64_Sym *out)
{
	Elf64_Rela chunk[CHUNK_SYMBOLS];

	for (size_t r = 0; r < elf->n_relas; r++) {
		uint64_t n = elf->relas[r].size / sizeof(*chunk);

		for (uint64_t i = 0; i < n; i += CHUNK_SYMBOLS) {
			uint64_t m = n - i < CHUNK_SYMBOLS ? n - i : CHUNK_SYMBOLS;

			if (!elf_read_offset(elf, elf->relas[r].offset + i * sizeof(*chunk), chunk,
					     m * sizeof(*chunk)))
				break;
			for (uint64_t k = 0; k < m; k++) {
				uint64_t symbol = ELF64_R_SYM(chunk[k].r_info);

				if (chunk[k].r_offset == slot && symbol < elf->dynsym.n)
					return elf_read_offset(elf,
							       elf->dynsym.at + symbol * sizeof(*out),
							       out, sizeof(*out));
			}
		}
	}
	return false;
}

long elf_plt_name(const struct elf *elf, uint64_t vaddr, char *buf, size_t size,
		  uint64_t *out_start)
{
	for (size_t i = 0; i < elf->n_plts; i++) {
		const struct elf_range *plt = &elf->plts[i];
		uint8_t code[ARCH_PLT_ENTRY] = { 0 };
		uint64_t start, slot;
		Elf64_Sym symbol;
		size_t n;

		if (vaddr < plt->vaddr || vaddr - plt->vaddr >= plt->size)
			continue;
		/* .plt.got without IBT has entries of half the size */
		for (uint64_t entry = ARCH_PLT_ENTRY; entry >= ARCH_PLT_ENTRY / 2; entry /= 2) {
			start = vaddr - (vaddr - plt->vaddr) % entry;
			n = plt->vaddr + plt->size - start < entry ? plt->vaddr + plt->size - start : entry;
			if (!elf_read(elf, start, code, n))
				return -1;
			slot = arch_plt_slot(code, start);
			if (slot && relocation_symbol(elf, slot, &symbol)) {
				*out_start = start;
				return elf_string(elf, &elf->dynsym, symbol.st_name, buf, size);
			}
		}
	}
	return -1;
}
