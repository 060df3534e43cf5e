/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/http/upstream.h"

#include <string.h>

#include "agent/base/attr.h"
#include "agent/http/server.h"

/* The parts of chunked coding that are not data: RFC 9112 section 7.1, without extensions and
 * trailers, which our server does not send. */
enum chunk_line {
	CHUNK_SIZE,	/* hex digits up to CR */
	CHUNK_SIZE_END, /* LF after them */
	CHUNK_DATA,
	CHUNK_DATA_CR,
	CHUNK_DATA_LF,
	CHUNK_LAST_CR, /* the empty line after the chunk of size 0 */
	CHUNK_LAST_LF,
};

/* Header lines handed on to the client. */
static const char *const relayed[] = {
	"content-type:", "content-disposition:", "x-go-pprof:",
	"allow:",	 "www-authenticate:",	 "retry-after:",
};

static bool begins(const char *line, const char *name)
{
	for (; *name; line++, name++) {
		char c = *line >= 'A' && *line <= 'Z' ? (char)(*line | 0x20) : *line;

		if (c != *name)
			return false;
	}
	return true;
}

static const char *value_of(const char *line)
{
	line = strchr(line, ':') + 1;
	while (*line == ' ')
		line++;
	return line;
}

static bool take_length(struct upstream *u, const char *value)
{
	uint64_t n = 0;

	if (*value == '\0')
		return false;
	for (; *value; value++) {
		if (*value < '0' || *value > '9' || n > UINT64_MAX / 100)
			return false;
		n = n * 10 + (uint64_t)(*value - '0');
	}
	u->left = n;
	u->until_end = false;
	return true;
}

static bool take_line(struct upstream *u, const char *line)
{
	for (const char *at = line; *at; at++)
		if ((unsigned char)*at < 0x20 || *at == 0x7f)
			return false;
	if (begins(line, "content-length:"))
		return take_length(u, value_of(line));
	if (begins(line, "transfer-encoding:")) {
		u->chunked = strcmp(value_of(line), "chunked") == 0;
		u->until_end = false;
		return u->chunked;
	}
	for (size_t i = 0; i < ARRAY_LEN(relayed); i++)
		if (begins(line, relayed[i]))
			reply_header(u->exchange, line);
	return true;
}

static bool take_status(struct upstream *u, const char *line)
{
	int status = 0;

	if (strncmp(line, "HTTP/1.", 7) != 0 || strlen(line) < 12 || line[8] != ' ')
		return false;
	for (int i = 9; i < 12; i++) {
		if (line[i] < '0' || line[i] > '9')
			return false;
		status = status * 10 + (line[i] - '0');
	}
	if (status < 200)
		return false;
	reply_begin(u->exchange, status, NULL, NULL);
	return true;
}

/* head holds whole lines up to and with the empty one, of `size` bytes. */
static bool take_head(struct upstream *u, size_t size)
{
	char *line = u->head, *end = u->head + size - 2;
	bool first = true;

	if (memchr(line, '\0', size))
		return false;
	u->until_end = true;
	while (line < end) {
		char *next = strstr(line, "\r\n");

		*next = '\0';
		if (!(first ? take_status(u, line) : take_line(u, line)))
			return false;
		first = false;
		line = next + 2;
	}
	u->in_body = true;
	return !first;
}

/* One byte that is not data. */
static enum upstream_state feed_framing(struct upstream *u, char c)
{
	int digit = request_hex_digit(c);

	switch (u->line) {
	case CHUNK_SIZE:
		if (c == '\r' && u->digits) {
			u->line = CHUNK_SIZE_END;
			return UPSTREAM_MORE;
		}
		if (digit < 0 || ++u->digits > 8)
			return UPSTREAM_BAD;
		u->left = u->left << 4 | (unsigned)digit;
		return UPSTREAM_MORE;
	case CHUNK_SIZE_END:
		u->line = u->left ? CHUNK_DATA : CHUNK_LAST_CR;
		u->digits = 0;
		return c == '\n' ? UPSTREAM_MORE : UPSTREAM_BAD;
	case CHUNK_DATA_CR:
		u->line = CHUNK_DATA_LF;
		return c == '\r' ? UPSTREAM_MORE : UPSTREAM_BAD;
	case CHUNK_DATA_LF:
		u->line = CHUNK_SIZE;
		return c == '\n' ? UPSTREAM_MORE : UPSTREAM_BAD;
	case CHUNK_LAST_CR:
		u->line = CHUNK_LAST_LF;
		return c == '\r' ? UPSTREAM_MORE : UPSTREAM_BAD;
	default:
		return c == '\n' ? UPSTREAM_DONE : UPSTREAM_BAD;
	}
}

static enum upstream_state feed_body(struct upstream *u, const char *data, size_t size)
{
	enum upstream_state state = UPSTREAM_MORE;

	while (size > 0 && state == UPSTREAM_MORE) {
		bool framing = u->chunked && u->line != CHUNK_DATA;
		size_t n = framing ? 1 : size;

		if (framing) {
			state = feed_framing(u, *data);
		} else {
			if (!u->until_end && n > u->left)
				n = (size_t)u->left;
			sink_write(&u->exchange->body, data, n);
			u->left -= u->until_end ? 0 : n;
			if (u->left == 0 && u->chunked)
				u->line = CHUNK_DATA_CR;
			else if (u->left == 0 && !u->until_end)
				state = UPSTREAM_DONE;
		}
		data += n;
		size -= n;
	}
	return state;
}

/* Where the head ends in u->head, or 0. */
static size_t head_end(const struct upstream *u, size_t from)
{
	for (size_t i = from < 3 ? 3 : from; i < u->have; i++)
		if (memcmp(u->head + i - 3, "\r\n\r\n", 4) == 0)
			return i + 1;
	return 0;
}

enum upstream_state upstream_feed(struct upstream *u, const char *data, size_t size)
{
	size_t before = u->have, n, end;

	if (u->in_body)
		return feed_body(u, data, size);
	n = size < UPSTREAM_HEAD_MAX - before ? size : UPSTREAM_HEAD_MAX - before;
	memcpy(u->head + before, data, n);
	u->have += n;
	u->head[u->have] = '\0';
	end = head_end(u, before);
	if (end == 0)
		return u->have < UPSTREAM_HEAD_MAX ? UPSTREAM_MORE : UPSTREAM_BAD;
	if (!take_head(u, end))
		return UPSTREAM_BAD;
	if (u->exchange->request.method == METHOD_HEAD ||
	    (!u->chunked && !u->until_end && !u->left))
		return UPSTREAM_DONE;
	return feed_body(u, data + (end - before), size - (end - before));
}

bool upstream_end(const struct upstream *u)
{
	return u->in_body && u->until_end;
}
