/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/procstat.h"

#include <string.h>

#include "agent/base/fmt.h"
#include "agent/base/sys.h"

bool procstat_read(struct procstat *stat, const char *process)
{
	char path[64], *open, *close;
	long n;

	fmt_buf(path, sizeof(path), "/proc/%s/stat", process);
	n = sys_read_file(path, stat->text, sizeof(stat->text) - 1);
	if (n <= 0)
		return false;
	stat->text[n] = '\0';
	open = strchr(stat->text, '(');
	close = strrchr(stat->text, ')'); /* the name may hold anything */
	if (!open || !close || close < open || close[1] != ' ')
		return false;
	*close = '\0';
	stat->name = open + 1;
	stat->rest = close + 2;
	return true;
}

uint64_t procstat_number(const struct procstat *stat, enum procstat_field field)
{
	const char *at = stat->rest;
	uint64_t n = 0;

	for (int i = 3; at && i < (int)field; i++) {
		at = strchr(at, ' ');
		at += at != NULL;
	}
	for (; at && *at >= '0' && *at <= '9'; at++)
		n = n * 10 + (uint64_t)(*at - '0');
	return n;
}
