/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Prints the documents that are made from the tables: gendocs options|endpoints|counters|hooks, and the
 * settings that scripts/pprofagent has as options: gendocs launcher.
 * It is compiled with the tables themselves, so it cannot misread them; scripts/gen-docs runs it.
 */
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include "agent/http/request.h"
#include "agent/profiles.h"

static const char *const notice =
	"<!-- Made by scripts/gen-docs from %s: change that table and run `make docs`. -->\n\n";

/* ---- options ---- */

static void option_TEXT(const char *fallback, int64_t min, int64_t max, const char *unit)
{
	if (fallback)
		printf("Default `%s`.\n\n", fallback);
	else
		printf("Not set by default.\n\n");
}

static void option_INT(int64_t fallback, int64_t min, int64_t max, const char *unit)
{
	printf("A number%s%s from %ld to %ld; default `%ld`.\n\n", *unit ? " of " : "", unit, min, max,
	       fallback);
}

static void option_SWITCH(int64_t fallback, int64_t min, int64_t max, const char *unit)
{
	printf("`0` or `1`; default `%ld`.\n\n", fallback);
}

static void option_CHOICE(int64_t fallback, int64_t min, int64_t max, const char *unit)
{
	const char *word = unit;

	for (; fallback > 0; fallback--)
		word = strchr(word, '|') + 1;
	printf("One of `%s`; default `%.*s`.\n\n", unit, (int)strcspn(word, "|"), word);
}

static void options(void)
{
	printf(notice, "agent/options.def");
	printf("# Settings\n\nEnvironment variables of the profiled program, read once when it starts. A "
	       "value that cannot be used\ngets one line on stderr and the default. "
	       "`/debug/pprof/agent` shows what is in force.\n\n");
#define OPTION(field, kind, name, fallback, min, max, unit, help) \
	printf("### PPROF_%s\n\n%s\n\n", name, help);           \
	option_##kind(fallback, min, max, unit);
#include "agent/options.def"
#undef OPTION
}

/* ---- the launcher's table: "name kind help", the help's first sentence ---- */

static void launcher_line(const char *name, bool is_switch, const char *help)
{
	const char *end = help;

	for (const char *c = name; *c; c++)
		putchar(*c == '_' ? '-' : *c | (*c >= 'A' && *c <= 'Z' ? 0x20 : 0));
	while (*end && !(*end == '.' && (end[1] == ' ' || !end[1])))
		end++;
	printf(" %s: %.*s\n", is_switch ? "switch" : "value", (int)(end - help), help);
}

static void launcher(void)
{
#define OPTION(field, kind, name, fallback, min, max, unit, help) \
	launcher_line(name, !strcmp(#kind, "SWITCH"), help);
#include "agent/options.def"
#undef OPTION
}

/* ---- man pages (mdoc): one item of a tagged list per setting ---- */

/* Lines of less than 80 characters, a new one for each sentence; nothing that roff takes for a request. */
static void man_text(const char *text)
{
	size_t column = 0;

	while (*text) {
		size_t n = strcspn(text, " ");
		bool sentence = n && strchr(".:;", text[n - 1]) && text[n] == ' ' && text[n - 1] == '.';

		if (column && column + 1 + n > 76) {
			putchar('\n');
			column = 0;
		}
		if (column)
			putchar(' ');
		else if (*text == '.' || *text == '\'')
			printf("\\&");
		for (size_t i = 0; i < n; i++)
			printf(text[i] == '\\' ? "\\e" : "%c", text[i]);
		column += n + 1;
		text += n + (text[n] == ' ');
		if (sentence) {
			putchar('\n');
			column = 0;
		}
	}
	if (column)
		putchar('\n');
}

static void man_default(const char *kind, const char *text, int64_t number, const char *unit)
{
	if (!strcmp(kind, "TEXT"))
		text ? printf("The default is\n.Ql %s .\n", text) : printf("Not set by default.\n");
	else if (!strcmp(kind, "CHOICE"))
		printf("One of\n.Ql %s .\n", unit);
	else
		printf("The default is %ld%s%s.\n", number, *unit ? " " : "", unit);
}

#define MAN_TEXT(fallback)   (const char *)(fallback), 0
#define MAN_INT(fallback)    NULL, (fallback)
#define MAN_SWITCH(fallback) NULL, (fallback)
#define MAN_CHOICE(fallback) NULL, (fallback)

static void man_settings(void)
{
#define OPTION(field, kind, name, fallback, min, max, unit, help) \
	printf(".It Ev PPROF_%s\n", name);                       \
	man_text(help);                                          \
	man_default(#kind, MAN_##kind(fallback), unit);
#include "agent/options.def"
#undef OPTION
}

static void man_option(const char *name, bool is_switch)
{
	printf(".It Fl -");
	for (const char *c = name; *c; c++)
		putchar(*c == '_' ? '-' : *c | (*c >= 'A' && *c <= 'Z' ? 0x20 : 0));
	printf(is_switch ? "\n" : " Ar value\n");
}

static void man_launcher(void)
{
#define OPTION(field, kind, name, fallback, min, max, unit, help) \
	man_option(name, !strcmp(#kind, "SWITCH"));              \
	man_text(help);
#include "agent/options.def"
#undef OPTION
}

/* ---- endpoints ---- */

static void endpoint(const struct profile *p)
{
	printf("## /debug/pprof/%s\n\n", p->name);
	if (p->help)
		printf("%s%s\n\n", p->help, p->help[strlen(p->help) - 1] == '.' ? "" : ".");
	if (p->missing)
		printf("**Not in this version:** answers 501, \"%s\".\n\n", p->missing);
	if (p->methods & METHOD_POST)
		printf("Methods: GET, HEAD, POST.\n\n");
	if (!p->desc.types[0].type)
		return;
	printf("| sample type | unit |\n| --- | --- |\n");
	for (int i = 0; i < SERIES_VALUES && p->desc.types[i].type; i++)
		printf("| `%s` | %s |\n", p->desc.types[i].type, p->desc.types[i].unit);
	printf("\nPeriod: `%s/%s`.", p->desc.period_type.type, p->desc.period_type.unit);
	if (p->desc.default_type)
		printf(" Shown first: `%s`.", p->desc.default_type);
	printf("%s\n\n", p->take ? " `?seconds=N` gives the difference of two snapshots, `?debug=1` text."
				 : "");
}

static void endpoints(void)
{
	printf(notice, "agent/profiles.c");
	printf("# Endpoints\n\n"
	       "All under `/debug/pprof/`, by GET or HEAD. Status, headers, parameters and error texts are "
	       "those of Go's\n`net/http/pprof` unless [compatibility.md](compatibility.md) says "
	       "otherwise.\n\n"
	       "`/debug/pprof/ui/NAME` is a page that draws the profile of that name, as flame graph and table. Its\n"
	       "parameters: `seconds` fetches over that time at once, `type`, `q` (search) and `view=callers` choose\n"
	       "what is shown, all others go into the request (`age`, `hz`, `labels`).\n\n");
	for (size_t i = 0; i < profiles_n; i++)
		if (profiles[i].name[0])
			endpoint(&profiles[i]);
}

/* ---- counters ---- */

static void counters(void)
{
	printf(notice, "agent/base/stats.def");
	printf("# Counters\n\nWhat the agent counts about itself: on `/debug/pprof/agent`, and with "
	       "`?format=prometheus` as\n`pprofagent_<name>_total`. Rows of the kind *dropped* that are "
	       "not zero are also comments of the\nprofiles and a line of the index page.\n\n"
	       "| name | kind | meaning |\n| --- | --- | --- |\n");
#define DROP_WORD  "dropped"
#define FAIL_WORD  "failed"
#define COUNT_WORD "count"
#define STAT(id, name, kind, meaning) printf("| `%s` | %s | %s |\n", name, kind##_WORD, meaning);
#include "agent/base/stats.def"
#undef STAT
}

/* ---- hooks ---- */

static void hooks(void)
{
	printf(notice, "hooks/hooks.def");
	printf("# Hooked functions\n\nWhat the library stands in front of. Each hook calls the next "
	       "definition and passes its result,\nand errno, on as they are.\n\n"
	       "| function | version | must exist |\n| --- | --- | --- |\n");
#define HOOK_REQUIRED "yes"
#define HOOK_OPTIONAL "no"
#define HOOK_RELEASE  "(another name of free)"
#define HOOK_MARKER   "(marks the library itself)"
#define HOOK(symbol, version, need) \
	printf("| `%s` | %s | %s |\n", #symbol, strcmp(#version, "ANY") ? #version : "", HOOK_##need);
#include "hooks/hooks.def"
#undef HOOK
}

int main(int argc, char **argv)
{
	static const struct {
		const char *name;
		void (*print)(void);
	} documents[] = {
		{ "options", options },
		{ "endpoints", endpoints },
		{ "counters", counters },
		{ "hooks", hooks },
		{ "launcher", launcher },
		{ "man-settings", man_settings },
		{ "man-launcher", man_launcher },
	};

	for (size_t i = 0; argc == 2 && i < sizeof(documents) / sizeof(documents[0]); i++) {
		if (!strcmp(documents[i].name, argv[1])) {
			documents[i].print();
			return 0;
		}
	}
	fprintf(stderr, "usage: gendocs options|endpoints|counters|hooks|launcher|man-settings|man-launcher\n");
	return 2;
}
