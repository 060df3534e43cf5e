/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Design: records come out of a heap, largest first, one at a time, so that no step has to sort a
 * million of them. '@' lines carry return addresses, because their readers subtract 1 from each;
 * stored PCs lie inside the call, hence the +1.
 *
 * Frame lines are laid out as Go's text/tabwriter does with cells of at least 1 column, tab stops of 8
 * and 1 column between: a column is as wide as its widest cell in neighbouring lines that have it.
 */
#include "encode/text.h"

#include <errno.h>
#include <string.h>

#include "agent/base/fmt.h"
#include "agent/base/mem.h"
#include "agent/base/sys.h"
#include "agent/collect/frames.h"
#include "agent/collect/snapshot.h"
#include "agent/collect/stacks.h"
#include "encode/buffered.h"
#include "encode/grow.h"
#include "encode/lines.h"
#include "encode/symbols.h"

enum { TAB = 8, PADDING = 1, ADDRESS_SIZE = 24, PER_CLOCK = 64 };

/* Column 0 is "#". A line without a file has its function as the last cell, which is no column. */
struct frame_line {
	uint64_t pc;
	struct symbol symbol;
	const char *name, *file; /* file: NULL: unknown */
	uint32_t line;		 /* 0: the file is that of the code, not of its source */
	size_t address_width, name_width;
	size_t address_column, name_column; /* widths of the columns, padding included; 0: none */
};

struct text_writer {
	struct text_words words;
	const struct snapshot *snapshot;
	struct symbols *symbols;
	struct lines *places; /* NULL: names only */
	size_t asked;	      /* samples whose addresses are in it */
	struct buffered out;
	const struct sample **heap; /* the next record is heap[0] */
	size_t left;
	struct frame_line *lines; /* of the record at hand */
	size_t n_lines, lines_room;
	bool begun, done;
	int err;
};

/* The number that records are ordered by: each form has its own. */
static int64_t weight(const struct text_writer *w, const struct sample *sample)
{
	return sample->value[w->words.form == TEXT_COUNT ? 0 : w->words.form == TEXT_HEAP ? 3 : 1];
}

/* Order of the '@' lines as texts. */
static int compare_stacks(const struct sample *a, const struct sample *b)
{
	uint32_t na = a->stack->depth - a->skip, nb = b->stack->depth - b->skip;
	const uintptr_t *pa = a->stack->pcs + a->skip, *pb = b->stack->pcs + b->skip;
	char x[ADDRESS_SIZE], y[ADDRESS_SIZE];

	for (uint32_t i = 0; i < na && i < nb; i++) {
		if (pa[i] == pb[i])
			continue;
		fmt_buf(x, sizeof(x), "%lx", (unsigned long)pa[i] + 1);
		fmt_buf(y, sizeof(y), "%lx", (unsigned long)pb[i] + 1);
		return strcmp(x, y);
	}
	return na < nb ? -1 : na > nb;
}

static bool before(const struct text_writer *w, const struct sample *a, const struct sample *b)
{
	int64_t x = weight(w, a), y = weight(w, b);

	if (x != y)
		return x > y;
	x = compare_stacks(a, b);
	return x ? x < 0 : a < b;
}

static void sift_down(struct text_writer *w, size_t i)
{
	const struct sample *e = w->heap[i];

	for (size_t child; (child = 2 * i + 1) < w->left; i = child) {
		if (child + 1 < w->left && before(w, w->heap[child + 1], w->heap[child]))
			child++;
		if (!before(w, w->heap[child], e))
			break;
		w->heap[i] = w->heap[child];
	}
	w->heap[i] = e;
}

static const struct sample *next_record(struct text_writer *w)
{
	const struct sample *top = w->heap[0];

	w->heap[0] = w->heap[--w->left];
	if (w->left)
		sift_down(w, 0);
	return top;
}

static int put_header(struct text_writer *w)
{
	int64_t sum[SERIES_VALUES] = { 0 };
	struct sink *out = &w->out.sink;

	for (size_t i = 0; i < w->snapshot->n; i++)
		for (int v = 0; v < SERIES_VALUES; v++)
			sum[v] += w->snapshot->samples[i].value[v];
	switch (w->words.form) {
	case TEXT_COUNT:
		return fmt_sink(out, "%s profile: total %ld\n", w->words.name, (long)sum[0]);
	case TEXT_HEAP:
		/* With two equal pairs of numbers, readers would take it for another form. */
		if (sum[1] == sum[3])
			sum[1]++;
		return fmt_sink(out, "heap profile: %ld: %ld [%ld: %ld] @ %s\n", (long)sum[2],
				(long)sum[3], (long)sum[0], (long)sum[1], w->words.unit);
	case TEXT_CONTENTION:
		return fmt_sink(out, "--- %s:\ncycles/second=1000000000\n%s",
				strcmp(w->words.name, "block") == 0 ? "contention" : w->words.name,
				strcmp(w->words.name, "mutex") == 0 ? "sampling period=1\n" : "");
	}
	return 0;
}

static int put_record_line(struct text_writer *w, const struct sample *sample)
{
	const int64_t *v = sample->value;
	const struct stack *stack = sample->stack;
	struct sink *out = &w->out.sink;
	int err = 0;

	switch (w->words.form) {
	case TEXT_COUNT:
		err = fmt_sink(out, "%ld @", (long)v[0]);
		break;
	case TEXT_HEAP:
		err = fmt_sink(out, "%ld: %ld [%ld: %ld] @", (long)v[2], (long)v[3], (long)v[0],
			       (long)v[1]);
		break;
	case TEXT_CONTENTION:
		err = fmt_sink(out, "%ld %ld @", (long)v[1], (long)v[0]);
		break;
	}
	for (uint32_t i = sample->skip; !err && i < stack->depth; i++)
		err = fmt_sink(out, " 0x%lx", (unsigned long)stack->pcs[i] + 1);
	if (!err && stack->depth == 0) /* a line without an address is malformed */
		err = fmt_sink(out, " 0x%x", FRAME_UNKNOWN_ROOT + 1);
	return err ? err : sink_text(out, "\n");
}

/* Columns on the screen: code points, as Go counts them. Names are valid UTF-8. */
static size_t width_of(const char *text)
{
	size_t width = 0;

	for (; *text; text++)
		width += ((unsigned char)*text & 0xc0) != 0x80;
	return width;
}

static struct frame_line *add_line(struct text_writer *w)
{
	if (!grow_room(&w->lines, &w->lines_room, w->n_lines + 1, sizeof(*w->lines)))
		return NULL;
	return &w->lines[w->n_lines++];
}

/* All frames of an address: a line for each. */
static bool describe(struct text_writer *w, const struct stack *stack, uint32_t i)
{
	struct frame_line line = { .pc = stack->pcs[i] }, *to;
	long index = w->places ? lines_index(w->places, line.pc, stack->generation) : -1;
	unsigned n, k = 0;
	const char *path = NULL;
	char buf[ADDRESS_SIZE];
	size_t offset = 0;

	if (!symbols_find(w->symbols, line.pc, stack->generation, &line.symbol))
		return false;
	n = index >= 0 ? lines_count(w->places, (size_t)index, &line.symbol) : 0;
	if (line.symbol.mapping >= 0)
		path = symbols_mapping(w->symbols, (size_t)line.symbol.mapping)->path;
	line.address_width = fmt_buf(buf, sizeof(buf), "0x%lx", (unsigned long)line.pc);
	if (line.symbol.start)
		offset = fmt_buf(buf, sizeof(buf), "+0x%lx",
				 (unsigned long)(line.pc - line.symbol.start));
	do {
		struct line_frame frame = { .name = line.symbol.name, .file = "" };

		if (n && !lines_frame(w->places, (size_t)index, k, &line.symbol, &frame))
			return false;
		line.name = frame.name;
		line.line = frame.file[0] ? frame.line : 0;
		line.file = line.line ? frame.file : path;
		line.name_width = width_of(line.name) + offset;
		to = add_line(w);
		if (!to)
			return false;
		*to = line;
	} while (++k < n);
	return true;
}

/* Every line has an address column; runs of lines with a file have a name column. */
static void lay_out(struct frame_line *lines, size_t n)
{
	size_t address = 0;

	for (size_t i = 0; i < n; i++)
		if (lines[i].address_width > address)
			address = lines[i].address_width;
	for (size_t i = 0; i < n;) {
		size_t name = 0;
		size_t end = i;

		for (; end < n && lines[end].file; end++)
			if (lines[end].name_width > name)
				name = lines[end].name_width;
		for (size_t k = i; k < end; k++)
			lines[k].name_column = name + PADDING;
		i = end + 1;
	}
	for (size_t i = 0; i < n; i++)
		lines[i].address_column = address + PADDING;
}

/* The tabs behind a cell of `width` in a column that is `column` wide. */
static int put_tabs(struct text_writer *w, size_t width, size_t column)
{
	size_t stop = (column + TAB - 1) / TAB * TAB;
	int err = 0;

	for (size_t n = (stop - width + TAB - 1) / TAB; !err && n > 0; n--)
		err = sink_text(&w->out.sink, "\t");
	return err;
}

static int put_line(struct text_writer *w, const struct frame_line *line)
{
	struct sink *out = &w->out.sink;
	int err = fmt_sink(out, "#\t0x%lx", (unsigned long)line->pc);

	if (!err)
		err = put_tabs(w, line->address_width, line->address_column);
	if (!err)
		err = sink_text(out, line->name);
	if (!err && line->symbol.start)
		err = fmt_sink(out, "+0x%lx", (unsigned long)(line->pc - line->symbol.start));
	if (!err && line->file) {
		err = put_tabs(w, line->name_width, line->name_column);
		if (!err)
			err = sink_text(out, line->file);
		if (!err && line->line)
			err = fmt_sink(out, ":%u", line->line);
	}
	return err ? err : sink_text(out, "\n");
}

static int put_record(struct text_writer *w, const struct sample *sample)
{
	const struct stack *stack = sample->stack;
	int err = put_record_line(w, sample);

	w->n_lines = 0;
	for (uint32_t i = sample->skip; i < stack->depth; i++)
		if (!describe(w, stack, i))
			return -ENOMEM;
	lay_out(w->lines, w->n_lines);
	for (size_t i = 0; !err && i < w->n_lines; i++)
		err = put_line(w, &w->lines[i]);
	return err ? err : sink_text(&w->out.sink, "\n");
}

struct text_writer *text_begin(struct sink *sink, const struct text_words *words,
			       const struct snapshot *snapshot, enum symbolize symbolize)
{
	struct text_writer *w = mem_zalloc(sizeof(*w));

	if (!w)
		return NULL;
	w->words = *words;
	w->snapshot = snapshot;
	buffered_init(&w->out, sink);
	w->symbols = symbols_open();
	w->heap = mem_alloc((snapshot->n + 1) * sizeof(*w->heap));
	if (symbolize == SYMBOLIZE_LINES && w->symbols)
		w->places = lines_new(w->symbols, NULL);
	if (!w->symbols || !w->heap) {
		text_drop(w);
		return NULL;
	}
	for (; w->left < snapshot->n; w->left++)
		w->heap[w->left] = &snapshot->samples[w->left];
	for (size_t i = w->left / 2; i-- > 0;)
		sift_down(w, i);
	w->err = snapshot->incomplete ? -ENOMEM : 0;
	return w;
}

/* Gives the addresses of some samples to those who know their lines. */
static int ask(struct text_writer *w)
{
	size_t end = w->asked + PER_CLOCK < w->snapshot->n ? w->asked + PER_CLOCK : w->snapshot->n;

	for (; w->asked < end; w->asked++) {
		const struct sample *sample = &w->snapshot->samples[w->asked];
		const struct stack *stack = sample->stack;

		for (uint32_t i = sample->skip; i < stack->depth; i++)
			if (!lines_add(w->places, stack->pcs[i], stack->generation))
				return -ENOMEM;
	}
	return 0;
}

/* 0, -errno, or 2: wait. */
static int one_step(struct text_writer *w, uint64_t budget_ns)
{
	char complaint[512];
	int err = 0;

	if (w->places && w->asked < w->snapshot->n)
		return ask(w);
	if (w->places && !w->begun) {
		err = lines_step(w->places, budget_ns);
		if (err)
			return err == 2 ? 2 : 0;
	}
	if (!w->begun) {
		w->begun = true;
		return put_header(w);
	}
	if (w->left)
		return put_record(w, next_record(w));
	if (w->places && lines_complaint(w->places, complaint, sizeof(complaint)))
		err = fmt_sink(&w->out.sink, "# %s\n", complaint);
	if (!err && w->words.trailer)
		err = sink_text(&w->out.sink, w->words.trailer);
	w->done = true;
	return err ? err : buffered_flush(&w->out);
}

int text_step(struct text_writer *w, uint64_t budget_ns)
{
	uint64_t start = sys_clock_ns(CLOCK_MONOTONIC);

	while (!w->err && !w->done) {
		int more = one_step(w, budget_ns);

		if (more > 0)
			return more;
		w->err = more;
		if (sys_clock_ns(CLOCK_MONOTONIC) - start >= budget_ns)
			break;
	}
	return w->err ? w->err : !w->done;
}

int text_wait(const struct text_writer *w, uint64_t *out_wake_ns)
{
	return lines_wait(w->places, out_wake_ns);
}

void text_drop(struct text_writer *w)
{
	if (!w)
		return;
	lines_drop(w->places);
	symbols_close(w->symbols);
	mem_free(w->heap);
	mem_free(w->lines);
	mem_free(w);
}
