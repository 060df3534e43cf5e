/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/dumptext.h"

#include <errno.h>
#include <stdbool.h>
#include <stddef.h>

#include "agent/base/fmt.h"
#include "agent/base/mem.h"
#include "agent/base/sys.h"
#include "agent/collect/dump.h"
#include "agent/collect/frames.h"
#include "agent/collect/leaks.h"
#include "agent/collect/records.h"
#include "agent/collect/stacks.h"
#include "agent/collect/threads.h"
#include "agent/waitwords.h"
#include "encode/buffered.h"
#include "encode/lines.h"
#include "encode/symbols.h"

struct dumptext {
	struct symbols *symbols;
	struct lines *lines; /* NULL: names only */
	size_t asked;	     /* threads whose addresses are in it */
	bool settled;	     /* it has what it can get */
	const struct dump *dump;
	const struct leaks *leaks;
	size_t next;
	bool begun; /* something has been written: a blank line comes first */
	struct buffered out;
};

struct dumptext *dumptext_begin(struct sink *sink, const struct dump *dump, const struct leaks *leaks,
				enum symbolize symbolize)
{
	struct dumptext *w = mem_zalloc(sizeof(*w));

	if (!w)
		return NULL;
	w->dump = dump;
	w->leaks = leaks;
	buffered_init(&w->out, sink);
	w->symbols = symbols_open();
	if (w->symbols && symbolize == SYMBOLIZE_LINES)
		w->lines = lines_new(w->symbols, NULL);
	if (w->symbols)
		return w;
	dumptext_drop(w);
	return NULL;
}

void dumptext_drop(struct dumptext *w)
{
	if (!w)
		return;
	lines_drop(w->lines);
	symbols_close(w->symbols);
	mem_free(w);
}

/* "name" and, on a line of its own, where it is: for each frame of the address, or (whole: false) for the
 * function that it lies in. Only that has an offset, as Go has it. */
static int put_frame(struct dumptext *w, const struct stack *stack, uintptr_t pc, bool whole,
		     const char *before, const char *after)
{
	struct sink *out = &w->out.sink;
	long index = w->lines ? lines_index(w->lines, pc, stack->generation) : -1;
	struct symbol symbol;
	unsigned n;
	const char *path = "[anon]";
	int err = 0;

	if (!symbols_find(w->symbols, pc, stack->generation, &symbol))
		return -ENOMEM;
	n = index >= 0 ? lines_count(w->lines, (size_t)index, &symbol) : 0;
	if (symbol.mapping >= 0)
		path = symbols_mapping(w->symbols, (size_t)symbol.mapping)->path;
	else if (frame_mark_name(pc))
		path = "[pprof]";
	for (unsigned i = n && !whole ? n - 1 : 0; !err && i < (n ? n : 1); i++) {
		struct line_frame frame = { .name = symbol.name, .file = "" };
		bool known;

		if (n && !lines_frame(w->lines, (size_t)index, i, &symbol, &frame))
			return -ENOMEM;
		known = frame.file[0] && frame.line;
		err = fmt_sink(out, "%s%s%s\n\t%s", before, frame.name, after, known ? frame.file : path);
		if (!err && known)
			err = fmt_sink(out, ":%u", frame.line);
		if (!err && symbol.start && i + 1 >= n)
			err = fmt_sink(out, " +0x%lx", pc - symbol.start);
		if (!err)
			err = sink_text(out, "\n");
	}
	return err;
}

static bool ask_stack(struct dumptext *w, const struct stack *stack)
{
	for (uint32_t i = 0; stack && i < stack->depth; i++)
		if (!lines_add(w->lines, stack->pcs[i], stack->generation))
			return false;
	return true;
}

/* Before the first line is written: what the lines of all addresses are. 0: known; else as
 * dumptext_step. */
static int ask(struct dumptext *w, uint64_t budget_ns)
{
	int more;

	for (; w->asked < dump_n(w->dump); w->asked++) {
		const struct dump_thread *t = dump_at(w->dump, w->asked);

		if (t->how != DUMP_GONE &&
		    (!ask_stack(w, t->stack) ||
		     !ask_stack(w, atomic_load(&records_at(t->record)->created_by))))
			return -ENOMEM;
	}
	more = lines_step(w->lines, budget_ns);
	w->settled = !more;
	return more;
}

/* The leaf of the creator's stack is pthread_create, which says nothing: its caller is meant. */
static int put_creator(struct dumptext *w, const struct dump_thread *t)
{
	const struct thread *record = records_at(t->record);
	const struct stack *by = atomic_load(&record->created_by);
	int creator = atomic_load(&record->creator);
	char in[32] = "";

	if (!by || !by->depth || atomic_load(&record->tag) != t->tag)
		return 0;
	if (creator)
		fmt_buf(in, sizeof(in), " in goroutine %d", creator);
	return put_frame(w, by, by->pcs[by->depth > 1], false, "created by ", in);
}

static int put_thread(struct dumptext *w, const struct dump_thread *t)
{
	struct sink *out = &w->out.sink;
	int err = fmt_sink(out, "%sgoroutine %d ", w->begun ? "\n" : "", t->tid);

	w->begun = true;
	if (!err)
		err = waitwords_name(out, t->facts.name);
	if (!err)
		err = sink_text(out, " [");
	if (!err)
		err = waitwords_put(out, w->dump, t);
	if (!err)
		err = sink_text(out, w->leaks ? ", leaked]:\n" : "]:\n");
	for (uint32_t i = 0; !err && i < t->stack->depth; i++)
		err = put_frame(w, t->stack, t->stack->pcs[i], true, "", "(...)");
	return err ? err : put_creator(w, t);
}

int dumptext_step(struct dumptext *w, uint64_t budget_ns)
{
	uint64_t end = sys_clock_ns(CLOCK_MONOTONIC) + budget_ns;
	int err;

	if (w->lines && !w->settled && (err = ask(w, budget_ns)))
		return err;
	for (; w->next < dump_n(w->dump); w->next++) {
		const struct dump_thread *t = dump_at(w->dump, w->next);

		if (sys_clock_ns(CLOCK_MONOTONIC) >= end)
			return 1;
		if (t->how == DUMP_GONE || (w->leaks && leaks_at(w->leaks, w->next) == LEAK_NONE))
			continue;
		err = put_thread(w, t);
		if (err)
			return err;
	}
	return buffered_flush(&w->out);
}

int dumptext_wait(const struct dumptext *w, uint64_t *out_wake_ns)
{
	return lines_wait(w->lines, out_wake_ns);
}
