/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/heaptrim.h"

#include <string.h>

#include "agent/base/attr.h"
#include "agent/base/mem.h"
#include "agent/collect/frames.h"
#include "agent/collect/snapshot.h"
#include "agent/collect/stacks.h"
#include "encode/symbols.h"

/* As demangling and simplifying leave them: no parameters, no template arguments. */
static const char *const allocators[] = {
	"operator new",
	"operator new[]",
	"std::allocator::allocate",
	"std::allocator_traits::allocate",
	"std::__new_allocator::allocate",
	"__gnu_cxx::new_allocator::allocate",
	"__gnu_cxx::__alloc_traits::allocate",
	"std::_Vector_base::_M_allocate",
	"__rust_alloc",
	"__rust_alloc_zeroed",
	"__rust_realloc",
	"__rdl_alloc",
	"__rdl_alloc_zeroed",
	"__rdl_realloc",
	"alloc::alloc::alloc",
	"alloc::alloc::alloc_zeroed",
	"alloc::alloc::realloc",
	"alloc::alloc::exchange_malloc",
	"alloc::alloc::Global::alloc_impl",
	"alloc::alloc::Global::grow_impl",
	"std::alloc::System::alloc_impl",
	"std::sys::unix::alloc::aligned_malloc",
};

bool heaptrim_is_allocator(const char *name)
{
	for (size_t i = 0; i < ARRAY_LEN(allocators); i++)
		if (!strcmp(name, allocators[i]))
			return true;
	return false;
}

/* What was found out about a PC, so that each is looked up once per answer. Slots are overwritten. */
struct verdict {
	uintptr_t pc;
	uint32_t generation;
	bool allocator;
};
enum { VERDICTS = 4096 };

static bool is_allocator(struct symbols *symbols, struct verdict *verdicts, uintptr_t pc,
			 uint32_t generation)
{
	struct verdict *v = &verdicts[(pc * 0x9e3779b97f4a7c15u >> 40) % VERDICTS];
	struct symbol symbol;

	if (pc < FRAME_MARKS)
		return false;
	if (v->pc != pc || v->generation != generation) {
		if (!symbols_find(symbols, pc, generation, &symbol))
			return false;
		*v = (struct verdict){ pc, generation, heaptrim_is_allocator(symbol.name) };
	}
	return v->allocator;
}

void heaptrim(struct snapshot *snapshot)
{
	struct symbols *symbols = symbols_open();
	struct verdict *verdicts = mem_zalloc(VERDICTS * sizeof(*verdicts));

	for (size_t i = 0; symbols && verdicts && i < snapshot->n; i++) {
		struct sample *s = &snapshot->samples[i];

		while (s->skip + 1 < s->stack->depth &&
		       is_allocator(symbols, verdicts, s->stack->pcs[s->skip], s->stack->generation))
			s->skip++;
	}
	mem_free(verdicts);
	if (symbols)
		symbols_close(symbols);
}
