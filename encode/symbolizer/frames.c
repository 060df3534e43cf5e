/* SPDX-License-Identifier: Apache-2.0 */
#include "encode/symbolizer/frames.h"

#include <dwarf.h>
#include <string.h>

#include "encode/symbolizer/die.h"

enum { NAME_SIZE = 8 << 10 };

/* The entry that a function's name stands at: the abstract instance, or the declaration. */
static void follow(Dwarf_Die *die)
{
	static const unsigned links[] = { DW_AT_abstract_origin, DW_AT_specification };
	Dwarf_Attribute attr;

	for (unsigned steps = 0; steps < 16; steps++) {
		Dwarf_Die to;
		bool found = false;

		for (unsigned i = 0; i < 2 && !found; i++)
			found = dwarf_attr(die, links[i], &attr) && dwarf_formref_die(&attr, &to);
		if (!found)
			return;
		*die = to;
	}
}

static bool is_operator(const char *name)
{
	return !strncmp(name, "operator", 8) && !((name[8] | 32) >= 'a' && (name[8] | 32) <= 'z') &&
	       name[8] != '_';
}

static void append(char *buf, const char *name)
{
	size_t used = strlen(buf), n = strlen(name);
	const char *angle = strchr(name, '<');

	/* "f<int>": profiles show no template arguments; "operator<" keeps what it is called */
	if (angle && angle > name && !is_operator(name))
		n = (size_t)(angle - name);
	if (used + n + 3 > NAME_SIZE)
		return;
	if (used) {
		memcpy(buf + used, "::", 2);
		used += 2;
	}
	memcpy(buf + used, name, n);
	buf[used + n] = '\0';
}

/* Functions that only their own file sees have no linkage name in C++: spelled out, with all that they
 * stand in. */
static void spell_out(Dwarf_Die *die, const char *name, char buf[NAME_SIZE])
{
	Dwarf_Die *scopes;
	int n = dwarf_getscopes_die(die, &scopes);

	buf[0] = '\0';
	for (int i = n - 1; i > 0; i--) {
		int tag = dwarf_tag(&scopes[i]);
		const char *scope = dwarf_diename(&scopes[i]);

		if (tag == DW_TAG_namespace)
			append(buf, scope ? scope : "(anonymous namespace)");
		else if ((tag == DW_TAG_structure_type || tag == DW_TAG_class_type ||
			  tag == DW_TAG_union_type || tag == DW_TAG_subprogram) && scope)
			append(buf, scope);
	}
	if (n > 0)
		free(scopes);
	append(buf, name);
}

static bool has_scopes(Dwarf_Die *die)
{
	Dwarf_Die unit;

	if (!dwarf_diecu(die, &unit, NULL, NULL))
		return false;
	switch (dwarf_srclang(&unit)) {
	case DW_LANG_C:
	case DW_LANG_C89:
	case DW_LANG_C99:
	case DW_LANG_C11:
	case DW_LANG_Mips_Assembler:
		return false;
	default:
		return true;
	}
}

/* Spelling out walks over a whole unit: once per function. */
struct spelled {
	struct spelled *next;
	const void *die;
	struct text *text;
};

enum { SPELLED_SLOTS = 4096 };
static struct spelled *spelled[SPELLED_SLOTS];

void frames_forget(void)
{
	for (unsigned i = 0; i < SPELLED_SLOTS; i++) {
		while (spelled[i]) {
			struct spelled *s = spelled[i];

			spelled[i] = s->next;
			free(s);
		}
	}
}

static struct text *spelled_name(Dwarf_Die *die, const char *name)
{
	struct spelled **slot = &spelled[(uintptr_t)die->addr / 2 % SPELLED_SLOTS], *s;
	char buf[NAME_SIZE];

	for (s = *slot; s; s = s->next)
		if (s->die == die->addr)
			return s->text;
	spell_out(die, name, buf);
	s = die_alloc(sizeof(*s));
	*s = (struct spelled){ *slot, die->addr, texts_get(buf) };
	*slot = s;
	return s->text;
}

static struct text *name_of(Dwarf_Die *die)
{
	Dwarf_Attribute attr;
	Dwarf_Die origin = *die;
	const char *name = NULL;

	if (dwarf_attr_integrate(die, DW_AT_linkage_name, &attr) ||
	    dwarf_attr_integrate(die, DW_AT_MIPS_linkage_name, &attr))
		name = dwarf_formstring(&attr);
	if (name && name[0])
		return texts_get(name);
	name = dwarf_diename(die);
	if (!name || !name[0])
		return NULL;
	follow(&origin);
	return has_scopes(&origin) ? spelled_name(&origin, name) : texts_get(name);
}

/* A file as a unit names it: relative ones lie below its directory. */
static struct text *file_text(Dwarf_Die *unit, const char *path)
{
	Dwarf_Attribute attr;
	const char *dir;
	char joined[2 * NAME_SIZE];
	size_t n;

	if (!path || !path[0])
		return NULL;
	dir = path[0] != '/' && dwarf_attr(unit, DW_AT_comp_dir, &attr) ? dwarf_formstring(&attr) : NULL;
	n = dir ? strlen(dir) : 0;
	if (!n || n + strlen(path) + 2 > sizeof(joined))
		return texts_get(path);
	memcpy(joined, dir, n);
	joined[n] = '/';
	memcpy(joined + n + 1, path, strlen(path) + 1);
	return texts_get(joined);
}

/* The file that an attribute gives by its number. */
static struct text *attr_file(Dwarf_Attribute *attr)
{
	Dwarf_Word number;
	Dwarf_Files *files;
	Dwarf_Die unit;
	size_t n;

	if (dwarf_formudata(attr, &number) != 0 ||
	    dwarf_cu_info(attr->cu, NULL, NULL, &unit, NULL, NULL, NULL, NULL) != 0 ||
	    dwarf_getsrcfiles(&unit, &files, &n) != 0 || number >= n)
		return NULL;
	return file_text(&unit, dwarf_filesrc(files, number, NULL, NULL));
}

/* The first line counts only in the file where the frame is: code from an included file has none. */
static uint32_t start_of(Dwarf_Die *die, const struct text *file)
{
	Dwarf_Attribute attr;
	int line;

	if (!file || !dwarf_attr_integrate(die, DW_AT_decl_file, &attr) || attr_file(&attr) != file ||
	    dwarf_decl_line(die, &line) != 0)
		return 0;
	return line > 0 ? (uint32_t)line : 0;
}

/* Where the innermost code is. */
static void line_at(Dwarf_Die *unit, Dwarf_Addr address, struct frame *out)
{
	Dwarf_Line *line = dwarf_getsrc_die(unit, address);
	int number;

	if (!line || dwarf_lineno(line, &number) != 0)
		return;
	out->file = file_text(unit, dwarf_linesrc(line, NULL, NULL));
	out->line = number > 0 ? (uint32_t)number : 0;
}

/* Where an inlined function was called. */
static void call_of(Dwarf_Die *die, struct frame *out)
{
	Dwarf_Attribute attr;
	Dwarf_Word number;

	if (dwarf_attr(die, DW_AT_call_file, &attr))
		out->file = attr_file(&attr);
	if (dwarf_attr(die, DW_AT_call_line, &attr) && dwarf_formudata(&attr, &number) == 0 &&
	    number <= UINT32_MAX)
		out->line = (uint32_t)number;
}

/* The next inlined function below a function's entry that holds the address. */
static bool inner(Dwarf_Die *parent, Dwarf_Addr address, Dwarf_Die *out, unsigned depth)
{
	Dwarf_Attribute attr;
	Dwarf_Die die;

	if (depth > 256 || dwarf_child(parent, &die) != 0)
		return false;
	do {
		int tag = dwarf_tag(&die);

		if (tag == DW_TAG_inlined_subroutine && dwarf_haspc(&die, address) > 0) {
			*out = die;
			return true;
		}
		if (tag == DW_TAG_lexical_block &&
		    (dwarf_haspc(&die, address) > 0 ||
		     !(dwarf_attr(&die, DW_AT_ranges, &attr) || dwarf_attr(&die, DW_AT_low_pc, &attr))) &&
		    inner(&die, address, out, depth + 1))
			return true;
	} while (dwarf_siblingof(&die, &die) == 0);
	return false;
}

unsigned frames_at(Dwarf_Die *lines, Dwarf_Die *function, Dwarf_Addr address, struct frame out[FRAMES])
{
	Dwarf_Die chain[FRAMES];
	unsigned n = 0;
	struct frame at = { 0 };

	line_at(lines, address, &at);
	if (!function) {
		out[0] = at;
		return at.file != NULL;
	}
	chain[n++] = *function;
	while (n < FRAMES && inner(&chain[n - 1], address, &chain[n], 0))
		n++;
	for (unsigned i = 0; i < n; i++) {
		Dwarf_Die *die = &chain[n - 1 - i];

		out[i] = at;
		out[i].name = name_of(die);
		out[i].start = start_of(die, at.file);
		at = (struct frame){ 0 };
		call_of(die, &at);
	}
	return n;
}
