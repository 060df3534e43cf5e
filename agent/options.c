/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/options.h"

#include <stdbool.h>
#include <string.h>

#include "agent/base/arena.h"
#include "agent/base/attr.h"
#include "agent/base/fmt.h"
#include "agent/base/log.h"
#include "agent/base/sink.h"

enum kind { KIND_TEXT, KIND_INT, KIND_SWITCH, KIND_CHOICE };

static struct options values = {
#define OPTION(field_, kind_, name_, fallback, min_, max_, unit_, help_) .field_ = fallback,
#include "agent/options.def"
#undef OPTION
};
const struct options *const options = &values;

static const struct row {
	const char *name;
	enum kind kind;
	size_t offset;
	int64_t min, max;
	const char *unit;
	const char *help;
} rows[] = {
#define OPTION(field_, kind_, name_, fallback, min_, max_, unit_, help_) \
	{ .name = "PPROF_" name_,                                         \
	  .kind = KIND_##kind_,                                           \
	  .offset = offsetof(struct options, field_),                     \
	  .min = min_,                                                    \
	  .max = max_,                                                    \
	  .unit = unit_,                                                  \
	  .help = help_ },
#include "agent/options.def"
#undef OPTION
};

static struct {
	bool set[ARRAY_LEN(rows)];
	struct arena arena; /* texts that `near` has no room for */
	size_t near_used;
	char near[256]; /* enough for most: a process of a moment's life maps nothing for its settings */
} self;

/* A copy: programs write over their environment (setproctitle). */
static const char *keep_text(const char *text)
{
	size_t size = strlen(text) + 1;
	char *copy;

	if (size <= sizeof(self.near) - self.near_used) {
		copy = self.near + self.near_used;
		self.near_used += size;
	} else {
		copy = arena_alloc(&self.arena, size);
	}
	if (copy)
		memcpy(copy, text, size);
	return copy;
}

/* A whole decimal number, nothing around it. */
static bool parse_int(const char *text, int64_t *out)
{
	bool negative = *text == '-';
	int64_t n = 0;

	text += negative;
	if (!*text)
		return false;
	for (; *text; text++) {
		if (*text < '0' || *text > '9' || __builtin_mul_overflow(n, 10, &n) ||
		    __builtin_add_overflow(n, *text - '0', &n))
			return false;
	}
	*out = negative ? -n : n;
	return true;
}

/* Index of a word in "one|two|three", -1 if it is none of them. */
static int64_t find_word(const char *words, const char *word)
{
	size_t size = strlen(word);

	for (int64_t i = 0;; i++) {
		const char *end = strchr(words, '|');
		size_t n = end ? (size_t)(end - words) : strlen(words);

		if (n == size && !memcmp(words, word, n))
			return i;
		if (!end)
			return -1;
		words = end + 1;
	}
}

static void set_option(size_t i, const char *text)
{
	const struct row *row = &rows[i];
	void *field = (char *)&values + row->offset;
	int64_t n;

	self.set[i] = false; /* written before it is read: its page faults once */
	switch (row->kind) {
	case KIND_TEXT: {
		const char *copy = *text ? keep_text(text) : NULL;

		if (!copy)
			return; /* empty is as if it were not set */
		*(const char **)field = copy;
		break;
	}
	case KIND_CHOICE:
		n = find_word(row->unit, text);
		if (n < 0) {
			log_line(LOG_WARN, "%s=%s is none of %s; using the default", row->name, text,
				 row->unit);
			return;
		}
		*(int64_t *)field = n;
		break;
	default:
		if (!parse_int(text, &n) || n < row->min || n > row->max) {
			log_line(LOG_WARN,
				 "%s=%s is not a number from %ld to %ld; using the default %ld",
				 row->name, text, row->min, row->max, *(int64_t *)field);
			return;
		}
		*(int64_t *)field = n;
		break;
	}
	self.set[i] = true;
}

static void set_from(const char *entry)
{
	const char *equals = strchr(entry, '=');
	size_t n = equals ? (size_t)(equals - entry) : 0;

	if (!equals)
		return;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		if (strlen(rows[i].name) == n && !memcmp(rows[i].name, entry, n)) {
			if (equals[1])
				set_option(i, equals + 1);
			return;
		}
	}
	log_line(LOG_WARN, "%.*s is not a setting of this agent; see docs/options.md", (int)n, entry);
}

void options_load(char **envp)
{
	for (; envp && *envp; envp++)
		if (!strncmp(*envp, "PPROF_", 6) && strncmp(*envp, "PPROF_TMPDIR=", 13) &&
		    strncmp(*envp, "PPROF_BINARY_PATH=", 18) && strncmp(*envp, "PPROF_TOOLS=", 12))
			set_from(*envp);
}

int options_print(struct sink *sink)
{
	int err = 0;

	for (size_t i = 0; i < ARRAY_LEN(rows) && !err; i++) {
		const struct row *row = &rows[i];
		const void *field = (const char *)&values + row->offset;
		const char *origin = self.set[i] ? "set" : "default";
		const char *text;

		switch (row->kind) {
		case KIND_TEXT:
			text = *(const char *const *)field;
			if (text && !strcmp(row->name, "PPROF_TOKEN"))
				text = "(hidden)";
			err = fmt_sink(sink, "%s=%s (%s)\n", row->name, text ? text : "", origin);
			break;
		case KIND_CHOICE: {
			const char *word = row->unit;

			for (int64_t n = *(const int64_t *)field; n > 0; n--)
				word = strchr(word, '|') + 1;
			err = fmt_sink(sink, "%s=%.*s (%s)\n", row->name, (int)strcspn(word, "|"),
				       word, origin);
			break;
		}
		default:
			err = fmt_sink(sink, "%s=%ld %s (%s)\n", row->name, *(const int64_t *)field,
				       row->unit, origin);
			break;
		}
	}
	return err;
}
