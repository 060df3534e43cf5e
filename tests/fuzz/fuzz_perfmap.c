/* SPDX-License-Identifier: Apache-2.0 */
/* Any bytes as a JIT compiler's map: no fault, and ranges that are sorted and do not overlap. */
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "agent/base/budget.h"
#include "agent/base/mem.h"
#include "encode/perfmap.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct perfmap map;
	char buf[100];
	uint64_t start;
	int fd = memfd_create("fuzz", MFD_CLOEXEC);

	budget_set(64 << 20);
	if (fd < 0 || write(fd, data, size) != (ssize_t)size)
		abort();
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
