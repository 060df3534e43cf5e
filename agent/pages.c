/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The files of agent/ui/ lie in the library as they are; the scripts one behind the other, as one. The
 * page carries four @WORDS@ that are filled in here. Everything else is the script's business: it asks
 * for the same profiles as any other client and decodes them itself.
 */
#include "agent/pages.h"

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "agent/agent.h"
#include "agent/base/attr.h"
#include "agent/base/fmt.h"
#include "agent/base/sink.h"
#include "agent/base/sys.h"
#include "agent/http/server.h"
#include "agent/profiles.h"
#include "agent/serve.h"

#define FILE_OF(name) ".incbin \"agent/ui/" name "\"\n"
#define FILES(label, files)                                                                        \
	__asm__(".pushsection .rodata.pages,\"a\"\n" #label ":\n" files #label "_end:\n"            \
		".byte 0\n.popsection\n");                                                         \
	extern const char label[] __attribute__((visibility("hidden")));                           \
	extern const char label##_end[] __attribute__((visibility("hidden")))

FILES(page_html, FILE_OF("page.html"));
FILES(page_css, FILE_OF("pprof.css"));
FILES(page_icon, FILE_OF("icon.svg"));
FILES(page_script, FILE_OF("profile.js") FILE_OF("graph.js") FILE_OF("draw.js") FILE_OF("fetch.js")
	      FILE_OF("page.js"));

static const struct {
	const char *name, *type, *from, *to;
} files[] = {
	{ "pprof.js", "text/javascript; charset=utf-8", page_script, page_script_end },
	{ "pprof.css", "text/css; charset=utf-8", page_css, page_css_end },
	{ "icon.svg", "image/svg+xml", page_icon, page_icon_end },
};

void pages_escape(struct sink *to, const char *text)
{
	for (; *text; text++) {
		unsigned char c = (unsigned char)*text;

		switch (c) {
		case '&':
			sink_text(to, "&amp;");
			break;
		case '<':
			sink_text(to, "&lt;");
			break;
		case '>':
			sink_text(to, "&gt;");
			break;
		case '"':
			sink_text(to, "&#34;");
			break;
		case '\'':
			sink_text(to, "&#39;");
			break;
		default:
			/* bytes that are not ASCII might not be UTF-8 */
			if (c < 32 || c > 126)
				sink_text(to, "?");
			else
				sink_write(to, text, 1);
		}
	}
}

int pages_timed(const struct profile *profile)
{
	return profile->serve == serve_cpu || profile->serve == serve_over;
}

int pages_draws(const struct profile *profile)
{
	return !profile->hidden && profile->desc.types[0].type != NULL;
}

static void write_options(struct sink *to)
{
	for (size_t i = 0; i < profiles_n; i++)
		if (pages_draws(&profiles[i]))
			fmt_sink(to, "<option value=\"%s\" data-timed=%d>%s</option>\n", profiles[i].name,
				 pages_timed(&profiles[i]), profiles[i].name);
}

/* What stands between two '@' of the page; false: it is no word of ours. */
static bool write_word(struct sink *to, const char *word, size_t size, const struct profile *profile)
{
	if (size == 4 && !memcmp(word, "NAME", size))
		sink_text(to, profile->name);
	else if (size == 7 && !memcmp(word, "PROGRAM", size))
		pages_escape(to, agent_program());
	else if (size == 3 && !memcmp(word, "PID", size))
		fmt_sink(to, "%d", sys_getpid());
	else if (size == 7 && !memcmp(word, "OPTIONS", size))
		write_options(to);
	else
		return false;
	return true;
}

static void write_page(struct sink *to, const struct profile *profile)
{
	const char *at = page_html;

	while (at < page_html_end) {
		const char *open = memchr(at, '@', (size_t)(page_html_end - at));
		const char *close =
			open ? memchr(open + 1, '@', (size_t)(page_html_end - open - 1)) : NULL;

		if (!close)
			break;
		sink_write(to, at, (size_t)(open - at));
		if (write_word(to, open + 1, (size_t)(close - open - 1), profile)) {
			at = close + 1;
		} else {
			sink_write(to, open, 1);
			at = open + 1;
		}
	}
	sink_write(to, at, (size_t)(page_html_end - at));
}

void serve_ui(struct exchange *x, const char *name)
{
	for (size_t i = 0; i < ARRAY_LEN(files); i++) {
		if (strcmp(files[i].name, name))
			continue;
		reply_begin(x, 200, files[i].type, NULL);
		sink_write(&x->body, files[i].from, (size_t)(files[i].to - files[i].from));
		return;
	}
	if (!*name)
		name = "profile";
	for (size_t i = 0; i < profiles_n; i++) {
		if (!pages_draws(&profiles[i]) || strcmp(profiles[i].name, name))
			continue;
		reply_begin(x, 200, "text/html; charset=utf-8", NULL);
		write_page(&x->body, &profiles[i]);
		return;
	}
	reply_error(x, 404, "Unknown page: the index links to those that there are");
}
