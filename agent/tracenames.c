/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/tracenames.h"

#include "agent/base/attr.h"
#include "agent/base/mem.h"
#include "agent/collect/modules.h"
#include "agent/collect/stacks.h"
#include "encode/lines.h"
#include "encode/symbols.h"

enum { NOTED = 1024 };

struct tracenames {
	struct trace_names names;
	struct symbols *symbols;
	struct lines *lines;		  /* NULL: names only */
	const struct stack *noted[NOTED]; /* that lines knows, by their addresses */
};

static const char *function_of(struct trace_names *names, uint64_t pc, uint32_t generation)
{
	struct tracenames *t = CONTAINER_OF(names, struct tracenames, names);
	struct symbol symbol;

	if (generation == TRACE_NOW)
		generation = modules_generation();
	return symbols_find(t->symbols, pc, generation, &symbol) ? symbol.name : "[out of memory]";
}

/* Frame i of an address; see trace_names. */
static unsigned place_of(struct trace_names *names, uint64_t pc, uint32_t generation, unsigned i,
			 struct trace_place *out)
{
	struct tracenames *t = CONTAINER_OF(names, struct tracenames, names);
	struct line_frame frame;
	struct symbol symbol;
	unsigned n;
	long index;

	if (generation == TRACE_NOW)
		generation = modules_generation();
	index = t->lines ? lines_index(t->lines, pc, generation) : -1;
	if (index < 0 || !symbols_find(t->symbols, pc, generation, &symbol))
		return 0;
	n = lines_count(t->lines, (size_t)index, &symbol);
	if (!n || !lines_frame(t->lines, (size_t)index, i, &symbol, &frame))
		return 0;
	*out = (struct trace_place){ .function = frame.name, .file = frame.file, .line = frame.line };
	return n;
}

static uint32_t gone_at(struct trace_names *names, uint64_t pc, uint32_t generation)
{
	return symbols_gone_at(CONTAINER_OF(names, struct tracenames, names)->symbols, pc, generation);
}

/* Most stacks come again and again. */
bool tracenames_note(struct tracenames *t, const struct stack *stack)
{
	const struct stack **noted = &t->noted[(uintptr_t)stack / 64 % NOTED];

	if (!t->lines || !stack || *noted == stack)
		return true;
	*noted = stack;
	for (uint32_t i = 0; i < stack->depth; i++)
		if (!lines_add(t->lines, stack->pcs[i], stack->generation))
			return false;
	return true;
}

struct tracenames *tracenames_new(enum symbolize symbolize)
{
	struct tracenames *t = mem_zalloc(sizeof(*t));

	if (!t)
		return NULL;
	t->names = (struct trace_names){ .function = function_of, .gone = gone_at, .place = place_of };
	t->symbols = symbols_open();
	if (t->symbols && symbolize == SYMBOLIZE_LINES)
		t->lines = lines_new(t->symbols, NULL);
	if (t->symbols)
		return t;
	tracenames_drop(t);
	return NULL;
}

void tracenames_drop(struct tracenames *t)
{
	if (!t)
		return;
	lines_drop(t->lines);
	symbols_close(t->symbols);
	symbols_trim();
	mem_free(t);
}

struct trace_names *tracenames_of(struct tracenames *t)
{
	return &t->names;
}

struct symbols *tracenames_symbols(struct tracenames *t)
{
	return t->symbols;
}

int tracenames_settle(struct tracenames *t, uint64_t budget_ns)
{
	return t->lines ? lines_step(t->lines, budget_ns) : 0;
}

int tracenames_wait(const struct tracenames *t, uint64_t *out_wake_ns)
{
	return lines_wait(t->lines, out_wake_ns);
}
