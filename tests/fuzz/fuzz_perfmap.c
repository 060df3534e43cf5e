/* SPDX-License-Identifier: Apache-2.0 */
/* Any bytes as a JIT compiler's map: no fault, and ranges that are sorted and do not overlap. */
#include "agent/base/budget.h"
#include "agent/base/mem.h"
#include "encode/perfmap.h"
#include "tests/fuzz/fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct perfmap map;
	char buf[100];
	uint64_t start;
	int fd;

	budget_set(64 << 20);
	fd = file_of(data, size);
	if (perfmap_open_file(&map, fd) == 0) {
		for (size_t i = 0; i < map.n; i++) {
			if (map.list[i].start >= map.list[i].end ||
			    (i && map.list[i].start < map.list[i - 1].end))
				abort();
			if (i < 100)
				perfmap_find(&map, map.list[i].start, buf, sizeof(buf), &start);
		}
		perfmap_close(&map);
	}
	if (mem_used())
		abort();
	return 0;
}
