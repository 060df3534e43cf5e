/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The request head: RFC 9112 with every leniency taken out. Two parsers that disagree about where a
 * request ends are how requests are smuggled past a proxy, so what is not exactly the grammar is
 * refused.
 *
 * Design: a cursor over the bytes that have come. Each part either consumes itself, or says PARTIAL
 * when the bytes end within it, or a status. Nothing is kept between calls: the head is at most
 * 8 KiB, and parsing it again is cheaper than a state that could be wrong.
 */
#include "agent/http/request.h"

#include <string.h>

#include "agent/base/attr.h"

enum { LINE_DONE = 0, STATUS_BAD = -400 };

struct cursor {
	const char *at;
	const char *end;
};

/* Which repeatable-once fields were seen. */
struct fields {
	bool host, length, authorization, origin, fetch_site;
	unsigned lines;
};

static bool is_digit(char c)
{
	return c >= '0' && c <= '9';
}

static bool is_token(char c)
{
	if ((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || is_digit(c))
		return true;
	return memchr("!#$%&'*+-.^_`|~", c, 15) != NULL;
}

static char lower(char c)
{
	return c >= 'A' && c <= 'Z' ? (char)(c | 0x20) : c;
}

static bool same_word(const char *at, size_t size, const char *word)
{
	if (strlen(word) != size)
		return false;
	for (size_t i = 0; i < size; i++)
		if (lower(at[i]) != word[i])
			return false;
	return true;
}

int request_hex_digit(char c)
{
	if (is_digit(c))
		return c - '0';
	c = lower(c);
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* *out_odd: one of the two methods whose target need not be a path. */
static int parse_method(struct cursor *in, struct request *out, bool *out_odd)
{
	static const struct {
		const char *name;
		unsigned method;
	} known[] = {
		{"GET", METHOD_GET},
		{"HEAD", METHOD_HEAD},
		{"POST", METHOD_POST},
	};
	const char *from = in->at;
	size_t size;

	while (in->at < in->end && is_token(*in->at))
		in->at++;
	if (in->at == in->end)
		return REQUEST_PARTIAL;
	size = (size_t)(in->at - from);
	if (*in->at != ' ' || size == 0)
		return STATUS_BAD;
	in->at++;
	out->method = METHOD_OTHER;
	for (size_t i = 0; i < ARRAY_LEN(known); i++)
		if (strlen(known[i].name) == size && memcmp(known[i].name, from, size) == 0)
			out->method = known[i].method;
	*out_odd =
		size == 7 && (memcmp(from, "CONNECT", 7) == 0 || memcmp(from, "OPTIONS", 7) == 0);
	return LINE_DONE;
}

/* Takes the text up to the blank. */
static int take_target(struct cursor *in, struct text *out)
{
	out->at = in->at;
	for (; in->at < in->end; in->at++) {
		char c = *in->at;

		if (c == ' ')
			break;
		if ((unsigned char)c < 0x21 || (unsigned char)c > 0x7e || c == '#')
			return STATUS_BAD;
		if (in->at - out->at >= REQUEST_TARGET_MAX)
			return -414;
	}
	if (in->at == in->end)
		return REQUEST_PARTIAL;
	out->size = (size_t)(in->at - out->at);
	in->at++;
	return out->size ? LINE_DONE : STATUS_BAD;
}

static int parse_version(struct cursor *in, struct request *out)
{
	static const char shape[] = "HTTP/D.D\r\n";
	char major = '1';

	for (size_t i = 0; shape[i]; i++, in->at++) {
		if (in->at == in->end)
			return REQUEST_PARTIAL;
		if (shape[i] == 'D' ? !is_digit(*in->at) : *in->at != shape[i])
			return STATUS_BAD;
		if (i == 5)
			major = *in->at;
		if (i == 7)
			out->minor = (unsigned)(*in->at - '0');
	}
	return major == '1' ? LINE_DONE : -505;
}

/* A host as it may stand in Host or an absolute target; what it names is judged by access.c. */
static bool valid_host(struct text host)
{
	for (size_t i = 0; i < host.size; i++) {
		char c = lower(host.at[i]);

		if (!(c >= 'a' && c <= 'z') && !is_digit(c) && !memchr(".-_~:[]", c, 7))
			return false;
	}
	return true;
}

static int decode_path(struct text raw, char *out)
{
	size_t n = 0;

	for (size_t i = 0; i < raw.size; i++) {
		char c = raw.at[i];

		if (c == '%') {
			int high = i + 2 < raw.size ? request_hex_digit(raw.at[i + 1]) : -1;
			int low = i + 2 < raw.size ? request_hex_digit(raw.at[i + 2]) : -1;

			if (high < 0 || low < 0)
				return STATUS_BAD;
			c = (char)(high << 4 | low);
			if ((unsigned char)c < 0x20 || c == 0x7f || c == '/')
				return STATUS_BAD;
			i += 2;
		}
		if (n == REQUEST_PATH_MAX)
			return -414;
		out[n++] = c;
	}
	out[n] = '\0';
	return LINE_DONE;
}

/* "http://authority/path": leaves the path and query in `target`. */
static int split_absolute(struct text *target, struct request *out)
{
	static const char scheme[] = "http://";
	size_t skip = sizeof(scheme) - 1, n = 0;
	struct text host;

	if (target->size <= skip || !same_word(target->at, skip, scheme))
		return STATUS_BAD;
	host.at = target->at + skip;
	while (skip + n < target->size && host.at[n] != '/' && host.at[n] != '?')
		n++;
	host.size = n;
	if (n == 0 || !valid_host(host))
		return STATUS_BAD;
	out->host = host;
	target->at += skip + n;
	target->size -= skip + n;
	return LINE_DONE;
}

static int parse_target(struct text target, struct request *out)
{
	struct text path;
	const char *mark;
	int err;

	if (target.at[0] != '/') {
		err = split_absolute(&target, out);
		if (err)
			return err;
	}
	path = target;
	mark = memchr(target.at, '?', target.size);
	if (mark) {
		path.size = (size_t)(mark - target.at);
		out->query.at = mark + 1;
		out->query.size = target.size - path.size - 1;
	}
	if (path.size == 0)
		path = (struct text){"/", 1};
	return decode_path(path, out->path);
}

/* One header line, CRLF included. *out_name is empty at the line that ends the head. */
static int take_line(struct cursor *in, struct text *out_name, struct text *out_value)
{
	const char *from = in->at, *last;

	while (in->at < in->end && is_token(*in->at))
		in->at++;
	if (in->at == in->end)
		return REQUEST_PARTIAL;
	out_name->at = from;
	out_name->size = (size_t)(in->at - from);
	if (*in->at == '\r' && out_name->size == 0) {
		out_value->at = in->at;
	} else {
		if (*in->at != ':' || out_name->size == 0)
			return STATUS_BAD;
		in->at++;
		while (in->at < in->end && (*in->at == ' ' || *in->at == '\t'))
			in->at++;
		out_value->at = in->at;
		while (in->at < in->end && ((unsigned char)*in->at >= 0x20 || *in->at == '\t') &&
		       *in->at != 0x7f)
			in->at++;
	}
	if (in->at == in->end)
		return REQUEST_PARTIAL;
	if (*in->at != '\r')
		return STATUS_BAD;
	last = in->at++;
	if (in->at == in->end)
		return REQUEST_PARTIAL;
	if (*in->at++ != '\n')
		return STATUS_BAD;
	while (last > out_value->at && (last[-1] == ' ' || last[-1] == '\t'))
		last--;
	out_value->size = (size_t)(last - out_value->at);
	return LINE_DONE;
}

static int take_length(struct text value, uint64_t *out)
{
	uint64_t n = 0;

	for (size_t i = 0; i < value.size; i++)
		if (!is_digit(value.at[i]))
			return STATUS_BAD;
	if (value.size == 0)
		return STATUS_BAD;
	for (size_t i = 0; i < value.size; i++) {
		unsigned digit = (unsigned)(value.at[i] - '0');

		if (n > (UINT64_MAX - digit) / 10)
			return -413;
		n = n * 10 + digit;
	}
	*out = n;
	return LINE_DONE;
}

static int take_once(bool *seen, struct text value, struct text *out)
{
	if (*seen)
		return STATUS_BAD;
	*seen = true;
	*out = value;
	return LINE_DONE;
}

static int take_field(struct text name, struct text value, struct fields *seen, struct request *out)
{
	struct text host;

	if (same_word(name.at, name.size, "transfer-encoding"))
		return -501;
	if (same_word(name.at, name.size, "content-length")) {
		if (seen->length)
			return STATUS_BAD;
		seen->length = out->has_length = true;
		return take_length(value, &out->length);
	}
	if (same_word(name.at, name.size, "host")) {
		if (!valid_host(value) || take_once(&seen->host, value, &host))
			return STATUS_BAD;
		if (!out->host.at) /* the authority of an absolute target goes first */
			out->host = host;
		return LINE_DONE;
	}
	if (same_word(name.at, name.size, "expect")) {
		out->expect_continue = same_word(value.at, value.size, "100-continue");
		return out->expect_continue ? LINE_DONE : -417;
	}
	if (same_word(name.at, name.size, "authorization"))
		return take_once(&seen->authorization, value, &out->authorization);
	if (same_word(name.at, name.size, "origin"))
		return take_once(&seen->origin, value, &out->origin);
	if (same_word(name.at, name.size, "sec-fetch-site"))
		return take_once(&seen->fetch_site, value, &out->fetch_site);
	return LINE_DONE;
}

static int parse_fields(struct cursor *in, struct request *out)
{
	struct fields seen = {0};
	struct text name, value;
	int err;

	for (;;) {
		err = take_line(in, &name, &value);
		if (err)
			return err;
		if (name.size == 0)
			break;
		if (++seen.lines > REQUEST_LINES_MAX)
			return -431;
		err = take_field(name, value, &seen, out);
		if (err)
			return err;
	}
	return out->minor >= 1 && !seen.host ? STATUS_BAD : LINE_DONE;
}

static int parse_head(struct cursor *in, struct request *out)
{
	struct text target;
	bool odd = false;
	int err = parse_method(in, out, &odd);

	if (!err)
		err = take_target(in, &target);
	if (!err && odd && target.at[0] != '/')
		err = -405;
	if (!err)
		err = parse_target(target, out);
	if (!err)
		err = parse_version(in, out);
	if (!err)
		err = parse_fields(in, out);
	return err;
}

int request_parse(struct request *out, char *buf, size_t len)
{
	struct cursor in = {buf, buf + (len < REQUEST_HEAD_MAX ? len : REQUEST_HEAD_MAX)};
	int err;

	memset(out, 0, sizeof(*out));
	err = parse_head(&in, out);
	if (err == REQUEST_PARTIAL && len >= REQUEST_HEAD_MAX)
		return -431;
	return err ? err : (int)(in.at - buf);
}
