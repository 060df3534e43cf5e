/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Design: a list of blocks. Each leaves room before and after its bytes, so that the framing of the
 * chunked coding is written around them when the block's turn to be sent comes, and no byte is
 * copied twice. A block that is being sent takes no more bytes: they go to a new one.
 */
#include "agent/http/reply.h"

#include <string.h>

#include "agent/base/attr.h"
#include "agent/base/budget.h"
#include "agent/base/fmt.h"
#include "agent/base/mem.h"
#include "agent/base/stats.h"
#include "agent/base/sys.h"
#include "agent/http/connection.h"
#include "agent/http/date.h"

/* Bytes. */
enum {
	BEFORE = 16, /* "ffffffff\r\n" */
	AFTER = 8,   /* "\r\n" */
	BLOCK_MIN = 2 << 10,
	BLOCK_MAX = 64 << 10,
	HEAD_MAX = 1024, /* a head without the handler's lines */
	HOLD_MIN = 2 << 10,
	HOLD_MAX = 8 << 20,
	HOLD_SHARES =
		2048, /* of the budget: what any reply may hold, so that 256 stay below half */
};

struct block {
	struct block *next;
	size_t size; /* of the allocation */
	size_t at;   /* data[at .. end) is not sent yet */
	size_t end;
	bool sealed; /* takes no more bytes */
	bool framed; /* is, or needs, no chunk framing */
	char data[];
};

static struct {
	size_t held; /* bytes of all blocks */
} self;

static const struct {
	int status;
	const char *text;
} statuses[] = {
	{100, "Continue"},
	{200, "OK"},
	{301, "Moved Permanently"},
	{400, "Bad Request"},
	{401, "Unauthorized"},
	{403, "Forbidden"},
	{404, "Not Found"},
	{405, "Method Not Allowed"},
	{408, "Request Timeout"},
	{413, "Request Entity Too Large"},
	{414, "Request URI Too Long"},
	{417, "Expectation Failed"},
	{429, "Too Many Requests"},
	{431, "Request Header Fields Too Large"},
	{500, "Internal Server Error"},
	{501, "Not Implemented"},
	{502, "Bad Gateway"},
	{503, "Service Unavailable"},
	{504, "Gateway Timeout"},
	{505, "HTTP Version Not Supported"},
};

/* On every answer (hazard K5). */
#define COMMON_LINES                                                                               \
	"X-Content-Type-Options: nosniff\r\n"                                                      \
	"Cache-Control: no-store\r\n"                                                              \
	"Referrer-Policy: no-referrer\r\n"                                                         \
	"Cross-Origin-Resource-Policy: same-origin\r\n"                                            \
	"Connection: close\r\n"

/* Our pages have scripts, styles and pictures of this server only, and none in their markup; whatever
 * else might be taken for a page can do nothing at all. */
#define POLICY_LINE	"Content-Security-Policy: default-src 'none'; "
#define POLICY_PAGE	"script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self'; "
#define POLICY_REST	"base-uri 'none'; form-action 'none'; frame-ancestors 'none'\r\n"
#define NO_PAGE_POLICY	POLICY_LINE POLICY_REST
#define PAGE_POLICY	POLICY_LINE POLICY_PAGE POLICY_REST

const char *reply_status_text(int status)
{
	for (size_t i = 0; i < ARRAY_LEN(statuses); i++)
		if (statuses[i].status == status)
			return statuses[i].text;
	return "Status";
}

static struct reply *reply_of(struct exchange *exchange)
{
	return &CONTAINER_OF(exchange, struct connection, exchange)->reply;
}

static struct block *block_new(size_t size)
{
	struct block *b = mem_alloc(size);

	if (!b)
		return NULL;
	*b = (struct block){.size = size, .at = BEFORE, .end = BEFORE};
	self.held += size;
	return b;
}

static void block_free(struct block *b)
{
	self.held -= b->size;
	mem_free(b);
}

static void append(struct reply *reply, struct block *b)
{
	if (reply->last)
		reply->last->next = b;
	else
		reply->first = b;
	reply->last = b;
}

static void drop_blocks(struct reply *reply)
{
	while (reply->first) {
		struct block *b = reply->first;

		reply->first = b->next;
		block_free(b);
	}
	reply->last = NULL;
	reply->pending = 0;
	reply->total = 0;
}

static size_t room_in(const struct block *b)
{
	return b && !b->sealed ? b->size - sizeof(*b) - AFTER - b->end : 0;
}

/* Room for at least one byte: the last block or a new one, larger the more there is already. */
static struct block *writable(struct reply *reply)
{
	size_t size = reply->pending < BLOCK_MIN ? BLOCK_MIN : BLOCK_MAX / 4;
	struct block *b = reply->last;

	if (room_in(b) > 0)
		return b;
	if (reply->pending >= BLOCK_MAX / 4)
		size = BLOCK_MAX;
	b = block_new(size - 64); /* the allocator's own header fits in as well */
	if (!b)
		b = block_new(BLOCK_MIN - 64);
	if (b)
		append(reply, b);
	return b;
}

static int body_write(struct sink *sink, const void *data, size_t size)
{
	struct reply *reply = reply_of(CONTAINER_OF(sink, struct exchange, body));
	const char *from = data;

	if (reply->status == 0 && !reply->err)
		reply->err = -EINVAL; /* a body without reply_begin */
	if (reply->err)
		return reply->err;
	reply->total += size;
	if (reply->head_only)
		return 0;
	while (size > 0) {
		struct block *b = writable(reply);
		size_t n;

		if (!b) {
			reply->err = -ENOMEM;
			return reply->err;
		}
		n = room_in(b) < size ? room_in(b) : size;
		memcpy(b->data + b->end, from, n);
		b->end += n;
		reply->pending += n;
		from += n;
		size -= n;
	}
	return 0;
}

void reply_open(struct exchange *exchange)
{
	exchange->body.write = body_write;
}

void reply_drop(struct reply *reply)
{
	drop_blocks(reply);
	mem_free(reply->lines);
	reply->lines = NULL;
}

static void add_line(struct reply *reply, const char *name, const char *value)
{
	size_t more = strlen(name) + strlen(value) + 2;
	char *grown = mem_realloc(reply->lines, reply->lines_size + more + 1);

	if (!grown) {
		reply->err = -ENOMEM;
		return;
	}
	fmt_buf(grown + reply->lines_size, more + 1, "%s%s\r\n", name, value);
	reply->lines = grown;
	reply->lines_size += more;
}

static void start_over(struct reply *reply, int status)
{
	drop_blocks(reply);
	reply->lines_size = 0;
	reply->err = 0;
	reply->status = status;
}

static bool is_page(const char *type)
{
	return !strncmp(type, "text/html", 9);
}

void reply_begin(struct exchange *exchange, int status, const char *type, const char *attachment)
{
	struct reply *reply = reply_of(exchange);
	char file[160];

	if (reply->started) {
		reply->broken = true;
		return;
	}
	start_over(reply, status);
	reply->page = type && is_page(type);
	if (type)
		add_line(reply, "Content-Type: ", type);
	if (attachment) {
		fmt_buf(file, sizeof(file), "attachment; filename=\"%s\"", attachment);
		add_line(reply, "Content-Disposition: ", file);
	}
}

void reply_header(struct exchange *exchange, const char *line)
{
	struct reply *reply = reply_of(exchange);

	if (reply->started)
		return;
	/* relayed from another agent, which writes it so */
	if (!strncmp(line, "Content-Type: ", 14))
		reply->page = is_page(line + 14);
	add_line(reply, line, "");
}

void reply_plain(struct exchange *exchange, int status, const char *text)
{
	reply_begin(exchange, status, "text/plain; charset=utf-8", NULL);
	if (!reply_of(exchange)->started)
		fmt_sink(&exchange->body, "%s\n", text);
}

void reply_error(struct exchange *exchange, int status, const char *text)
{
	reply_plain(exchange, status, text);
	reply_header(exchange, "X-Go-Pprof: 1");
}

/* The head as the first block. Context of all that follows: nothing can be taken back. */
static void put_head(struct reply *reply, bool known_length)
{
	struct block *b = block_new(sizeof(*b) + BEFORE + HEAD_MAX + reply->lines_size);
	char date[DATE_TEXT_MAX], length[48] = "";

	reply->started = true;
	if (!b) {
		reply->err = -ENOMEM;
		reply->broken = true;
		return;
	}
	if (known_length && !(reply->head_only && reply->total == 0))
		fmt_buf(length, sizeof(length), "Content-Length: %lu\r\n", reply->total);
	if (!known_length && reply->chunked)
		fmt_buf(length, sizeof(length), "Transfer-Encoding: chunked\r\n");
	date_print(sys_clock_ns(CLOCK_REALTIME) / 1000000000u, date);
	b->at = 0;
	b->end = fmt_buf(b->data, b->size - sizeof(*b),
			 "HTTP/1.1 %d %s\r\nDate: %s\r\n" COMMON_LINES "%s%.*s%s\r\n", reply->status,
			 reply_status_text(reply->status), date,
			 reply->page ? PAGE_POLICY : NO_PAGE_POLICY, (int)reply->lines_size,
			 reply->lines ? reply->lines : "", length);
	b->sealed = b->framed = true;
	b->next = reply->first;
	reply->first = b;
	if (!reply->last)
		reply->last = b;
	reply->pending += b->end;
}

void reply_start(struct reply *reply)
{
	if (reply->started)
		return;
	reply->chunked = reply->minor >= 1; /* HTTP/1.0: up to the close */
	put_head(reply, false);
}

static void put_last_chunk(struct reply *reply)
{
	static const char last_chunk[] = "0\r\n\r\n";
	struct block *b = block_new(sizeof(*b) + BEFORE + sizeof(last_chunk));

	if (!b) {
		reply->broken = true;
		return;
	}
	b->at = 0;
	b->end = sizeof(last_chunk) - 1;
	b->sealed = b->framed = true;
	memcpy(b->data, last_chunk, b->end);
	append(reply, b);
	reply->pending += b->end;
}

void reply_finish(struct exchange *exchange)
{
	struct reply *reply = reply_of(exchange);

	if (reply->status == 0 && !reply->err)
		reply->err = -ENODATA; /* the handler said nothing */
	if (reply->err && !reply->started) {
		bool memory = reply->err == -ENOMEM;

		stat_add(STAT_NO_MEMORY, memory);
		reply_error(exchange, memory ? 503 : 500,
			    memory ? "the agent's memory is full: raise PPROF_MAX_MEM"
				   : "the answer could not be written");
	}
	reply->finished = true;
	if (reply->err)
		reply->broken = true;
	else if (!reply->started)
		put_head(reply, true);
	else if (reply->chunked && !reply->head_only)
		put_last_chunk(reply);
}

/* Writes the framing around a block whose turn it is. */
static void seal(struct reply *reply, struct block *b)
{
	char size[BEFORE];
	size_t n;

	b->sealed = true;
	if (!reply->chunked || b->framed)
		return;
	b->framed = true;
	n = fmt_buf(size, sizeof(size), "%lx\r\n", b->end - b->at);
	b->at -= n;
	memcpy(b->data + b->at, size, n);
	memcpy(b->data + b->end, "\r\n", 2);
	b->end += 2;
	reply->pending += n + 2;
}

long reply_send(struct reply *reply, int fd, size_t most)
{
	size_t sent = 0;

	while (reply->first && sent < most) {
		struct block *b = reply->first;
		long n;

		seal(reply, b);
		n = sys_send(fd, b->data + b->at, b->end - b->at,
			     MSG_DONTWAIT | (b->next ? MSG_MORE : 0));
		if (n == -EINTR)
			continue;
		if (n == -EAGAIN)
			break;
		if (n < 0)
			return n;
		sent += (size_t)n;
		b->at += (size_t)n;
		reply->pending -= (size_t)n;
		if (b->at < b->end)
			break;
		reply->first = b->next;
		if (!reply->first)
			reply->last = NULL;
		block_free(b);
	}
	return (long)sent;
}

size_t reply_hold_limit(const struct reply *reply)
{
	size_t limit = budget_limit(), used = budget_used();
	size_t half_free = used < limit ? (limit - used) / 2 : 0;
	size_t others = self.held - (reply->pending < self.held ? reply->pending : self.held);
	size_t share = others < limit / 2 ? limit / 2 - others : 0;
	size_t least = limit / HOLD_SHARES < HOLD_MIN ? HOLD_MIN : limit / HOLD_SHARES;
	size_t hold = half_free < share ? half_free : share;

	if (hold > HOLD_MAX)
		hold = HOLD_MAX;
	return hold < least ? least : hold;
}

bool reply_pressure(void)
{
	/* reply_hold_limit keeps them at a half, but for what a job writes in one step */
	return self.held > budget_limit() / 8 * 5;
}

bool reply_full(struct exchange *exchange)
{
	const struct reply *reply = reply_of(exchange);

	return reply->pending > reply_hold_limit(reply);
}

void reply_busy(int fd)
{
	static const char text[] = "HTTP/1.1 503 Service Unavailable\r\n"
				   "Content-Type: text/plain; charset=utf-8\r\n"
				   "Retry-After: 1\r\n"
				   "X-Go-Pprof: 1\r\n" COMMON_LINES NO_PAGE_POLICY "Content-Length: 51\r\n\r\n"
				   "the agent serves too many requests now: try again.\n";

	sys_send(fd, text, sizeof(text) - 1, MSG_DONTWAIT);
}
