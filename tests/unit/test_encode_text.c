/* SPDX-License-Identifier: Apache-2.0 */
/* encode/clean, encode/strtab, encode/pool, encode/gzip. */
#include <errno.h>
#include <zlib.h>

#include "agent/base/budget.h"
#include "agent/base/mem.h"
#include "encode/clean.h"
#include "encode/gzip.h"
#include "encode/strtab.h"
#include "tests/unit/test.h"

#define BAD "\xef\xbf\xbd"

TEST(clean_replaces_what_is_not_text)
{
	static const struct {
		const char *in, *want;
	} rows[] = {
		{ "", "" },
		{ "plain ~", "plain ~" },
		{ "caf\xc3\xa9 \xe2\x82\xac \xf0\x9f\x98\x80", "caf\xc3\xa9 \xe2\x82\xac \xf0\x9f\x98\x80" },
		{ "a\nb\tc\x1b[0m\x7f", "a" BAD "b" BAD "c" BAD "[0m" BAD },
		{ "\xff\xfe", BAD BAD },
		{ "\xc0\xaf", BAD BAD },		    /* overlong */
		{ "\xe0\x80\xaf", BAD BAD BAD },	    /* overlong */
		{ "\xed\xa0\x80", BAD BAD BAD },	    /* surrogate */
		{ "\xf4\x90\x80\x80", BAD BAD BAD BAD },    /* above U+10FFFF */
		{ "\xf0\x80\x80\x80", BAD BAD BAD BAD },    /* overlong */
		{ "x\xc2\x85y", "x" BAD "y" },		    /* C1 control */
		{ "x\xc2", "x" BAD },			    /* cut */
		{ "x\xe2\x82", "x" BAD BAD },		    /* cut */
		{ "\xf4\x8f\xbf\xbf\xee\x80\x80", "\xf4\x8f\xbf\xbf\xee\x80\x80" },
	};

	budget_set(1 << 24);
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		size_t len = strlen(rows[i].in);
		const char *in = guarded_copy(rows[i].in, len);
		char out[64];

		CHECK_INT(clean_text(out, in, len), strlen(rows[i].want));
		CHECK_STR(out, rows[i].want);
		CHECK_INT(clean_span(in, len) == len, strcmp(rows[i].in, rows[i].want) == 0);
	}
}

TEST(clean_text_is_always_clean)
{
	char in[6], out[CLEAN_ROOM(sizeof(in))];
	unsigned seed = 1;

	for (int round = 0; round < 300000; round++) {
		size_t n;

		for (size_t i = 0; i < sizeof(in); i++)
			in[i] = (char)"\x80\xbf\xc2\xa0\xe0\xed\xf0\xf4\x41\x90\x8f\x9f\xff\x0a\xef\xc3"
				      [rand_r(&seed) % 16];
		n = clean_text(out, in, sizeof(in));
		CHECK(n < sizeof(out));
		CHECK(clean_span(out, n) == n);
	}
}

TEST(strtab_numbers_texts_once)
{
	struct strtab table;
	char text[32];

	budget_set(1 << 24);
	CHECK(strtab_init(&table));
	CHECK_INT(strtab_add(&table, ""), 0);
	CHECK_INT(strtab_add(&table, "one"), 1);
	CHECK_INT(strtab_add(&table, "two"), 2);
	CHECK_INT(strtab_add(&table, "one"), 1);
	CHECK_INT(strtab_add(&table, "bad\x01"), 3);
	CHECK_INT(strtab_add(&table, "bad" BAD), 3);
	for (int i = 0; i < 20000; i++) {
		snprintf(text, sizeof(text), "text number %d", i);
		CHECK_INT(strtab_add(&table, text), i + 4);
	}
	for (int i = 0; i < 20000; i++) {
		snprintf(text, sizeof(text), "text number %d", i);
		CHECK_INT(strtab_add(&table, text), i + 4);
		CHECK_STR(strtab_get(&table, (size_t)i + 4)->text, text);
	}
	CHECK_STR(strtab_get(&table, 0)->text, "");
	strtab_free(&table);
	CHECK_INT(mem_used(), 0);
}

TEST(strtab_says_when_memory_is_out)
{
	struct strtab table;
	char text[3000];
	long number = 0, texts = 0;

	budget_set(1 << 20);
	CHECK(strtab_init(&table));
	memset(text, 'x', sizeof(text) - 1);
	text[sizeof(text) - 1] = '\0';
	for (int i = 0; i < 2000 && number >= 0; i++) {
		snprintf(text, sizeof(text), "%d", i);
		text[strlen(text)] = 'x';
		number = strtab_add(&table, text);
		texts += number >= 0;
	}
	CHECK_INT(number, -1);
	CHECK(texts > 100);
	strtab_free(&table);
	CHECK_INT(mem_used(), 0);
}

struct collect {
	struct sink sink;
	unsigned char *data;
	size_t size, fail_at;
};

static int collect_write(struct sink *sink, const void *data, size_t size)
{
	struct collect *c = (struct collect *)sink;

	if (c->fail_at && c->size + size > c->fail_at)
		return -EPIPE;
	c->data = realloc(c->data, c->size + size);
	memcpy(c->data + c->size, data, size);
	c->size += size;
	return 0;
}

TEST(gzip_is_one_member_that_zlib_reads_back)
{
	static unsigned char in[300000], back[sizeof(in) + 1];
	struct collect to = { .sink.write = collect_write };
	z_stream z = { 0 };
	struct gzip *gzip;
	unsigned seed = 7;

	budget_set(1 << 24);
	for (size_t i = 0; i < sizeof(in); i++)
		in[i] = (unsigned char)(rand_r(&seed) % 7 + (i / 1000));
	gzip = gzip_begin(&to.sink);
	CHECK(gzip);
	for (size_t at = 0; at < sizeof(in);) {
		size_t n = (size_t)rand_r(&seed) % 5000;

		n = n > sizeof(in) - at ? sizeof(in) - at : n;
		CHECK_INT(sink_write(gzip_sink(gzip), in + at, n), 0);
		at += n;
	}
	CHECK_INT(gzip_end(gzip), 0);
	gzip_drop(gzip);
	CHECK_INT(mem_used(), 0);
	CHECK(memcmp(to.data, "\x1f\x8b\x08\x00\x00\x00\x00\x00", 8) == 0);
	z.next_in = to.data;
	z.avail_in = (unsigned)to.size;
	z.next_out = back;
	z.avail_out = sizeof(back);
	CHECK_INT(inflateInit2(&z, 15 + 16), Z_OK);
	CHECK_INT(inflate(&z, Z_FINISH), Z_STREAM_END);
	CHECK_INT(z.avail_in, 0);
	CHECK_INT(z.total_out, sizeof(in));
	CHECK(memcmp(in, back, sizeof(in)) == 0);
}

TEST(gzip_passes_errors_on)
{
	static unsigned char in[200000];
	struct collect to = { .sink.write = collect_write, .fail_at = 40000 };
	struct gzip *gzip;
	unsigned seed = 7;
	int err = 0;

	budget_set(1 << 24);
	for (size_t i = 0; i < sizeof(in); i++)
		in[i] = (unsigned char)rand_r(&seed);
	gzip = gzip_begin(&to.sink);
	CHECK(gzip);
	for (int i = 0; i < 10 && !err; i++)
		err = sink_write(gzip_sink(gzip), in, sizeof(in));
	CHECK_INT(err, -EPIPE);
	CHECK_INT(sink_write(gzip_sink(gzip), in, 1), -EPIPE);
	CHECK_INT(gzip_end(gzip), -EPIPE);
	gzip_drop(gzip);
}

TEST(gzip_without_memory)
{
	struct collect to = { .sink.write = collect_write };

	budget_set(1 << 17);
	CHECK(!gzip_begin(&to.sink));
	CHECK_INT(mem_used(), 0);
}
