/* SPDX-License-Identifier: Apache-2.0 */
/* Dates, paths, and answers of another agent. */
#include <time.h>

#include "agent/base/fmt.h"
#include "agent/http/connection.h"
#include "agent/http/date.h"
#include "agent/http/path.h"
#include "agent/http/upstream.h"
#include "tests/unit/test.h"

TEST(dates)
{
	char got[DATE_TEXT_MAX], want[64];
	uint64_t days = 0;

	date_print(784111777, got);
	CHECK_STR(got, "Sun, 06 Nov 1994 08:49:37 GMT");
	/* every day of 1970 .. 9999, at a second that moves through the day */
	for (days = 0; days < 2932896; days++) {
		time_t t = (time_t)(days * 86400 + days * 7919 % 86400);
		struct tm tm;

		gmtime_r(&t, &tm);
		strftime(want, sizeof(want), "%a, %d %b %Y %H:%M:%S GMT", &tm);
		date_print((uint64_t)t, got);
		CHECK_STR(got, want);
	}
}

TEST(paths_clean)
{
	/* Go's ServeMux, path.Clean with a kept trailing slash */
	static const struct {
		const char *path, *want;
	} rows[] = {
		{ "/", "/" }, { "/a", "/a" }, { "/a/", "/a/" }, { "//", "/" }, { "///", "/" },
		{ "//a", "/a" }, { "/a//", "/a/" }, { "/a//b", "/a/b" }, { "/.", "/" }, { "/./", "/" },
		{ "/a/.", "/a" }, { "/a/./", "/a/" }, { "/..", "/" }, { "/../", "/" }, { "/../..", "/" },
		{ "/a/..", "/" }, { "/a/../", "/" }, { "/a/../b", "/b" }, { "/a/b/..", "/a" },
		{ "/a/b/../", "/a/" }, { "/a/b/../../..", "/" }, { "/...", "/..." }, { "/a..", "/a.." },
		{ "/..a", "/..a" }, { "/.a/", "/.a/" }, { "/a/../../b/./c//d/", "/b/c/d/" },
		{ "a", "/a" }, { "", "/" }, { "*", "/*" },
	};
	char out[64];

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		char *path = guarded_copy(rows[i].path, strlen(rows[i].path) + 1);

		CHECK_INT(path_clean(path, out), strcmp(rows[i].path, rows[i].want) != 0);
		CHECK_STR(out, rows[i].want);
	}
}

TEST(paths_escape)
{
	static const char odd[] = "/a b%c\"<>?#\x01\xff\xc3\xa9'";
	char out[64];

	CHECK_INT(path_escape(odd, out, sizeof(out)), 40);
	CHECK_STR(out, "/a%20b%25c%22%3C%3E%3F%23%01%FF%C3%A9%27");
	CHECK_INT(path_escape("/-_.~$&+,/:;=@", out, sizeof(out)), 14);
	CHECK_STR(out, "/-_.~$&+,/:;=@");
	CHECK_INT(path_escape("/\xff\xff", out, 5), 7);
	CHECK_STR(out, "/%FF");
	CHECK_INT(path_escape("/\xff\xff", NULL, 0), 7);
}

/* What an answer turns into: "status lines|body", or the state that it ends in. */
static const char *relay(const char *answer, size_t size, size_t step, unsigned method)
{
	static char text[4096];
	static struct connection c;
	struct upstream *u = calloc(1, sizeof(*u));
	enum upstream_state state = UPSTREAM_MORE;
	struct exchange *x = &c.exchange;
	size_t n = 0;

	memset(&c, 0, sizeof(c));
	reply_open(x);
	x->request.method = method;
	u->exchange = x;
	for (size_t at = 0; at < size && state == UPSTREAM_MORE; at += step) {
		size_t piece = size - at < step ? size - at : step;

		state = upstream_feed(u, guarded_copy(answer + at, piece), piece);
	}
	if (state == UPSTREAM_MORE && !upstream_end(u))
		n = (size_t)snprintf(text, sizeof(text), "cut");
	else if (state == UPSTREAM_BAD)
		n = (size_t)snprintf(text, sizeof(text), "bad");
	else
		n = (size_t)snprintf(text, sizeof(text), "%d %.*s| %lu", c.reply.status,
				     (int)c.reply.lines_size,
				     c.reply.lines_size ? c.reply.lines : "",
				     (unsigned long)c.reply.total);
	CHECK(n < sizeof(text));
	reply_drop(&c.reply);
	free(u);
	return text;
}

TEST(upstream_answers)
{
	static const struct {
		const char *answer, *want;
	} rows[] = {
		{ "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabc", "200 | 3" },
		{ "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabcdef", "200 | 3" },
		{ "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nab", "cut" },
		{ "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", "200 | 0" },
		{ "HTTP/1.1 200 OK\r\n\r\nabcdef", "200 | 6" },
		{ "HTTP/1.0 404 Not Found\r\nX-Go-Pprof: 1\r\ncontent-TYPE: text/plain\r\nDate: x\r\n\r\n",
		  "404 X-Go-Pprof: 1\r\ncontent-TYPE: text/plain\r\n| 0" },
		{ "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\nA\r\n0123456789\r\n0\r\n\r\n",
		  "200 | 13" },
		{ "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", "200 | 0" },
		{ "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n", "cut" },
		{ "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabcd\r\n0\r\n\r\n", "bad" },
		{ "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\nabc\r\n0\r\n\r\n", "bad" },
		{ "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3 \r\nabc\r\n0\r\n\r\n", "bad" },
		{ "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n\r\nabc", "bad" },
		{ "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n123456789\r\n", "bad" },
		{ "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nX: y\r\n\r\n", "bad" },
		{ "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n", "bad" },
		{ "HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n", "bad" },
		{ "HTTP/1.1 200 OK\r\nContent-Length:\r\n\r\n", "bad" },
		{ "HTTP/1.1 200 OK\r\nContent-Length: 99999999999999999999\r\n\r\n", "bad" },
		{ "HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n", "bad" },
		{ "HTTP/1.1 200 OK\r\nContent-Length: 1 \r\n\r\n", "bad" },
		{ "HTTP/1.1 200 OK\r\nX: \x7f\r\n\r\n", "bad" },
		{ "HTTP/1.1 2x0 OK\r\n\r\n", "bad" },
		{ "HTTP/1.1 2/0 OK\r\n\r\n", "bad" },
		{ "HTTP/1.1-200 OK\r\n\r\n", "bad" },
		{ "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\rxabc\r\n0\r\n\r\n", "bad" },
		{ "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\rx0\r\n\r\n", "bad" },
		{ "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\rx", "bad" },
		{ "HTTP/1.1 100 Continue\r\n\r\n", "bad" },
		{ "HTTP/2.0 200 OK\r\n\r\n", "bad" },
		{ "HTTP/1.1 200\r\n\r\n", "200 | 0" },
		{ "HTTP/1.1 20\r\n\r\n", "bad" },
		{ "\r\n\r\n", "bad" },
		{ "HTTP/1.1 200 OK\r\nX-Go-Pprof: \x01\r\n\r\n", "bad" },
		{ "HTTP/1.1 200 OK\r\nX-Go-Pprof: 1\nSet-Cookie: x\r\n\r\n", "bad" },
		{ "HTTP/1.1 200 OK", "cut" },
		{ "", "cut" },
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
		for (size_t step = 1; step < 200; step += step < 8 ? 1 : 61) {
			const char *got = relay(rows[i].answer, strlen(rows[i].answer), step,
						METHOD_GET);

			if (strcmp(got, rows[i].want) != 0)
				test_fail(__FILE__, __LINE__, "row %zu in steps of %zu: %s", i, step,
					  got);
		}
	CHECK_STR(relay("HTTP/1.1 200 OK\r\nContent-Length: 30\r\n\r\n", 39, 9, METHOD_HEAD),
		  "200 | 0");
	CHECK_STR(relay("HTTP/1.1 200 OK\r\nX: \0\r\n\r\n", 27, 99, METHOD_GET), "bad");
}

TEST(upstream_long_head)
{
	static char text[8192];

	memset(text, 'x', sizeof(text));
	memcpy(text, "HTTP/1.1 200 OK\r\nX: ", 20);
	memcpy(text + UPSTREAM_HEAD_MAX - 4, "\r\n\r\n", 4);
	CHECK_STR(relay(text, UPSTREAM_HEAD_MAX, 100, METHOD_GET), "200 | 0");
	CHECK_STR(relay(text, UPSTREAM_HEAD_MAX + 9, UPSTREAM_HEAD_MAX + 9, METHOD_GET), "200 | 9");
	memset(text + UPSTREAM_HEAD_MAX - 4, 'x', 4);
	memcpy(text + UPSTREAM_HEAD_MAX - 3, "\r\n\r\n", 4);
	CHECK_STR(relay(text, sizeof(text), 100, METHOD_GET), "bad");
	CHECK_STR(relay(text, sizeof(text), sizeof(text), METHOD_GET), "bad");
}
