/* SPDX-License-Identifier: Apache-2.0 */
/* Comments of profiles; the pointers in `lines` are into `text`. */
#include "agent/comments.h"

#include <stdarg.h>
#include <stdint.h>

#include "agent/base/fmt.h"
#include "agent/base/stats.h"

void comments_add(struct comments *c, const char *format, ...)
{
	size_t room = sizeof(c->text) - c->used;
	va_list args;
	size_t n;

	if (c->n == COMMENTS_MAX || room < 2)
		return;
	va_start(args, format);
	n = fmt_vbuf(c->text + c->used, room, format, args);
	va_end(args);
	c->lines[c->n++] = c->text + c->used;
	c->lines[c->n] = NULL;
	c->used += n < room ? n + 1 : room;
}

void comments_add_drops(struct comments *comments)
{
	for (int i = 0; i < STAT_N; i++) {
		uint64_t n = stat_read((enum stat_id)i);

		if (n && stat_kind((enum stat_id)i) == STAT_KIND_DROP)
			comments_add(comments, "pprofagent: %s=%lu: %s", stat_name((enum stat_id)i), n,
				     stat_meaning((enum stat_id)i));
	}
}
