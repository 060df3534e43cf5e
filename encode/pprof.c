/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Design: serialised messages of one type concatenate, so the file is a row of small Profile
 * messages, each packed from a struct in the writer into one buffer: no tree, no allocation by
 * protobuf-c. In this order:
 *
 *	sample types | samples | mappings | functions and locations | texts | times, period, comments
 *
 * Samples come first because they only need the numbers of their locations, which are given out as
 * addresses turn up; then every distinct address is looked up once. Mappings must be numbered
 * before locations can name them, and only used ones are listed, hence the pass between.
 */
#include "encode/pprof.h"

#include <errno.h>
#include <string.h>

#include "agent/base/attr.h"
#include "agent/base/fmt.h"
#include "agent/base/mem.h"
#include "agent/base/sys.h"
#include "agent/collect/frames.h"
#include "agent/collect/snapshot.h"
#include "agent/collect/stacks.h"
#include "encode/buffered.h"
#include "encode/gzip.h"
#include "encode/locations.h"
#include "encode/profile.pb-c.h"
#include "encode/strtab.h"
#include "encode/symbols.h"

typedef Perftools__Profiles__Profile profile_msg;
typedef Perftools__Profiles__Label label_msg;

enum phase {
	PHASE_TYPES,
	PHASE_SAMPLES,
	PHASE_SYMBOLS,
	PHASE_MAPPINGS,
	PHASE_LOCATIONS,
	PHASE_TEXTS,
	PHASE_REST,
	PHASE_DONE
};

enum { LABELS_MAX = 3, PER_CLOCK = 64, PREFETCH = 8 };

/* protobuf-c appends byte by byte. */
struct out {
	ProtobufCBuffer base;
	struct buffered buffered;
};

struct pprof_writer {
	const struct profile_desc *desc;
	const struct profile_facts *facts;
	const struct snapshot *snapshot;
	enum symbolize symbolize;
	const char *(*tag_name)(uint32_t tag, char *buf, size_t size);

	struct gzip *gzip;
	struct symbols *symbols;
	struct strtab texts;
	struct locations locations;
	uint32_t *mapping_ids; /* by index of symbols_mapping(); 0: not used */
	uint32_t mappings;     /* ids given out */

	enum phase phase;
	size_t at; /* progress inside the phase */
	int err;   /* the first failure; every later step returns it */
	size_t n_types;
	long key_bytes, key_thread, key_tid; /* text numbers */
	uint64_t *ids;		    /* location ids of the sample at hand */
	size_t ids_room;
	struct out out;
};

static void out_append(ProtobufCBuffer *base, size_t len, const uint8_t *data)
{
	buffered_write(&CONTAINER_OF(base, struct out, base)->buffered, data, len);
}

static int put(struct pprof_writer *w, const profile_msg *message)
{
	perftools__profiles__profile__pack_to_buffer(message, &w->out.base);
	return w->out.buffered.err;
}

/* The number of a text, for a message field; a failure is kept in w->err. */
static int64_t text(struct pprof_writer *w, const char *s)
{
	long number = s ? strtab_add(&w->texts, s) : 0;

	if (number < 0) {
		w->err = -ENOMEM;
		return 0;
	}
	return number;
}

static int put_types(struct pprof_writer *w)
{
	for (size_t i = 0; i < w->n_types; i++) {
		Perftools__Profiles__ValueType type = PERFTOOLS__PROFILES__VALUE_TYPE__INIT;
		Perftools__Profiles__ValueType *list[] = { &type };
		profile_msg message = PERFTOOLS__PROFILES__PROFILE__INIT;
		int err;

		type.type = text(w, w->desc->types[i].type);
		type.unit = text(w, w->desc->types[i].unit);
		message.n_sample_type = 1;
		message.sample_type = list;
		err = put(w, &message);
		if (err)
			return err;
	}
	w->phase = PHASE_SAMPLES;
	return w->err;
}

/* Fills w->ids with the locations of a sample; their number, or -ENOMEM. */
static long sample_locations(struct pprof_writer *w, const struct sample *sample)
{
	const struct stack *stack = sample->stack;
	size_t n = 0;

	while (w->ids_room < stack->depth) {
		uint64_t *more = mem_realloc(w->ids, w->ids_room * 2 * sizeof(*more));

		if (!more)
			return -ENOMEM;
		w->ids = more;
		w->ids_room *= 2;
	}
	for (uint32_t i = sample->skip; i < stack->depth && i < sample->skip + PREFETCH; i++)
		locations_prefetch(&w->locations, stack->pcs[i]);
	for (uint32_t i = sample->skip; i < stack->depth; i++) {
		uint64_t pc = stack->pcs[i];
		uint32_t id;

		if (i + PREFETCH < stack->depth)
			locations_prefetch(&w->locations, stack->pcs[i + PREFETCH]);
		if (!pc) /* stands for nothing, and a location must have an address */
			continue;
		id = locations_id(&w->locations, pc,
				  symbols_gone_at(w->symbols, pc, stack->generation),
				  stack->generation);
		if (!id)
			return -ENOMEM;
		w->ids[n++] = id;
	}
	return (long)n;
}

static size_t sample_labels(struct pprof_writer *w, const struct sample *sample, label_msg *labels)
{
	size_t n = 0;
	char buf[128];
	const char *name;
	int tid;

	if (sample->bytes) {
		labels[n].key = w->key_bytes;
		labels[n++].num = sample->bytes;
	}
	name = w->tag_name ? w->tag_name(sample->tag, buf, sizeof(buf)) : NULL;
	if (name && *name) {
		if (!w->key_thread)
			w->key_thread = text(w, "thread");
		labels[n].key = w->key_thread;
		labels[n++].str = text(w, name);
	}
	tid = w->tag_name && w->facts->tag_tid ? w->facts->tag_tid(sample->tag) : 0;
	if (tid) {
		if (!w->key_tid)
			w->key_tid = text(w, "tid");
		fmt_buf(buf, sizeof(buf), "%d", tid);
		labels[n].key = w->key_tid;
		labels[n++].str = text(w, buf);
	}
	return n;
}

static int put_sample(struct pprof_writer *w, const struct sample *sample)
{
	label_msg labels[LABELS_MAX] = { PERFTOOLS__PROFILES__LABEL__INIT,
					 PERFTOOLS__PROFILES__LABEL__INIT,
					 PERFTOOLS__PROFILES__LABEL__INIT };
	label_msg *label_list[LABELS_MAX] = { &labels[0], &labels[1], &labels[2] };
	Perftools__Profiles__Sample row = PERFTOOLS__PROFILES__SAMPLE__INIT;
	Perftools__Profiles__Sample *rows[] = { &row };
	profile_msg message = PERFTOOLS__PROFILES__PROFILE__INIT;
	long n = sample_locations(w, sample);

	if (n < 0)
		return (int)n;
	row.n_location_id = (size_t)n;
	row.location_id = w->ids;
	row.n_value = w->n_types;
	row.value = (int64_t *)(uintptr_t)sample->value;
	row.n_label = sample_labels(w, sample, labels);
	row.label = label_list;
	message.n_sample = 1;
	message.sample = rows;
	return w->err ? w->err : put(w, &message);
}

static int step_samples(struct pprof_writer *w)
{
	size_t end = w->at + PER_CLOCK;
	int err = 0;

	if (end > w->snapshot->n)
		end = w->snapshot->n;
	while (!err && w->at < end)
		err = put_sample(w, &w->snapshot->samples[w->at++]);
	if (w->at == w->snapshot->n) {
		w->phase = PHASE_SYMBOLS;
		w->at = 0;
	}
	return err;
}

/* Looks one location up: sets its mapping and its function. */
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
	name = text(w, symbol.name);
	linkage = text(w, symbol.linkage);
	if (w->err)
		return w->err;
	location->function = locations_function(&w->locations, (uint32_t)name, (uint32_t)linkage);
	return location->function ? 0 : -ENOMEM;
}

/* One location at a time: a name may need a whole file's symbols to be read. */
static int step_symbols(struct pprof_writer *w)
{
	size_t n = symbols_mappings(w->symbols);
	int err = 0;

	if (w->at < w->locations.n)
		err = name_location(w, &w->locations.list[w->at++]);
	if (err || w->at < w->locations.n)
		return err;
	w->mapping_ids = mem_zalloc((n + 1) * sizeof(*w->mapping_ids));
	if (!w->mapping_ids)
		return -ENOMEM;
	for (size_t i = 0; i < w->locations.n; i++)
		if (w->locations.list[i].mapping >= 0)
			w->mapping_ids[w->locations.list[i].mapping] = 1;
	w->phase = PHASE_MAPPINGS;
	w->at = 0;
	return 0;
}

static int put_mapping(struct pprof_writer *w, const struct mapping *mapping, uint32_t id)
{
	Perftools__Profiles__Mapping row = PERFTOOLS__PROFILES__MAPPING__INIT;
	Perftools__Profiles__Mapping *rows[] = { &row };
	profile_msg message = PERFTOOLS__PROFILES__PROFILE__INIT;

	row.id = id;
	row.memory_start = mapping->start;
	row.memory_limit = mapping->limit;
	row.file_offset = mapping->offset;
	row.filename = text(w, mapping->path);
	row.build_id = text(w, mapping->build_id);
	/* Without it, the go tool would replace our names by what it makes of the file. */
	row.has_functions = w->symbolize != SYMBOLIZE_NONE;
	message.n_mapping = 1;
	message.mapping = rows;
	return w->err ? w->err : put(w, &message);
}

static int step_mappings(struct pprof_writer *w)
{
	size_t n = symbols_mappings(w->symbols);
	int err = 0;

	for (size_t i = 0; !err && i < n; i++) {
		if (i > 0 && !w->mapping_ids[i])
			continue;
		w->mapping_ids[i] = ++w->mappings;
		err = put_mapping(w, symbols_mapping(w->symbols, i), w->mappings);
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
	message.n_function = 1;
	message.function = rows;
	return put(w, &message);
}

static int put_location(struct pprof_writer *w, const struct location *location, uint32_t id)
{
	Perftools__Profiles__Line line = PERFTOOLS__PROFILES__LINE__INIT;
	Perftools__Profiles__Line *lines[] = { &line };
	Perftools__Profiles__Location row = PERFTOOLS__PROFILES__LOCATION__INIT;
	Perftools__Profiles__Location *rows[] = { &row };
	profile_msg message = PERFTOOLS__PROFILES__PROFILE__INIT;

	row.id = id;
	row.address = location->address;
	if (location->mapping >= 0)
		row.mapping_id = w->mapping_ids[location->mapping];
	if (location->function) {
		line.function_id = location->function;
		row.n_line = 1;
		row.line = lines;
	}
	message.n_location = 1;
	message.location = rows;
	return put(w, &message);
}

/* Functions were numbered in the order of the locations that first needed them. */
static int step_locations(struct pprof_writer *w)
{
	size_t end = w->at + PER_CLOCK;
	int err = 0;

	if (end > w->locations.n)
		end = w->locations.n;
	for (; !err && w->at < end; w->at++) {
		const struct location *location = &w->locations.list[w->at];

		if (location->function > w->locations.functions_put)
			err = put_function(w, ++w->locations.functions_put);
		if (!err)
			err = put_location(w, location, (uint32_t)w->at + 1);
	}
	if (w->at == w->locations.n) {
		w->phase = PHASE_REST;
		w->at = 0;
	}
	return err;
}

static int put_comments(struct pprof_writer *w)
{
	for (const char *const *c = w->facts->comments; c && *c; c++) {
		profile_msg message = PERFTOOLS__PROFILES__PROFILE__INIT;
		int64_t number = text(w, *c);
		int err;

		if (!number)
			continue;
		message.n_comment = 1;
		message.comment = &number;
		err = put(w, &message);
		if (err)
			return err;
	}
	return w->err;
}

/* What may occur once only. */
static int put_rest(struct pprof_writer *w)
{
	Perftools__Profiles__ValueType type = PERFTOOLS__PROFILES__VALUE_TYPE__INIT;
	profile_msg message = PERFTOOLS__PROFILES__PROFILE__INIT;
	int err = put_comments(w);

	if (err)
		return err;
	type.type = text(w, w->desc->period_type.type);
	type.unit = text(w, w->desc->period_type.unit);
	message.period_type = &type;
	message.period = w->facts->period;
	message.time_nanos = (int64_t)w->facts->time_ns;
	message.duration_nanos = (int64_t)w->facts->duration_ns;
	message.default_sample_type = text(w, w->desc->default_type);
	w->phase = PHASE_TEXTS;
	return w->err ? w->err : put(w, &message);
}

static int step_texts(struct pprof_writer *w)
{
	size_t end = w->at + PER_CLOCK;
	int err = 0;

	if (end > w->texts.n)
		end = w->texts.n;
	for (; !err && w->at < end; w->at++) {
		char *one = (char *)(uintptr_t)strtab_get(&w->texts, w->at)->text;
		profile_msg message = PERFTOOLS__PROFILES__PROFILE__INIT;

		message.n_string_table = 1;
		message.string_table = &one;
		err = put(w, &message);
	}
	if (err || w->at < w->texts.n)
		return err;
	w->phase = PHASE_DONE;
	err = buffered_flush(&w->out.buffered);
	return err ? err : gzip_end(w->gzip);
}

static int one_step(struct pprof_writer *w)
{
	switch (w->phase) {
	case PHASE_TYPES:
		return put_types(w);
	case PHASE_SAMPLES:
		return step_samples(w);
	case PHASE_SYMBOLS:
		return step_symbols(w);
	case PHASE_MAPPINGS:
		return step_mappings(w);
	case PHASE_LOCATIONS:
		return step_locations(w);
	case PHASE_REST:
		return put_rest(w);
	case PHASE_TEXTS:
		return step_texts(w);
	case PHASE_DONE:
		break;
	}
	return 0;
}

struct pprof_writer *pprof_begin(struct sink *sink, const struct profile_desc *desc,
				 const struct profile_facts *facts, const struct snapshot *snapshot,
				 enum symbolize symbolize,
				 const char *(*tag_name)(uint32_t tag, char *buf, size_t size))
{
	struct pprof_writer *w = mem_zalloc(sizeof(*w));

	if (!w)
		return NULL;
	w->desc = desc;
	w->facts = facts;
	w->snapshot = snapshot;
	w->symbolize = symbolize;
	w->tag_name = tag_name;
	while (w->n_types < SERIES_VALUES && desc->types[w->n_types].type)
		w->n_types++;
	w->ids_room = FRAMES_MAX;
	w->ids = mem_alloc(w->ids_room * sizeof(*w->ids));
	w->gzip = gzip_begin(sink);
	w->symbols = symbols_open();
	if (!w->ids || !w->gzip || !w->symbols || !strtab_init(&w->texts) ||
	    !locations_init(&w->locations)) {
		pprof_drop(w);
		return NULL;
	}
	w->out.base.append = out_append;
	buffered_init(&w->out.buffered, gzip_sink(w->gzip));
	w->err = snapshot->incomplete ? -ENOMEM : 0;
	w->key_bytes = text(w, "bytes");
	return w;
}

int pprof_step(struct pprof_writer *w, uint64_t budget_ns)
{
	uint64_t start = sys_clock_ns(CLOCK_MONOTONIC);

	while (!w->err && w->phase != PHASE_DONE) {
		w->err = one_step(w);
		if (sys_clock_ns(CLOCK_MONOTONIC) - start >= budget_ns)
			break;
	}
	return w->err ? w->err : w->phase != PHASE_DONE;
}

void pprof_drop(struct pprof_writer *w)
{
	if (!w)
		return;
	gzip_drop(w->gzip);
	symbols_close(w->symbols);
	strtab_free(&w->texts);
	locations_free(&w->locations);
	mem_free(w->mapping_ids);
	mem_free(w->ids);
	mem_free(w);
}
