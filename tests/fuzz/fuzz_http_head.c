/* SPDX-License-Identifier: Apache-2.0 */
/* Request heads: any bytes, every split into two reads. */
#include "agent/http/path.h"
#include "agent/http/request.h"
#include "tests/fuzz/fuzz.h"

static void check_text(struct text t, const char *buf, size_t size)
{
	if (!t.at)
		return;
	MUST(t.at >= buf && t.size <= size && t.at + t.size <= buf + size);
	MUST(!memchr(t.at, '\r', t.size) && !memchr(t.at, '\n', t.size));
}

static void check_paths(const char *path)
{
	char clean[REQUEST_PATH_MAX + 2], again[REQUEST_PATH_MAX + 2],
		url[3 * REQUEST_PATH_MAX + 4];

	path_clean(path, clean);
	MUST(clean[0] == '/' && !strstr(clean, "//") && !strstr(clean, "/./"));
	MUST(!strstr(clean, "/../"));
	MUST(!path_clean(clean, again) && strcmp(clean, again) == 0);
	MUST(path_escape(clean, url, sizeof(url)) < sizeof(url));
	for (const char *c = url; *c; c++)
		MUST(*c > 0x20 && *c < 0x7f && !strchr("\"<>\\^`{|}'", *c));
}

static void check_request(const struct request *r, const char *buf, size_t size)
{
	MUST(size <= REQUEST_HEAD_MAX && memcmp(buf + size - 4, "\r\n\r\n", 4) == 0);
	MUST(strlen(r->path) <= REQUEST_PATH_MAX && r->path[0] == '/');
	for (const char *c = r->path; *c; c++)
		MUST((unsigned char)*c >= 0x20 && *c != 0x7f);
	MUST(r->minor <= 9 && (r->minor == 0 || r->host.at));
	MUST(r->method == METHOD_GET || r->method == METHOD_HEAD || r->method == METHOD_POST ||
	     r->method == METHOD_OTHER);
	check_text(r->query, buf, size);
	check_text(r->host, buf, size);
	check_text(r->authorization, buf, size);
	check_text(r->origin, buf, size);
	check_text(r->fetch_site, buf, size);
	check_paths(r->path);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const int statuses[] = {400, 405, 413, 414, 417, 431, 501, 505};
	struct request whole, part;
	char *buf = exact_copy(data, size);
	int result = request_parse(&whole, buf, size);
	size_t step = size / 16 + 1; /* every split of short ones; the corpus has many of those */

	MUST(memcmp(buf, data, size) == 0);
	if (result > 0) {
		check_request(&whole, buf, (size_t)result);
	} else if (result != REQUEST_PARTIAL) {
		size_t i = 0;

		while (i < sizeof(statuses) / sizeof(statuses[0]) && statuses[i] != -result)
			i++;
		MUST(i < sizeof(statuses) / sizeof(statuses[0]));
	}
	free(buf);
	for (size_t n = 0; n < size; n += step) {
		int early;

		buf = exact_copy(data, n);
		early = request_parse(&part, buf, n);
		/* what is decided early is decided for good; what is good is not decided early */
		if (early > 0)
			MUST(early == result);
		else if (early != REQUEST_PARTIAL)
			MUST(early == result);
		if (result > 0 && n < (size_t)result)
			MUST(early == REQUEST_PARTIAL);
		free(buf);
	}
	return 0;
}
