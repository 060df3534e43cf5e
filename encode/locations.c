/* SPDX-License-Identifier: Apache-2.0 */
/* Open addressing with keys in the slots: one cache line per frame of a sample that was seen before. */
#include "encode/locations.h"

#include "agent/base/mem.h"
#include "encode/grow.h"

struct location_slot {
	uint64_t address;
	uint32_t gone;
	uint32_t id; /* 0: empty */
};

enum { FIRST_SLOTS = 1024 };

bool locations_init(struct locations *l)
{
	*l = (struct locations){ .n_slots = FIRST_SLOTS, .n_function_slots = FIRST_SLOTS };
	l->slots = mem_zalloc(FIRST_SLOTS * sizeof(*l->slots));
	l->function_slots = mem_zalloc(FIRST_SLOTS * sizeof(*l->function_slots));
	return l->slots && l->function_slots;
}

void locations_free(struct locations *l)
{
	mem_free(l->list);
	mem_free(l->slots);
	mem_free(l->functions);
	mem_free(l->function_slots);
	*l = (struct locations){ 0 };
}

/* Fibonacci hashing (Knuth, The Art of Computer Programming 3, 6.4): the high bits of a product. */
static inline size_t hash_of(uint64_t address, size_t n)
{
	return address * 0x9e3779b97f4a7c15u >> 32 & (n - 1);
}

static inline struct location_slot *slot_of(struct location_slot *slots, size_t n,
					    uint64_t address, uint32_t gone)
{
	size_t i = hash_of(address, n);

	while (slots[i].id && (slots[i].address != address || slots[i].gone != gone))
		i = (i + 1) & (n - 1);
	return &slots[i];
}

void locations_prefetch(const struct locations *l, uint64_t address)
{
	__builtin_prefetch(&l->slots[hash_of(address, l->n_slots)]);
}

static bool slots_double(struct locations *l)
{
	size_t n = l->n_slots * 2;
	struct location_slot *slots = mem_zalloc(n * sizeof(*slots));

	if (!slots)
		return false;
	for (size_t i = 0; i < l->n_slots; i++)
		if (l->slots[i].id)
			*slot_of(slots, n, l->slots[i].address, l->slots[i].gone) = l->slots[i];
	mem_free(l->slots);
	l->slots = slots;
	l->n_slots = n;
	return true;
}

uint32_t locations_id(struct locations *l, uint64_t address, uint32_t gone, uint32_t generation)
{
	struct location_slot *slot = slot_of(l->slots, l->n_slots, address, gone);

	if (slot->id)
		return slot->id;
	if (l->n >= UINT32_MAX - 1 || !grow_room(&l->list, &l->room, l->n + 1, sizeof(*l->list)))
		return 0;
	if (l->n * 2 >= l->n_slots) {
		if (!slots_double(l))
			return 0;
		slot = slot_of(l->slots, l->n_slots, address, gone);
	}
	l->list[l->n++] = (struct location){
		.address = address,
		.generation = generation,
		.mapping = -1,
	};
	*slot = (struct location_slot){ address, gone, (uint32_t)l->n };
	return slot->id;
}

static uint32_t *function_slot(const struct locations *l, uint32_t *slots, size_t n,
			       const struct function *want)
{
	uint64_t names = (uint64_t)want->name << 32 | want->linkage;
	size_t i = grow_hash(names + ((uint64_t)want->file << 16)) & (n - 1);

	for (; slots[i]; i = (i + 1) & (n - 1)) {
		const struct function *have = &l->functions[slots[i] - 1];

		if (have->name == want->name && have->linkage == want->linkage &&
		    have->file == want->file)
			break;
	}
	return &slots[i];
}

static bool function_slots_double(struct locations *l)
{
	size_t n = l->n_function_slots * 2;
	uint32_t *slots = mem_zalloc(n * sizeof(*slots));

	if (!slots)
		return false;
	for (size_t i = 0; i < l->n_functions; i++)
		*function_slot(l, slots, n, &l->functions[i]) = (uint32_t)i + 1;
	mem_free(l->function_slots);
	l->function_slots = slots;
	l->n_function_slots = n;
	return true;
}

uint32_t locations_function(struct locations *l, const struct function *function)
{
	uint32_t *slot = function_slot(l, l->function_slots, l->n_function_slots, function);

	if (*slot)
		return *slot;
	if (!grow_room(&l->functions, &l->functions_room, l->n_functions + 1, sizeof(*l->functions)))
		return 0;
	if (l->n_functions * 2 >= l->n_function_slots) {
		if (!function_slots_double(l))
			return 0;
		slot = function_slot(l, l->function_slots, l->n_function_slots, function);
	}
	l->functions[l->n_functions++] = *function;
	*slot = (uint32_t)l->n_functions;
	return *slot;
}
