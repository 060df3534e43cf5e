/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Design: serialised messages of one type concatenate, so the file is a row of small Profile
 * messages, each packed from a struct in the writer into one buffer: no tree, no allocation by
 * protobuf-c. In this order:
 *
 *	sample types | samples | mappings | functions and locations | times, period, comments | texts
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
#include "encode/gzip.h"
#include "encode/pprof_writer.h"

typedef Perftools__Profiles__Label label_msg;

enum { LABELS_MAX = 3, PREFETCH = 8 };

static void out_append(ProtobufCBuffer *base, size_t len, const uint8_t *data)
{
	buffered_write(&CONTAINER_OF(base, struct out, base)->buffered, data, len);
}

int pprof_put(struct pprof_writer *w, const profile_msg *message)
{
	perftools__profiles__profile__pack_to_buffer(message, &w->out.base);
	return w->out.buffered.err;
}

int64_t pprof_text(struct pprof_writer *w, const char *s)
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

		type.type = pprof_text(w, w->desc->types[i].type);
		type.unit = pprof_text(w, w->desc->types[i].unit);
		message.n_sample_type = 1;
		message.sample_type = list;
		err = pprof_put(w, &message);
		if (err)
			return err;
	}
	w->phase = PHASE_FOLD;
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
			w->key_thread = pprof_text(w, "thread");
		labels[n].key = w->key_thread;
		labels[n++].str = pprof_text(w, name);
	}
	tid = w->tag_name && w->facts->tag_tid ? w->facts->tag_tid(sample->tag) : 0;
	if (tid) {
		if (!w->key_tid)
			w->key_tid = pprof_text(w, "tid");
		fmt_buf(buf, sizeof(buf), "%d", tid);
		labels[n].key = w->key_tid;
		labels[n++].str = pprof_text(w, buf);
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
	return w->err ? w->err : pprof_put(w, &message);
}

static int step_samples(struct pprof_writer *w)
{
	size_t end = w->at + PPROF_PER_CLOCK;
	int err = 0;

	if (end > w->snapshot->n)
		end = w->snapshot->n;
	for (; !err && w->at < end; w->at++)
		if (!sample_is_zero(&w->snapshot->samples[w->at]))
			err = put_sample(w, &w->snapshot->samples[w->at]);
	if (w->at == w->snapshot->n) {
		w->phase = PHASE_SYMBOLS;
		w->at = 0;
	}
	return err;
}

static int put_comment(struct pprof_writer *w, const char *comment)
{
	profile_msg message = PERFTOOLS__PROFILES__PROFILE__INIT;
	int64_t number = pprof_text(w, comment);

	if (!number)
		return w->err;
	message.n_comment = 1;
	message.comment = &number;
	return pprof_put(w, &message);
}

static int put_comments(struct pprof_writer *w)
{
	char complaint[512];
	int err = 0;

	for (const char *const *c = w->facts->comments; !err && c && *c; c++)
		err = put_comment(w, *c);
	if (!err && w->symbolize == SYMBOLIZE_LINES && lines_complaint(w->lines, complaint, sizeof(complaint)))
		err = put_comment(w, complaint);
	return err ? err : w->err;
}

/* What may occur once only. */
static int put_rest(struct pprof_writer *w)
{
	Perftools__Profiles__ValueType type = PERFTOOLS__PROFILES__VALUE_TYPE__INIT;
	profile_msg message = PERFTOOLS__PROFILES__PROFILE__INIT;
	int err = put_comments(w);

	if (err)
		return err;
	type.type = pprof_text(w, w->desc->period_type.type);
	type.unit = pprof_text(w, w->desc->period_type.unit);
	message.period_type = &type;
	message.period = w->facts->period;
	message.time_nanos = (int64_t)w->facts->time_ns;
	message.duration_nanos = (int64_t)w->facts->duration_ns;
	message.default_sample_type = pprof_text(w, w->desc->default_type);
	w->phase = PHASE_TEXTS;
	return w->err ? w->err : pprof_put(w, &message);
}

static int step_texts(struct pprof_writer *w)
{
	size_t end = w->at + PPROF_PER_CLOCK;
	int err = 0;

	if (end > w->texts.n)
		end = w->texts.n;
	for (; !err && w->at < end; w->at++) {
		char *one = (char *)(uintptr_t)strtab_get(&w->texts, w->at)->text;
		profile_msg message = PERFTOOLS__PROFILES__PROFILE__INIT;

		message.n_string_table = 1;
		message.string_table = &one;
		err = pprof_put(w, &message);
	}
	if (err || w->at < w->texts.n)
		return err;
	w->phase = PHASE_DONE;
	err = buffered_flush(&w->out.buffered);
	return err ? err : gzip_end(w->gzip);
}

/* 0, -errno, or 1: wait. */
static int one_step(struct pprof_writer *w, uint64_t budget_ns)
{
	switch (w->phase) {
	case PHASE_TYPES:
		return put_types(w);
	case PHASE_FOLD:
		return pprof_step_fold(w);
	case PHASE_SAMPLES:
		return step_samples(w);
	case PHASE_SYMBOLS:
		return pprof_step_symbols(w);
	case PHASE_LINES:
		return pprof_step_lines(w, budget_ns);
	case PHASE_MAPPINGS:
		return pprof_step_mappings(w);
	case PHASE_LOCATIONS:
		return pprof_step_locations(w);
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
				 const struct profile_facts *facts, struct snapshot *snapshot,
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
	w->key_bytes = pprof_text(w, "bytes");
	return w;
}

int pprof_step(struct pprof_writer *w, uint64_t budget_ns)
{
	uint64_t start = sys_clock_ns(CLOCK_MONOTONIC);

	while (!w->err && w->phase != PHASE_DONE) {
		int more = one_step(w, budget_ns);

		if (more > 0)
			return 2;
		w->err = more;
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
	lines_drop(w->lines);
	symbols_close(w->symbols);
	strtab_free(&w->texts);
	locations_free(&w->locations);
	mem_free(w->mapping_ids);
	mem_free(w->mapping_has);
	mem_free(w->ids);
	mem_free(w->index);
	mem_free(w);
}

int pprof_wait(const struct pprof_writer *w, uint64_t *out_wake_ns)
{
	return lines_wait(w->lines, out_wake_ns);
}
