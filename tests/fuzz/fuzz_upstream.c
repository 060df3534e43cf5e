/* SPDX-License-Identifier: Apache-2.0 */
/* Answers of another agent: first byte is the size of the pieces; the pieces must not matter. */
#include "agent/base/mem.h"
#include "agent/http/connection.h"
#include "agent/http/upstream.h"
#include "tests/fuzz/fuzz.h"

struct outcome {
	enum upstream_state state;
	bool end;
	int status;
	uint64_t total;
	char lines[UPSTREAM_HEAD_MAX + 64];
};

static void relay(const uint8_t *data, size_t size, size_t step, unsigned method,
		  struct outcome *out)
{
	static struct connection c;
	struct upstream *u = calloc(1, sizeof(*u));

	memset(&c, 0, sizeof(c));
	memset(out, 0, sizeof(*out));
	reply_open(&c.exchange);
	c.exchange.request.method = method;
	c.reply.head_only = method == METHOD_HEAD;
	u->exchange = &c.exchange;
	for (size_t at = 0; at < size && out->state == UPSTREAM_MORE; at += step) {
		size_t n = size - at < step ? size - at : step;
		char *piece = exact_copy(data + at, n);

		out->state = upstream_feed(u, piece, n);
		free(piece);
	}
	out->end = out->state == UPSTREAM_MORE && upstream_end(u);
	out->status = c.reply.status;
	out->total = c.reply.total;
	MUST(c.reply.total <= size && c.reply.lines_size < sizeof(out->lines));
	if (c.reply.lines_size)
		memcpy(out->lines, c.reply.lines, c.reply.lines_size);
	for (size_t i = 0; i < c.reply.lines_size; i++)
		MUST((unsigned char)out->lines[i] >= 0x20 || out->lines[i] == '\r' ||
		     out->lines[i] == '\n');
	reply_drop(&c.reply);
	free(u);
	MUST(mem_used() == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct outcome whole, pieces;
	unsigned method = size && data[0] & 128 ? METHOD_HEAD : METHOD_GET;

	if (size < 2)
		return 0;
	relay(data + 1, size - 1, size, method, &whole);
	relay(data + 1, size - 1, (data[0] & 127u) + 1, method, &pieces);
	MUST(whole.state == pieces.state && whole.end == pieces.end);
	/* what was read before the mistake depends on the pieces; an answer does not */
	if (whole.state != UPSTREAM_BAD)
		MUST(whole.status == pieces.status && whole.total == pieces.total &&
		     memcmp(whole.lines, pieces.lines, sizeof(whole.lines)) == 0);
	return 0;
}
