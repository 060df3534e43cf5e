/* SPDX-License-Identifier: Apache-2.0 */
#include "encode/trace_tables.h"

#include <string.h>

#include "agent/base/attr.h"
#include "agent/base/mem.h"
#include "agent/collect/frames.h"
#include "agent/collect/stacks.h"
#include "encode/grow.h"

enum { FIRST_SLOTS = 256, INLINED_MAX = 31 };

bool trace_tables_init(struct trace_tables *t, struct trace_names *names)
{
	bool ok;

	*t = (struct trace_tables){ .names = names, .n_slots = FIRST_SLOTS };
	t->slots = mem_zalloc(FIRST_SLOTS * sizeof(*t->slots));
	ok = strtab_init(&t->strings);
	return locations_init(&t->locations) && ok && t->slots;
}

void trace_tables_free(struct trace_tables *t)
{
	strtab_free(&t->strings);
	locations_free(&t->locations);
	mem_free(t->stacks);
	mem_free(t->slots);
	t->stacks = NULL;
	t->slots = NULL;
}

uint32_t trace_tables_text(struct trace_tables *t, const char *text)
{
	long id = text ? strtab_add(&t->strings, text) : 0;

	if (id >= 0)
		return (uint32_t)id;
	t->failed = true;
	return 0;
}

static uint64_t hash_of(const struct trace_stack *s)
{
	return grow_hash(s->stack ? (uint64_t)(uintptr_t)s->stack : s->pc ^ (uint64_t)s->text << 32);
}

static uint32_t *slot_of(const struct trace_tables *t, uint32_t *slots, size_t n,
			 const struct trace_stack *want)
{
	size_t i = hash_of(want) & (n - 1);

	for (; slots[i]; i = (i + 1) & (n - 1)) {
		const struct trace_stack *have = &t->stacks[slots[i] - 1];

		if (have->stack == want->stack && have->pc == want->pc && have->text == want->text)
			break;
	}
	return &slots[i];
}

static bool slots_double(struct trace_tables *t)
{
	size_t n = t->n_slots * 2;
	uint32_t *slots = mem_zalloc(n * sizeof(*slots));

	if (!slots)
		return false;
	for (size_t i = 0; i < t->n_stacks; i++)
		*slot_of(t, slots, n, &t->stacks[i]) = (uint32_t)i + 1;
	mem_free(t->slots);
	t->slots = slots;
	t->n_slots = n;
	return true;
}

static uint32_t add(struct trace_tables *t, const struct trace_stack *stack)
{
	uint32_t *slot = slot_of(t, t->slots, t->n_slots, stack);

	if (*slot)
		return *slot;
	if (!grow_room(&t->stacks, &t->stacks_room, t->n_stacks + 1, sizeof(*t->stacks)) ||
	    (t->n_stacks * 2 >= t->n_slots && !slots_double(t))) {
		t->failed = true;
		return 0;
	}
	slot = slot_of(t, t->slots, t->n_slots, stack);
	t->stacks[t->n_stacks++] = *stack;
	*slot = (uint32_t)t->n_stacks;
	return *slot;
}

uint32_t trace_tables_stack(struct trace_tables *t, const struct stack *stack)
{
	return stack && stack->depth ? add(t, &(struct trace_stack){ .stack = stack }) : 0;
}

uint32_t trace_tables_entry(struct trace_tables *t, uint64_t pc, const char *name)
{
	return add(t, &(struct trace_stack){ .pc = pc, .text = trace_tables_text(t, name) });
}

/* The location of a frame, named. NULL when out of memory. */
static struct location *locate(struct trace_tables *t, uint64_t pc, uint32_t generation)
{
	const char *mark = frame_mark_name(pc);
	uint32_t gone = t->names->gone && !mark ? t->names->gone(t->names, pc, generation) : 0;
	uint32_t id = locations_id(&t->locations, pc, gone, generation);
	struct location *l;

	if (!id) {
		t->failed = true;
		return NULL;
	}
	l = &t->locations.list[id - 1];
	if (!l->function) {
		l->function = trace_tables_text(
			t, mark ? mark : t->names->function(t->names, pc, generation));
		/* no two frames of one address: readers know a frame by its address */
		l->address = pc | (uint64_t)(gone & 0x3ff) << 48;
	}
	return l;
}

const char *trace_tables_leaf(struct trace_tables *t, uint32_t id)
{
	struct trace_stack *s = id ? &t->stacks[id - 1] : NULL;
	struct location *l;

	if (!s)
		return "";
	if (!s->leaf) {
		l = s->stack ? locate(t, s->stack->pcs[0], s->stack->generation) : NULL;
		s->leaf = l ? l->function : s->text;
	}
	return strtab_get(&t->strings, s->leaf)->text;
}

/* What libc puts below a program's own functions: readers call a thread by its root. */
static bool is_below_root(const char *name)
{
	static const char *const names[] = {
		"_start", "start_thread", "thread_start", "clone", "clone3", "__clone", "__clone3",
		"__GI___clone", "__GI___clone3", "__libc_start_main", "__libc_start_call_main",
		"__libc_start_main_impl", "start_trampoline",
	};

	for (size_t i = 0; i < ARRAY_LEN(names); i++)
		if (!strcmp(name, names[i]))
			return true;
	return false;
}

/* The frames of one address, innermost first; their number, at least 1. Inlined ones have addresses of
 * their own: the distance from the function that they are in, above all address bits. */
static unsigned expand(struct trace_tables *t, uint64_t pc, uint32_t generation,
		       struct trace_frame out[INLINED_MAX + 1])
{
	struct location *l = locate(t, pc, generation);
	struct trace_place place = { 0 };
	unsigned have = t->names->place ? t->names->place(t->names, pc, generation, 0, &place) : 0;
	unsigned skip = have > INLINED_MAX + 1 ? have - INLINED_MAX - 1 : 0, n = 0;

	if (!have) {
		out[0] = (struct trace_frame){ .pc = l ? l->address : pc, .function = l ? l->function : 0 };
		return 1;
	}
	for (unsigned i = skip; i < have; i++, n++) {
		if (i)
			t->names->place(t->names, pc, generation, i, &place);
		out[n] = (struct trace_frame){
			.pc = (l ? l->address : pc) | (uint64_t)(have - 1 - i) << 58,
			.function = trace_tables_text(t, place.function),
			.file = trace_tables_text(t, place.file),
			.line = place.line,
		};
	}
	return n;
}

unsigned trace_tables_frames(struct trace_tables *t, uint32_t id,
			     struct trace_frame out[TRACE_FRAMES_MAX])
{
	const struct trace_stack *s = &t->stacks[id - 1];
	struct trace_frame some[INLINED_MAX + 1];
	uint32_t depth;
	unsigned n = 0;

	if (!s->stack) {
		out[0] = (struct trace_frame){ .pc = s->pc, .function = s->text };
		return 1;
	}
	for (depth = s->stack->depth; depth > 1; depth--) {
		struct location *l = locate(t, s->stack->pcs[depth - 1], s->stack->generation);

		if (l && !is_below_root(strtab_get(&t->strings, l->function)->text))
			break;
	}
	for (uint32_t i = 0; i < depth; i++) {
		unsigned frames = expand(t, s->stack->pcs[i], s->stack->generation, some);

		/* when there are too many, the root stays */
		for (unsigned k = 0; k < frames; k++)
			out[n < TRACE_FRAMES_MAX ? n++ : TRACE_FRAMES_MAX - 1] = some[k];
	}
	return n;
}
