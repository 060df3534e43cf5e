/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Design: a Dwfl for each file, so that each can be given up by itself; it finds the parts that a debug
 * file is made of (.dwz supplement, compressed sections, .gnu_debugdata). Not every compiler writes
 * .debug_aranges, hence an index of our own: units by address at first use of the file, functions by
 * address at first use of a unit.
 */
#include "encode/symbolizer/module.h"

#include <dwarf.h>
#include <elfutils/libdwfl.h>
#include <fcntl.h>
#include <gelf.h>
#include <malloc.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "encode/symbolizer/die.h"
#include "encode/symbolizer/frames.h"
#include "encode/symbolizer/spans.h"

enum {
	UNUSED_ROUNDS = 16,
	MEMORY_MAX = 512 << 20, /* of the heap, above which a new request begins with nothing */
	DEPTH_MAX = 512,	/* nesting of entries */
};

struct unit {
	Dwarf_Die lines; /* the unit that has the line table */
	Dwarf_Die tree;	 /* the unit that has the functions: another file's with -gsplit-dwarf */
	bool indexed;
	struct spans spans; /* index of functions */
	Dwarf_Die *functions;
	size_t n, room;
};

struct module {
	struct module *next;
	struct module_spec spec; /* with copies of the paths */
	Dwfl *dwfl;
	Dwfl_Module *mod;
	Dwarf *dwarf; /* NULL: none */
	Dwarf_Addr bias;
	bool asked_debug; /* libdwfl has asked for the debug file */
	uint64_t code;	  /* lowest address of code */
	struct unit *units;
	size_t n;
	struct spans spans; /* index of units */
	uint64_t used;
};

static struct module *list;
static uint64_t current_round;

/* libdwfl asks for the debug file first, for its .dwz supplement after that. */
static int find_debuginfo(Dwfl_Module *mod, void **userdata, const char *name, Dwarf_Addr base,
			  const char *file, const char *link, GElf_Word crc, char **out_name)
{
	struct module *m = *userdata;
	int fd;

	if (m && !m->asked_debug) {
		m->asked_debug = true;
		if (!m->spec.debug[0])
			return -1;
		fd = open(m->spec.debug, O_RDONLY | O_CLOEXEC);
		if (fd >= 0)
			*out_name = strdup(m->spec.debug);
		return fd;
	}
	return dwfl_standard_find_debuginfo(mod, userdata, name, base, file, link, crc, out_name);
}

static const Dwfl_Callbacks callbacks = {
	.find_elf = dwfl_linux_proc_find_elf,
	.find_debuginfo = find_debuginfo,
	.section_address = dwfl_offline_section_address,
};

static bool is_it(int fd, const struct module_spec *spec)
{
	struct stat st;

	return fstat(fd, &st) == 0 && S_ISREG(st.st_mode) && st.st_dev == spec->dev &&
	       st.st_ino == spec->inode && (uint64_t)st.st_size == spec->size &&
	       (uint64_t)st.st_mtim.tv_sec == spec->mtime_s &&
	       (uint64_t)st.st_mtim.tv_nsec == spec->mtime_ns;
}

static int open_file(const struct module_spec *spec)
{
	const char *const paths[] = { spec->path, spec->other };

	for (unsigned i = 0; i < 2; i++) {
		int fd = paths[i][0] ? open(paths[i], O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY) : -1;

		if (fd >= 0 && is_it(fd, spec))
			return fd;
		if (fd >= 0)
			close(fd);
	}
	return -1;
}

static char *copy(const char *text)
{
	size_t n = strlen(text) + 1;

	return memcpy(die_alloc(n), text, n);
}

static void unit_free(struct unit *u)
{
	spans_free(&u->spans);
	free(u->functions);
}

static void module_free(struct module *m)
{
	for (size_t i = 0; i < m->n; i++)
		unit_free(&m->units[i]);
	free(m->units);
	spans_free(&m->spans);
	if (m->dwfl)
		dwfl_end(m->dwfl);
	free((char *)(uintptr_t)m->spec.path);
	free((char *)(uintptr_t)m->spec.other);
	free((char *)(uintptr_t)m->spec.debug);
	free(m);
}

/* Linkers leave ranges of functions that they dropped at 0, or near it. */
static uint64_t lowest_code(Elf *elf)
{
	uint64_t low = UINT64_MAX;
	size_t n = 0;

	if (!elf || elf_getphdrnum(elf, &n) != 0)
		return 1;
	for (size_t i = 0; i < n; i++) {
		GElf_Phdr mem, *p = gelf_getphdr(elf, (int)i, &mem);

		if (p && p->p_type == PT_LOAD && (p->p_flags & PF_X) && p->p_vaddr < low)
			low = p->p_vaddr;
	}
	return low == UINT64_MAX || low == 0 ? 1 : low;
}

static void add_ranges(struct spans *spans, Dwarf_Die *die, uint64_t least, size_t value)
{
	Dwarf_Addr base, low, high;
	ptrdiff_t at = 0;

	while ((at = dwarf_ranges(die, at, &base, &low, &high)) > 0)
		if (low >= least)
			spans_add(spans, low, high, value);
}

static void index_units(struct module *m)
{
	Dwarf_CU *cu = NULL;
	Dwarf_Die die, sub;
	uint8_t type;
	size_t room = 0;

	while (dwarf_get_units(m->dwarf, cu, &cu, NULL, &type, &die, &sub) == 0) {
		if (type != DW_UT_compile && type != DW_UT_skeleton)
			continue;
		if (m->n == room) {
			room = room ? room * 2 : 64;
			m->units = die_realloc(m->units, room * sizeof(*m->units));
		}
		m->units[m->n] = (struct unit){ .lines = die, .tree = die };
		if (type == DW_UT_skeleton && dwarf_tag(&sub) == DW_TAG_compile_unit)
			m->units[m->n].tree = sub;
		add_ranges(&m->spans, &die, m->code > m->bias ? m->code - m->bias : 1, m->n);
		m->n++;
	}
	spans_sort(&m->spans);
}

static struct module *module_open(const struct module_spec *spec)
{
	struct module *m = die_alloc(sizeof(*m));
	int fd = open_file(spec);
	GElf_Addr elf_bias;
	void **userdata;

	*m = (struct module){ .spec = *spec };
	m->spec.path = copy(spec->path);
	m->spec.other = copy(spec->other);
	m->spec.debug = copy(spec->debug);
	if (fd < 0)
		return m;
	m->dwfl = dwfl_begin(&callbacks);
	if (m->dwfl)
		m->mod = dwfl_report_elf(m->dwfl, spec->path, spec->path, fd, 0, true);
	if (!m->mod) {
		close(fd);
		return m;
	}
	dwfl_module_info(m->mod, &userdata, NULL, NULL, NULL, NULL, NULL, NULL);
	*userdata = m;
	dwfl_report_end(m->dwfl, NULL, NULL);
	m->code = lowest_code(dwfl_module_getelf(m->mod, &elf_bias));
	m->dwarf = dwfl_module_getdwarf(m->mod, &m->bias);
	if (m->dwarf)
		index_units(m);
	return m;
}

static bool same(const struct module_spec *a, const struct module_spec *b)
{
	return a->dev == b->dev && a->inode == b->inode && a->size == b->size &&
	       a->mtime_s == b->mtime_s && a->mtime_ns == b->mtime_ns && !strcmp(a->debug, b->debug);
}

struct module *module_get(const struct module_spec *spec)
{
	struct module *m = list;

	while (m && !same(&m->spec, spec))
		m = m->next;
	if (!m) {
		m = module_open(spec);
		m->next = list;
		list = m;
	}
	m->used = current_round;
	return m->mod ? m : NULL;
}

bool module_has_lines(const struct module *m)
{
	return m->n > 0;
}

void modules_round(void)
{
	struct mallinfo2 info = mallinfo2();
	bool all = info.uordblks + info.hblkhd > MEMORY_MAX;
	struct module **link = &list, *m;

	if (all) {
		frames_forget();
		texts_clear();
	}
	while ((m = *link)) {
		if (!all && m->used + UNUSED_ROUNDS > current_round) {
			link = &m->next;
			continue;
		}
		*link = m->next;
		frames_forget();
		module_free(m);
	}
	if (all)
		malloc_trim(0);
	current_round++;
}

static void index_function(struct module *m, struct unit *u, Dwarf_Die *die)
{
	size_t before = u->spans.n;

	add_ranges(&u->spans, die, m->code > m->bias ? m->code - m->bias : 1, u->n);
	if (u->spans.n == before)
		return;
	if (u->n == u->room) {
		u->room = u->room ? u->room * 2 : 64;
		u->functions = die_realloc(u->functions, u->room * sizeof(*u->functions));
	}
	u->functions[u->n++] = *die;
}

/* Functions may stand in namespaces, in types, and in other functions. */
static void index_children(struct module *m, struct unit *u, Dwarf_Die *parent, unsigned depth)
{
	Dwarf_Die die;

	if (depth > DEPTH_MAX || dwarf_child(parent, &die) != 0)
		return;
	do {
		switch (dwarf_tag(&die)) {
		case DW_TAG_subprogram:
			index_function(m, u, &die);
			index_children(m, u, &die, depth + 1);
			break;
		case DW_TAG_namespace:
		case DW_TAG_module:
		case DW_TAG_structure_type:
		case DW_TAG_class_type:
		case DW_TAG_union_type:
		case DW_TAG_lexical_block:
		case DW_TAG_enumeration_type:
		case DW_TAG_variant_part:
		case DW_TAG_variant:
			index_children(m, u, &die, depth + 1);
			break;
		default:
			break;
		}
	} while (dwarf_siblingof(&die, &die) == 0);
}

unsigned module_frames(struct module *m, uint64_t address, struct frame out[FRAMES])
{
	uint64_t at = address - m->bias;
	long number = m->dwarf ? spans_find(&m->spans, at) : -1;
	struct unit *u;

	if (number < 0)
		return 0;
	u = &m->units[number];
	if (!u->indexed) {
		u->indexed = true;
		index_children(m, u, &u->tree, 0);
		spans_sort(&u->spans);
	}
	number = spans_find(&u->spans, at);
	return frames_at(&u->lines, number >= 0 ? &u->functions[number] : NULL, at, out);
}

bool module_symbol(struct module *m, uint64_t address, struct text **out_name, uint64_t *out_start)
{
	GElf_Off offset;
	GElf_Sym symbol;
	const char *name = dwfl_module_addrinfo(m->mod, address, &offset, &symbol, NULL, NULL, NULL);

	/* the nearest symbol is not good enough: what has no name must not get a wrong one */
	if (!name || (symbol.st_size && offset >= symbol.st_size))
		return false;
	*out_name = texts_get(name);
	*out_start = address - offset;
	return true;
}
