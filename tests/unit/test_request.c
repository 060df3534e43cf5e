/* SPDX-License-Identifier: Apache-2.0 */
/* Request heads: what must be refused and with which status, what must be understood and how. */
#include <stdint.h>

#include "agent/http/request.h"
#include "tests/http/heads.h"
#include "tests/unit/test.h"

static int parse(const char *text, size_t size, struct request *out)
{
	return request_parse(out, guarded_copy(text, size), size);
}

static void check_rows(const struct row *rows, size_t n)
{
	struct request r;

	for (size_t i = 0; i < n; i++) {
		size_t size = rows[i].size ? rows[i].size : strlen(rows[i].text);
		int got = parse(rows[i].text, size, &r);

		if (rows[i].want ? got != rows[i].want : got != (int)size)
			test_fail(__FILE__, __LINE__, "row %zu \"%.60s\": %d, not %d", i,
				  rows[i].text, got, rows[i].want);
	}
}

TEST(request_refused)
{
	CHECK(sizeof(refused) / sizeof(refused[0]) >= 120);
	check_rows(refused, sizeof(refused) / sizeof(refused[0]));
}

static const struct row taken[] = {
	{ L H E, 0, 0 },
	{ "GET / HTTP/1.0\r\n\r\n", 0, 0 },
	{ "GET / HTTP/1.9\r\n" H E, 0, 0 },
	{ "get / HTTP/1.1\r\n" H E, 0, 0 },
	{ "GET /~!$&'()*+,;=:@-._[]{}|\\^`\"<> HTTP/1.1\r\n" H E, 0, 0 },
	{ "GET /%C3%A9%ff HTTP/1.1\r\n" H E, 0, 0 },
	{ "GET //a/../b HTTP/1.1\r\n" H E, 0, 0 },
	{ "GET http://127.0.0.1:6060/debug/pprof/heap?debug=1 HTTP/1.1\r\n" H E, 0, 0 },
	{ "GET HTTP://a HTTP/1.1\r\n" H E, 0, 0 },
	{ "GET http://a?q HTTP/1.1\r\n" H E, 0, 0 },
	{ "OPTIONS /a HTTP/1.1\r\n" H E, 0, 0 },
	{ "M-SEARCH / HTTP/1.1\r\n" H E, 0, 0 },
	{ "REBUILD / HTTP/1.1\r\n" H E, 0, 0 },
	{ L "Host:\r\n" E, 0, 0 },
	{ L "Host:a\r\n" E, 0, 0 },
	{ L "Host: ~a_b\r\n" E, 0, 0 },
	{ L "Host: \t a \t \r\n" E, 0, 0 },
	{ L "hOsT: [::1]:6060\r\n" E, 0, 0 },
	{ L H "X:\r\n" E, 0, 0 },
	{ L H "X: \xff\x80 \t:\r\n" E, 0, 0 },
	{ L H "X: a\r\nX: b\r\n" E, 0, 0 },
	{ L H "Content-Length: 0\r\n" E, 0, 0 },
	{ L H "Content-Length: 00\r\n" E, 0, 0 },
	{ L H "Content-Length: 18446744073709551615\r\n" E, 0, 0 },
	{ L H "expect: 100-Continue\r\n" E, 0, 0 },
	{ L H "Connection: keep-alive, Upgrade\r\nUpgrade: h2c\r\n" E, 0, 0 },
	{ "GET /?" R64("%zz;&") " HTTP/1.1\r\n" H E, 0, 0 },
};

TEST(request_taken)
{
	check_rows(taken, sizeof(taken) / sizeof(taken[0]));
}

/* Nothing is decided before its bytes are there, and nothing behind the end of the head counts. */
TEST(request_prefixes)
{
	for (size_t i = 0; i < sizeof(taken) / sizeof(taken[0]); i++) {
		size_t size = strlen(taken[i].text);
		char more[4096];
		struct request r;

		for (size_t n = 0; n < size; n++)
			if (parse(taken[i].text, n, &r) != REQUEST_PARTIAL)
				test_fail(__FILE__, __LINE__, "row %zu: %zu bytes are not partial", i,
					  n);
		snprintf(more, sizeof(more), "%sGET /secret HTTP/1.1\r\n\x01", taken[i].text);
		CHECK_INT(parse(more, strlen(more), &r), size);
	}
}

/* A prefix of a bad head is never taken for a good one. */
TEST(request_bad_prefixes)
{
	for (size_t i = 0; i < sizeof(refused) / sizeof(refused[0]); i++) {
		size_t size = refused[i].size ? refused[i].size : strlen(refused[i].text);
		struct request r;

		for (size_t n = 0; n < size && size < 1000; n++)
			CHECK(parse(refused[i].text, n, &r) < 0);
	}
}

static void fill(char *out, const char *head, char with, size_t n, const char *tail)
{
	size_t at = strlen(head);

	memcpy(out, head, at);
	memset(out + at, with, n);
	strcpy(out + at + n, tail);
}

TEST(request_sizes)
{
	static char text[32768];
	struct request r;

	/* the target: 4096 bytes pass; its path must be short, so the query is long */
	fill(text, "GET /?", 'q', REQUEST_TARGET_MAX - 2, " HTTP/1.1\r\n" H E);
	CHECK_INT(parse(text, strlen(text), &r), strlen(text));
	fill(text, "GET /?", 'q', REQUEST_TARGET_MAX - 1, " HTTP/1.1\r\n" H E);
	CHECK_INT(parse(text, strlen(text), &r), -414);
	fill(text, "GET /?", 'q', REQUEST_TARGET_MAX - 1, "");
	CHECK_INT(parse(text, strlen(text), &r), -414);
	fill(text, "GET /?", 'q', REQUEST_TARGET_MAX - 2, "");
	CHECK_INT(parse(text, strlen(text), &r), REQUEST_PARTIAL);
	/* the path */
	fill(text, "GET /", 'p', REQUEST_PATH_MAX - 1, " HTTP/1.1\r\n" H E);
	CHECK_INT(parse(text, strlen(text), &r), strlen(text));
	CHECK_INT(strlen(r.path), REQUEST_PATH_MAX);
	fill(text, "GET /", 'p', REQUEST_PATH_MAX, " HTTP/1.1\r\n" H E);
	CHECK_INT(parse(text, strlen(text), &r), -414);
	/* the head */
	for (int extra = -1; extra <= 1; extra++) {
		size_t fixed = strlen(L H "X: \r\n\r\n");

		fill(text, L H "X: ", 'x', (size_t)((int)REQUEST_HEAD_MAX + extra) - fixed, "\r\n\r\n");
		CHECK_INT(strlen(text), REQUEST_HEAD_MAX + extra);
		CHECK_INT(parse(text, strlen(text), &r),
			  extra > 0 ? -431 : (int)REQUEST_HEAD_MAX + extra);
	}
	fill(text, L H "X: ", 'x', 20000, "");
	CHECK_INT(parse(text, strlen(text), &r), -431);
	/* lines: Host and 63 more pass */
	strcpy(text, L H);
	for (int i = 1; i < REQUEST_LINES_MAX; i++)
		strcat(text, "X: a\r\n");
	strcat(text, E);
	CHECK_INT(parse(text, strlen(text), &r), strlen(text));
	text[strlen(text) - 2] = '\0';
	strcat(text, "X: a\r\n" E);
	CHECK_INT(parse(text, strlen(text), &r), -431);
	/* a method without an end */
	memset(text, 'A', sizeof(text));
	CHECK_INT(parse(text, REQUEST_HEAD_MAX - 1, &r), REQUEST_PARTIAL);
	CHECK_INT(parse(text, REQUEST_HEAD_MAX, &r), -431);
}

static const char *text_of(struct text t)
{
	static char copies[8][256];
	static unsigned next;
	char *copy = copies[next++ % 8];

	if (!t.at)
		return "(absent)";
	snprintf(copy, sizeof(copies[0]), "%.*s", (int)t.size, t.at);
	return copy;
}

TEST(request_fields)
{
	struct request r;
	const char *text = "POST /debug/%70prof/sy%6Dbol%3f?a=%41&b HTTP/1.1\r\n"
			   "Host:  127.0.0.1:6060 \r\n"
			   "Authorization: Bearer x\r\n"
			   "Origin: http://127.0.0.1:6060\r\n"
			   "Sec-Fetch-Site: same-origin\r\n"
			   "Expect: 100-continue\r\n"
			   "Content-Length: 20\r\n\r\n";

	CHECK_INT(parse(text, strlen(text), &r), strlen(text));
	CHECK_INT(r.method, METHOD_POST);
	CHECK_INT(r.minor, 1);
	CHECK_STR(r.path, "/debug/pprof/symbol?");
	CHECK_STR(text_of(r.query), "a=%41&b");
	CHECK_STR(text_of(r.host), "127.0.0.1:6060");
	CHECK_STR(text_of(r.authorization), "Bearer x");
	CHECK_STR(text_of(r.origin), "http://127.0.0.1:6060");
	CHECK_STR(text_of(r.fetch_site), "same-origin");
	CHECK(r.expect_continue && r.has_length);
	CHECK_INT(r.length, 20);

	text = "HEAD HTTP://evil.com:1?x?y HTTP/1.0\r\nHost: a\r\n\r\n";
	CHECK_INT(parse(text, strlen(text), &r), strlen(text));
	CHECK_INT(r.method, METHOD_HEAD);
	CHECK_INT(r.minor, 0);
	CHECK_STR(r.path, "/");
	CHECK_STR(text_of(r.query), "x?y");
	CHECK_STR(text_of(r.host), "evil.com:1"); /* the authority goes before Host */
	CHECK_STR(text_of(r.authorization), "(absent)");
	CHECK(!r.has_length && !r.expect_continue);

	text = "DELETE / HTTP/1.0\r\n\r\n";
	CHECK_INT(parse(text, strlen(text), &r), strlen(text));
	CHECK_INT(r.method, METHOD_OTHER);
	CHECK_STR(text_of(r.host), "(absent)");
	CHECK_STR(text_of(r.query), "(absent)");
}
