/* SPDX-License-Identifier: Apache-2.0 */
/* 301 as Go's http.Redirect writes it. The only place where bytes of a request come back. */
#include <string.h>

#include "agent/base/fmt.h"
#include "agent/http/path.h"
#include "agent/http/server.h"

static void write_escaped(struct sink *sink, const char *text)
{
	static const struct {
		char c;
		const char *entity;
	} entities[] = {
		{'&', "&amp;"}, {'<', "&lt;"}, {'>', "&gt;"}, {'"', "&#34;"}, {'\'', "&#39;"},
	};

	for (; *text; text++) {
		const char *entity = NULL;

		for (size_t i = 0; i < sizeof(entities) / sizeof(entities[0]); i++)
			if (entities[i].c == *text)
				entity = entities[i].entity;
		sink_write(sink, entity ? entity : text, entity ? strlen(entity) : 1);
	}
}

void reply_redirect(struct exchange *exchange, const char *path)
{
	static const char name[] = "Location: ";
	char line[sizeof(name) + 3 * REQUEST_PATH_MAX + 1 + REQUEST_TARGET_MAX + 1];
	struct text query = exchange->request.query;
	size_t n = sizeof(name) - 1;
	bool get = exchange->request.method == METHOD_GET;

	memcpy(line, name, sizeof(name));
	n += path_escape(path, line + n, 3 * REQUEST_PATH_MAX + 1);
	if (query.size)
		fmt_buf(line + n, sizeof(line) - n, "?%.*s", (int)query.size, query.at);
	reply_begin(exchange, 301,
		    get || exchange->request.method == METHOD_HEAD ? "text/html; charset=utf-8"
								   : NULL,
		    NULL);
	reply_header(exchange, line);
	if (get) {
		sink_text(&exchange->body, "<a href=\"");
		write_escaped(&exchange->body, line + sizeof(name) - 1);
		sink_text(&exchange->body, "\">Moved Permanently</a>.\n\n");
	}
}
