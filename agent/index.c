/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The page at /debug/pprof/. Its rows have the shape of Go's (count, then a relative link in single
 * quotes), because tools scrape them; what stands behind those two cells is ours. Every name that
 * the program chose is escaped (hazard K5); the page needs no script, and its style is the flame page's.
 */
#include <string.h>

#include "agent/agent.h"
#include "agent/base/fmt.h"
#include "agent/base/sink.h"
#include "agent/base/stats.h"
#include "agent/base/sys.h"
#include "agent/children.h"
#include "agent/foreign.h"
#include "agent/http/server.h"
#include "agent/pages.h"
#include "agent/profiles.h"
#include "agent/serve.h"
#include "agent/serve_trace.h"

/* One click to a flame graph: of what there is now, or of the next 5 or 30 s. */
static void flame_links(struct sink *to, const struct profile *p)
{
	if (pages_timed(p))
		sink_text(to, "flame graph of ");
	else
		fmt_sink(to, "<a href=\"ui/%s\">flame graph</a> · ", p->name);
	fmt_sink(to,
		 "<a href=\"ui/%s?seconds=5\">5 s</a> · <a href=\"ui/%s?seconds=30\">30 s</a> · "
		 "<a href=\"%s\">file</a>",
		 p->name, p->name, p->name);
}

static void row(struct sink *to, const struct profile *p)
{
	fmt_sink(to, "<tr><td>%lu</td><td><a href='%s?debug=1'>%s</a></td>",
		 p->count ? p->count() : 0, p->name, p->name);
	sink_text(to, "<td class=more>");
	if (pages_draws(p))
		flame_links(to, p);
	else if (p->serve == serve_trace)
		sink_text(to, "<a href=\"trace?seconds=5\">5 s</a> · "
			      "<a href=\"trace?seconds=5&amp;format=perfetto\">5 s for Perfetto</a>");
	fmt_sink(to, "</td><td class=what>%s</td></tr>\n", p->missing ? p->missing : p->help);
}

static void foreign_line(void *to, const char *sentence)
{
	sink_text(to, "heap: ");
	pages_escape(to, sentence);
	sink_text(to, "<br>\n");
}

static void health(struct sink *to)
{
	unsigned troubles = 0;

	sink_text(to, "<p>");
	for (int i = 0; i < STAT_N; i++) {
		uint64_t n = stat_read((enum stat_id)i);

		if (!n || stat_kind((enum stat_id)i) == STAT_KIND_COUNT)
			continue;
		fmt_sink(to, "<span class=bad>%lu</span> %s<br>\n", n, stat_meaning((enum stat_id)i));
		troubles++;
	}
	foreign_say(foreign_line, to);
	if (!troubles)
		sink_text(to, "<span class=ok>Agent healthy:</span> nothing dropped, nothing failed. ");
	sink_text(to, "<a href=\"agent\">details, settings and log</a></p>\n");
}

struct child_rows {
	struct sink *to;
	unsigned n;
};

static void child_row(const struct child *c, void *arg)
{
	struct child_rows *rows = arg;

	if (!rows->n++)
		sink_text(rows->to,
			  "<h2>Worker processes</h2>\n<table class=list>\n<tr class=head><th>PID</th><th>name</th>"
			  "<th>CPU time</th><th></th></tr>\n");
	fmt_sink(rows->to, "<tr><td>%d</td><td><a href=\"child/%d/\">", c->pid, c->pid);
	pages_escape(rows->to, c->name[0] ? c->name : "?");
	fmt_sink(rows->to,
		 "</a></td><td>%.2f s</td><td class=more><a href=\"child/%d/ui/profile?seconds=5\">"
		 "CPU 5 s</a> · <a href=\"child/%d/ui/profile?seconds=30\">30 s</a> · "
		 "<a href=\"child/%d/ui/heap\">heap</a></td></tr>\n",
		 (double)c->cpu_ms / 1000, c->pid, c->pid, c->pid);
}

/* Where to begin; and an example that can be copied: with the address that the client used, if it looks like one. */
static void hint(struct sink *to, const struct exchange *x)
{
	const struct text *host = &x->request.host;

	sink_text(to, "<p><a href=\"ui/profile?seconds=5\">Flame graph of the CPU time of the next 5 seconds</a>, here; or, with "
		      "Go installed:</p>\n<pre>go tool pprof http://");
	for (size_t i = 0; host->at && i < host->size; i++) {
		char c[2] = { host->at[i], '\0' };

		pages_escape(to, c);
	}
	if (!host->at || !host->size)
		sink_text(to, "localhost:6060");
	pages_escape(to, x->request.path);
	sink_text(to, "profile?seconds=5</pre>\n");
}

void serve_index(const struct profile *profile, struct exchange *x)
{
	struct sink *to = &x->body;
	struct child_rows children = { .to = to };
	uint64_t up = (sys_clock_ns(CLOCK_MONOTONIC) - agent_started_ns()) / 1000000000u;

	reply_begin(x, 200, "text/html; charset=utf-8", NULL);
	sink_text(to, "<!DOCTYPE html>\n<html lang=en>\n<head>\n<meta charset=utf-8>\n"
		      "<meta name=viewport content=\"width=device-width\">\n"
		      "<title>/debug/pprof/</title>\n"
		      "<link rel=icon href=\"ui/icon.svg\">\n"
		      "<link rel=stylesheet href=\"ui/pprof.css\">\n"
		      "</head>\n<body>\n<h1>/debug/pprof/</h1>\n<p class=sub><b>");
	pages_escape(to, agent_program());
	fmt_sink(to, "</b>, pid %d, watched for %lu s by libpprofagent " VERSION "</p>\n", sys_getpid(),
		 up);
	sink_text(to, "Set debug=1 as a query parameter to export in legacy text format.<br>\n");
	hint(to, x);
	sink_text(to, "<h2>Types of profiles available</h2>\n<table class=list>\n"
		      "<tr class=head><th>Count</th><th>Profile</th><th>Flame graph</th><th></th></tr>\n");
	for (size_t i = 0; i < profiles_n; i++)
		if (!profiles[i].hidden)
			row(to, &profiles[i]);
	sink_text(to, "</table>\n<p><a href=\"goroutine?debug=2\">full goroutine stack dump</a> "
		      "(every thread)</p>\n");
	children_visit(child_row, &children);
	if (children.n)
		sink_text(to, "</table>\n");
	sink_text(to, "<h2>Agent</h2>\n");
	health(to);
	sink_text(to, "</body>\n</html>\n");
}
