/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A request head, parsed in place: no allocation, no state, nothing outside [buf, buf + len) is
 * read. Strict: any doubt about framing is an error and the connection closes (hazard J3).
 *
 * Context: agent.
 */
#ifndef HTTP_REQUEST_H
#define HTTP_REQUEST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
	METHOD_GET = 1,
	METHOD_HEAD = 2,
	METHOD_POST = 4,
	METHOD_OTHER = 8,
};

enum {
	REQUEST_HEAD_MAX = 8192,   /* bytes of the whole head: more is 431 */
	REQUEST_TARGET_MAX = 4096, /* more is 414 */
	REQUEST_PATH_MAX = 512,	   /* decoded path: more is 414 */
	REQUEST_LINES_MAX = 64,	   /* header lines: more is 431 */
};

struct text {
	const char *at; /* not terminated; NULL when absent */
	size_t size;
};

struct request {
	unsigned method;		 /* METHOD_* */
	unsigned minor;			 /* HTTP/1.minor */
	char path[REQUEST_PATH_MAX + 1]; /* decoded once, NUL-terminated, no query */
	struct text query;		 /* undecoded, without the '?' */
	struct text host;		 /* Host header or authority of an absolute target */
	struct text authorization;
	struct text origin;
	struct text fetch_site; /* Sec-Fetch-Site */
	bool expect_continue;
	bool has_length;
	uint64_t length; /* Content-Length */
};

/* Bytes of the head when complete; REQUEST_PARTIAL; or -(HTTP status) to answer with, then close.
 * Grammar: RFC 9112, without its leniencies. Statuses: 400, 405 (CONNECT or OPTIONS on what is no
 * path), 413 (Content-Length beyond 64 bits), 414, 417, 431, 501 (Transfer-Encoding), 505. */
enum { REQUEST_PARTIAL = -2 };
int request_parse(struct request *out, char *buf, size_t len);

/* The first value of a key as Go's FormValue finds it: percent-decoded, '+' is a blank, pairs with
 * a ';' or a broken percent sequence are dropped. Returns the length of the whole value, or -1 when
 * absent; what is stored is cut at size - 1 and terminated. */
long request_query(const struct request *request, const char *key, char *buf, size_t size);

/* As request_query, for a decimal integer the way Go's strconv.ParseInt(…, 10, 64) reads it.
 * 1: *out set; 0: absent or empty; -1: present but not such a number. */
int request_query_int(const struct request *request, const char *key, int64_t *out);

/* 0 to 15, or -1. */
int request_hex_digit(char c);

#endif
