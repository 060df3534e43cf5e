/* SPDX-License-Identifier: Apache-2.0 */
/* Any text as a mapping list: no fault, and pieces in which addresses are found again. */
#include "agent/base/budget.h"
#include "agent/base/mem.h"
#include "encode/maps.h"
#include "tests/fuzz/fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct maps maps;

	budget_set(1 << 26);
	if (maps_parse(&maps, (const char *)data, size) == 0)
		for (size_t i = 0; i < maps.n; i++) {
			const struct map *map = maps_find(&maps, maps.list[i].start);

			if (maps.list[i].start >= maps.list[i].end || !maps.list[i].path ||
			    (map && (map->start > maps.list[i].start || map->end <= maps.list[i].start)))
				abort();
		}
	maps_free(&maps);
	if (mem_used())
		abort();
	return 0;
}
