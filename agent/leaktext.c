/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/leaktext.h"

#include <errno.h>
#include <stdbool.h>
#include <stddef.h>
#include <string.h>

#include "agent/base/fmt.h"
#include "agent/base/mem.h"
#include "agent/collect/dump.h"
#include "agent/collect/leaks.h"
#include "agent/waitwords.h"

struct growing {
	struct sink sink;
	char *text;
	size_t used, room;
};

static int grow(struct sink *sink, const void *data, size_t size)
{
	struct growing *g = (struct growing *)sink;

	if (g->used + size + 1 > g->room) {
		size_t room = (g->used + size + 1) * 2;
		char *grown = mem_realloc(g->text, room);

		if (!grown)
			return -ENOMEM;
		g->text = grown;
		g->room = room;
	}
	memcpy(g->text + g->used, data, size);
	g->used += size;
	g->text[g->used] = '\0';
	return 0;
}

static int put_thread(struct sink *to, const struct dump *dump, size_t i)
{
	const struct dump_thread *t = dump_at(dump, i);
	int err = fmt_sink(to, "#\tthread %d ", t->tid);

	if (!err)
		err = waitwords_name(to, t->facts.name);
	if (!err)
		err = sink_text(to, t->wait.what == WAITS_FOR_JOIN ? " waits for the end of "
								   : " waits for ");
	if (!err)
		err = waitwords_object(to, dump, t);
	return err ? err : sink_text(to, "\n");
}

/* Each circle once, at its thread of the lowest tid. */
static int put_circle(struct sink *to, const struct dump *dump, const struct leaks *leaks, size_t from)
{
	size_t n = 0, i = from;
	int err;

	do {
		if (i < from)
			return 0;
		n++;
		i = leaks_next(leaks, i);
	} while (i != from);
	err = n == 1 ? sink_text(to, "# deadlock of a thread with itself:\n")
		     : fmt_sink(to, "# deadlock of %zu threads, each waits for the next:\n", n);
	do {
		if (!err)
			err = put_thread(to, dump, i);
		i = leaks_next(leaks, i);
	} while (!err && i != from);
	return err;
}

static int put_others(struct sink *to, const struct dump *dump, const struct leaks *leaks, enum leak kind,
		      const char *title)
{
	bool begun = false;
	int err = 0;

	for (size_t i = 0; !err && i < dump_n(dump); i++) {
		if (leaks_at(leaks, i) != kind)
			continue;
		if (!begun)
			err = sink_text(to, title);
		begun = true;
		if (!err)
			err = put_thread(to, dump, i);
	}
	return err;
}

char *leaktext(const struct dump *dump, const struct leaks *leaks)
{
	struct growing g = { .sink = { .write = grow } };
	int err = sink_text(&g.sink, "");

	for (size_t i = 0; !err && i < dump_n(dump); i++)
		if (leaks_at(leaks, i) == LEAK_CIRCLE)
			err = put_circle(&g.sink, dump, leaks, i);
	if (!err)
		err = put_others(&g.sink, dump, leaks, LEAK_ORPHAN,
				 "# locks whose owner has ended without unlocking them:\n");
	if (!err)
		err = put_others(&g.sink, dump, leaks, LEAK_BEHIND, "# threads that wait behind those:\n");
	if (!err)
		return g.text;
	mem_free(g.text);
	return NULL;
}
