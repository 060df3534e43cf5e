/* SPDX-License-Identifier: Apache-2.0 */
#include "encode/lines_reply.h"

#include <errno.h>
#include <string.h>

#include "agent/base/mem.h"
#include "encode/clean.h"
#include "encode/grow.h"
#include "encode/helper.h"

enum { INPUT = 64 << 10, FRAMES_MAX_OF = 64 };

/* Bytes of the process at hand that make no whole line yet; answers that nobody waits for any more among
 * them, hence not part of a request. */
static struct {
	char *input; /* INPUT bytes, or NULL */
	size_t used;
	unsigned number; /* of the process that they came from */
} self;

/* A hexadecimal number and the space behind it. */
static bool take_number(const char **at, const char *end, uint64_t *out)
{
	const char *c = *at;
	uint64_t v = 0;

	for (; c < end && *c != ' '; c++) {
		unsigned d = *c >= '0' && *c <= '9' ? (unsigned)(*c - '0') :
			     *c >= 'a' && *c <= 'f' ? (unsigned)(*c - 'a' + 10) : 16;

		if (d > 15 || v >> 60)
			return false;
		v = v << 4 | d;
	}
	if (c == *at)
		return false;
	*at = c < end ? c + 1 : c;
	*out = v;
	return true;
}

static bool take_text(struct lines_results *r, const char *at, const char *end)
{
	uint64_t number;
	size_t len;
	char *copy;

	if (!take_number(&at, end, &number) || number != r->n_texts - r->texts_base + 1 || at == end)
		return false;
	len = (size_t)(end - at);
	if (!grow_room(&r->texts, &r->texts_room, r->n_texts + 1, sizeof(*r->texts)) ||
	    !(copy = pool_alloc(&r->pool, CLEAN_ROOM(len)))) {
		r->no_memory = true;
		return false;
	}
	clean_text(copy, at, len);
	r->texts[r->n_texts++] = (struct reply_text){ .linkage = copy };
	return true;
}

/* The number of a text, and then the number that it has among all; 0 stays 0. */
static bool take_reference(const struct lines_results *r, const char **at, const char *end, uint32_t *out)
{
	uint64_t number;

	if (!take_number(at, end, &number) || number > r->n_texts - r->texts_base)
		return false;
	*out = number ? (uint32_t)(r->texts_base + number) : 0;
	return true;
}

/* The question that an answer is to: one that was sent. */
static struct question *take_question(struct lines_results *r, const char **at, const char *end)
{
	uint64_t index;

	if (!take_number(at, end, &index) || index >= r->n || !r->questions[index].sent ||
	    r->questions[index].answered)
		return NULL;
	return &r->questions[index];
}

/* A compiler that splits the beginning off a function inlines it into what it calls by the same name, at
 * the line where the function begins: one frame to people. */
static void join_split(struct lines_results *r, struct question *q)
{
	struct reply_frame *last = &r->frames[r->n_frames - 1];

	if (q->n < 2 || !last->name || last->name != last[-1].name || last->line != last->start)
		return;
	q->n--;
	r->n_frames--;
}

static bool take_frames(struct lines_results *r, const char *at, const char *end)
{
	struct question *q = take_question(r, &at, end);
	uint64_t line, start;

	if (!q)
		return false;
	q->first = (uint32_t)r->n_frames;
	while (at < end) {
		struct reply_frame frame;

		if (q->n == FRAMES_MAX_OF || !take_reference(r, &at, end, &frame.name) ||
		    !take_reference(r, &at, end, &frame.file) || !take_number(&at, end, &line) ||
		    !take_number(&at, end, &start))
			return false;
		frame.line = (uint32_t)line;
		frame.start = (uint32_t)start;
		if (!grow_room(&r->frames, &r->frames_room, r->n_frames + 1, sizeof(*r->frames))) {
			r->no_memory = true;
			return false;
		}
		r->frames[r->n_frames++] = frame;
		q->n++;
	}
	join_split(r, q);
	q->answered = true;
	r->n_answered++;
	return true;
}

static bool take_symbol(struct lines_results *r, const char *at, const char *end)
{
	struct question *q = take_question(r, &at, end);
	struct reply_symbol symbol;

	if (!q || !take_reference(r, &at, end, &symbol.name) || !symbol.name ||
	    !take_number(&at, end, &symbol.start))
		return false;
	if (!grow_room(&r->symbols, &r->symbols_room, r->n_symbols + 1, sizeof(*r->symbols))) {
		r->no_memory = true;
		return false;
	}
	r->symbols[r->n_symbols++] = symbol;
	q->symbol = (uint32_t)r->n_symbols;
	return true;
}

static bool take_failure(struct lines_results *r, const char *at, const char *end)
{
	uint64_t file, code;

	if (!take_number(&at, end, &file) || file > UINT32_MAX || !take_number(&at, end, &code))
		return false;
	if (!grow_room(&r->failures, &r->failures_room, r->n_failures + 1, sizeof(*r->failures))) {
		r->no_memory = true;
		return false;
	}
	r->failures[r->n_failures++] = (struct reply_failure){ (uint32_t)file, code == 1 };
	return true;
}

/* One line. false: nonsense, or no memory. */
static bool take_line(struct lines_results *r, const char *at, const char *end)
{
	char kind = at < end ? *at : '\0';
	uint64_t seq;

	if (end - at < 3 || at[1] != ' ')
		return false;
	at += 2;
	if (kind == 'R') {
		if (!take_number(&at, end, &seq))
			return false;
		r->ours = r->seq && seq == r->seq;
		return true;
	}
	if (kind == 'D') { /* of whatever request: it is the last that is heard of it */
		r->died = take_number(&at, end, &r->died_dev) && take_number(&at, end, &r->died_inode);
		return r->died;
	}
	if (!r->ours) /* the rest of an answer that somebody gave up */
		return true;
	switch (kind) {
	case 'S':
		return take_text(r, at, end);
	case 'L':
		return take_frames(r, at, end);
	case 'Y':
		return take_symbol(r, at, end);
	case 'F':
		return take_failure(r, at, end);
	case 'E':
		r->ended = true;
		return true;
	default:
		return false;
	}
}

long lines_reply_take(struct lines_results *r)
{
	char *at, *end, *newline;
	bool good = true;
	long n;

	if (!self.input)
		self.input = mem_alloc(INPUT);
	if (!self.input) {
		r->no_memory = true;
		return -ENOMEM;
	}
	if (self.number != helper_number()) {
		self.number = helper_number();
		self.used = 0;
	}
	n = helper_receive(self.input + self.used, INPUT - self.used);
	if (n <= 0)
		return n;
	self.used += (size_t)n;
	end = self.input + self.used;
	for (at = self.input; good && (newline = memchr(at, '\n', (size_t)(end - at))); at = newline + 1)
		good = take_line(r, at, newline);
	self.used = (size_t)(end - at);
	memmove(self.input, at, self.used);
	if (r->no_memory)
		return -ENOMEM;
	return !good || self.used == INPUT ? -EPROTO : n;
}

bool lines_reply_name(struct lines_results *r, uint32_t number, const char **out_name,
		      const char **out_linkage)
{
	struct reply_text *text = &r->texts[number - 1];

	if (!text->name) {
		if (!demangle(&r->text, text->linkage))
			return false;
		text->name = pool_text(&r->pool, r->text.text, r->text.len);
		if (!text->name)
			return false;
	}
	*out_name = text->name;
	*out_linkage = text->linkage;
	return true;
}

void lines_results_restart(struct lines_results *r)
{
	r->seq = 0;
	r->ours = r->died = false;
	r->n_failures = 0;
	r->texts_base = r->n_texts;
	for (size_t i = 0; i < r->n; i++) /* half an answer */
		if (!r->questions[i].answered)
			r->questions[i].n = 0;
}

void lines_reply_rest(void)
{
	if (self.used) /* part of an answer that was given up: the rest of it follows */
		return;
	mem_free(self.input);
	self.input = NULL;
}

void lines_reply_child(void)
{
	self.input = NULL; /* its memory went with base/mem.h's */
	self.used = 0;
}

void lines_results_free(struct lines_results *r)
{
	mem_free(r->frames);
	mem_free(r->texts);
	mem_free(r->symbols);
	mem_free(r->failures);
	pool_drop(&r->pool);
	demangle_free(&r->text);
	*r = (struct lines_results){ 0 };
}
