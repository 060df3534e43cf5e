/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <string.h>

#include "agent/base/mem.h"
#include "agent/collect/frames.h"
#include "encode/pprof_writer.h"

/* Looks one location up: sets its mapping and its names. */
static int name_location(struct pprof_writer *w, struct location *location)
{
	const char *mark = location->address < FRAME_MARKS ?
				   frame_mark_name((uintptr_t)location->address) : NULL;
	struct symbol symbol = { .mapping = -1, .name = mark, .linkage = mark };
	int64_t name, linkage;

	if (!mark && w->symbolize == SYMBOLIZE_NONE) {
		location->mapping = (int32_t)symbols_mapping_at(w->symbols, location->address,
								location->generation);
		if (location->mapping >= 0)
			return 0; /* what is in no file nobody else can name */
	}
	if (!mark && !symbols_find(w->symbols, location->address, location->generation, &symbol))
		return -ENOMEM;
	location->mapping = (int32_t)symbol.mapping;
	name = pprof_text(w, symbol.name);
	linkage = pprof_text(w, symbol.linkage);
	location->name = (uint32_t)name;
	location->linkage = (uint32_t)linkage;
	location->unnamed = symbol.unnamed;
	location->entry = symbol.start == location->address;
	return w->err;
}

/* One location at a time: a name may need a whole file's symbols to be read. */
int pprof_step_symbols(struct pprof_writer *w)
{
	size_t n = symbols_mappings(w->symbols);
	int err = 0;

	if (w->at < w->locations.n)
		err = name_location(w, &w->locations.list[w->at++]);
	if (err || w->at < w->locations.n)
		return err;
	w->mapping_ids = mem_zalloc((n + 1) * sizeof(*w->mapping_ids));
	w->mapping_has = mem_zalloc(n + 1);
	if (!w->mapping_ids || !w->mapping_has)
		return -ENOMEM;
	for (size_t i = 0; i < w->locations.n; i++)
		if (w->locations.list[i].mapping >= 0)
			w->mapping_ids[w->locations.list[i].mapping] = 1;
	if (w->symbolize == SYMBOLIZE_LINES)
		w->lines = lines_new(w->symbols, &w->locations);
	w->phase = w->lines ? PHASE_LINES : PHASE_MAPPINGS;
	w->at = 0;
	return 0;
}

/* What a frame is called when nothing better is known. */
static struct symbol symbol_of(const struct pprof_writer *w, const struct location *location)
{
	return (struct symbol){
		.mapping = location->mapping,
		.name = strtab_get(&w->texts, location->name)->text,
		.linkage = strtab_get(&w->texts, location->linkage)->text,
		.unnamed = location->unnamed,
		.start = location->entry ? location->address : 0,
	};
}

/* Mappings come before locations, and say what those know. */
static void note_lines(struct pprof_writer *w, size_t index)
{
	const struct location *location = &w->locations.list[index];
	struct symbol symbol = symbol_of(w, location);
	unsigned n = lines_count(w->lines, index, &symbol);

	for (unsigned i = 0; i < n && location->mapping >= 0; i++) {
		struct line_frame frame;

		if (!lines_frame(w->lines, index, i, &symbol, &frame))
			continue;
		w->mapping_has[location->mapping] |= (uint8_t)((frame.file[0] ? HAS_FILES : 0) |
							       (frame.line ? HAS_LINES : 0) |
							       (n > 1 ? HAS_INLINED : 0));
	}
}

/* A file that is mapped in pieces (node moves hot code to huge pages) has lines in all or in none: readers
 * look at any one of them to learn what is known of the file. */
static void share_by_file(struct pprof_writer *w)
{
	size_t n = symbols_mappings(w->symbols);

	for (size_t i = 1; i < n; i++) {
		const char *path = symbols_mapping(w->symbols, i)->path;

		for (size_t j = 0; j < i && w->mapping_ids[i]; j++) {
			if (strcmp(symbols_mapping(w->symbols, j)->path, path) != 0)
				continue;
			w->mapping_has[i] |= w->mapping_has[j];
			w->mapping_has[j] = w->mapping_has[i];
		}
	}
}

int pprof_step_lines(struct pprof_writer *w, uint64_t budget_ns)
{
	int more = lines_step(w->lines, budget_ns);

	if (more)
		return more == 2;
	for (size_t i = 0; i < w->locations.n; i++)
		note_lines(w, i);
	share_by_file(w);
	w->phase = PHASE_MAPPINGS;
	return 0;
}

static int put_mapping(struct pprof_writer *w, const struct mapping *mapping, uint32_t id, unsigned has)
{
	Perftools__Profiles__Mapping row = PERFTOOLS__PROFILES__MAPPING__INIT;
	Perftools__Profiles__Mapping *rows[] = { &row };
	profile_msg message = PERFTOOLS__PROFILES__PROFILE__INIT;

	row.id = id;
	row.memory_start = mapping->start;
	row.memory_limit = mapping->limit;
	row.file_offset = mapping->offset;
	row.filename = pprof_text(w, mapping->path);
	row.build_id = pprof_text(w, mapping->build_id);
	/* Without it, the go tool would replace our names by what it makes of the file. */
	row.has_functions = w->symbolize != SYMBOLIZE_NONE;
	row.has_filenames = has & HAS_FILES ? 1 : 0;
	row.has_line_numbers = has & HAS_LINES ? 1 : 0;
	row.has_inline_frames = has & HAS_INLINED ? 1 : 0;
	message.n_mapping = 1;
	message.mapping = rows;
	return w->err ? w->err : pprof_put(w, &message);
}

int pprof_step_mappings(struct pprof_writer *w)
{
	size_t n = symbols_mappings(w->symbols);
	int err = 0;

	for (size_t i = 0; !err && i < n; i++) {
		if (i > 0 && !w->mapping_ids[i])
			continue;
		w->mapping_ids[i] = ++w->mappings;
		err = put_mapping(w, symbols_mapping(w->symbols, i), w->mappings, w->mapping_has[i]);
	}
	w->phase = PHASE_LOCATIONS;
	return err;
}

static int put_function(struct pprof_writer *w, uint32_t id)
{
	const struct function *function = &w->locations.functions[id - 1];
	Perftools__Profiles__Function row = PERFTOOLS__PROFILES__FUNCTION__INIT;
	Perftools__Profiles__Function *rows[] = { &row };
	profile_msg message = PERFTOOLS__PROFILES__PROFILE__INIT;

	row.id = id;
	row.name = function->name;
	row.system_name = function->linkage;
	row.filename = function->file;
	row.start_line = function->start;
	message.n_function = 1;
	message.function = rows;
	return pprof_put(w, &message);
}

/* Number i of the lines of a location, innermost first; its function is written if it is a new one. */
static int make_line(struct pprof_writer *w, size_t index, unsigned i, Perftools__Profiles__Line *line)
{
	const struct location *location = &w->locations.list[index];
	struct function function = { .name = location->name, .linkage = location->linkage };
	struct symbol symbol = symbol_of(w, location);
	struct line_frame frame;
	uint32_t id;

	if (w->lines && lines_count(w->lines, index, &symbol)) {
		if (!lines_frame(w->lines, index, i, &symbol, &frame))
			return -ENOMEM;
		function.name = (uint32_t)pprof_text(w, frame.name);
		function.linkage = (uint32_t)pprof_text(w, frame.linkage);
		function.file = (uint32_t)pprof_text(w, frame.file);
		function.start = frame.start;
		line->line = frame.line;
	}
	id = w->err ? 0 : locations_function(&w->locations, &function);
	if (!id)
		return -ENOMEM;
	line->function_id = id;
	if (id <= w->locations.functions_put)
		return 0;
	w->locations.functions_put = id;
	return put_function(w, id);
}

static int put_location(struct pprof_writer *w, size_t index)
{
	enum { LINES_MAX = 64 };
	const struct location *location = &w->locations.list[index];
	struct symbol symbol = symbol_of(w, location);
	unsigned n = w->lines ? lines_count(w->lines, index, &symbol) : 0;
	Perftools__Profiles__Line line[LINES_MAX], *lines[LINES_MAX];
	Perftools__Profiles__Location row = PERFTOOLS__PROFILES__LOCATION__INIT;
	Perftools__Profiles__Location *rows[] = { &row };
	profile_msg message = PERFTOOLS__PROFILES__PROFILE__INIT;
	int err = 0;

	if (location->name)
		n = n == 0 ? 1 : n < LINES_MAX ? n : LINES_MAX;
	else
		n = 0;
	for (unsigned i = 0; !err && i < n; i++) {
		lines[i] = &line[i];
		line[i] = (Perftools__Profiles__Line)PERFTOOLS__PROFILES__LINE__INIT;
		err = make_line(w, index, i, &line[i]);
	}
	if (err)
		return err;
	row.id = index + 1;
	row.address = location->address;
	if (location->mapping >= 0)
		row.mapping_id = w->mapping_ids[location->mapping];
	row.n_line = n;
	row.line = lines;
	message.n_location = 1;
	message.location = rows;
	return pprof_put(w, &message);
}

/* Functions are numbered in the order of the locations that first need them. */
int pprof_step_locations(struct pprof_writer *w)
{
	size_t end = w->at + PPROF_PER_CLOCK;
	int err = 0;

	if (end > w->locations.n)
		end = w->locations.n;
	while (!err && w->at < end)
		err = put_location(w, w->at++);
	if (w->at == w->locations.n) {
		w->phase = PHASE_REST;
		w->at = 0;
	}
	return err;
}
