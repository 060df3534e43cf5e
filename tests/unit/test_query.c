/* SPDX-License-Identifier: Apache-2.0 */
/* Values of a query: as Go understands them. */
#include <stdint.h>

#include "agent/http/request.h"
#include "tests/unit/test.h"

/* Go's url.ParseQuery and FormValue, each row tried on Go. */
TEST(request_query_values)
{
	static const struct {
		const char *query, *want; /* value of "k"; NULL: absent */
	} rows[] = {
		{ "", NULL }, { "k", "" }, { "k=", "" }, { "=k", NULL }, { "k=1", "1" },
		{ "k=1&k=2", "1" }, { "a=1&k=2", "2" }, { "kk=1", NULL }, { "K=1", NULL },
		{ "k=a=b", "a=b" }, { "k==", "=" }, { "&&k=1&&", "1" }, { "k=a+b", "a b" },
		{ "k=a%20b", "a b" }, { "k=%2B", "+" }, { "%6b=1", "1" }, { "%6B=1", "1" },
		{ "k=1;a=2", NULL }, { "a=1;k=2", NULL }, { "k=1;&k=2", "2" }, { "k;=1&k=2", "2" },
		{ "k=%3B", ";" }, { "k=%", NULL }, { "k=%4", NULL }, { "k=%4g", NULL }, { "k=%g4", NULL }, { "k=%zz&k=2", "2" },
		{ "%k=1", NULL }, { "k=%26x", "&x" }, { "k=%25%34%31", "%41" }, { "+k=1", NULL },
		{ "k+=1", NULL }, { "k=\xff", "\xff" }, { "k=?", "?" }, { "k=/", "/" },
		{ "a&k", "" }, { "k&k=2", "" }, { "k=%3D", "=" }, { "k%3D=1", NULL },
	};
	struct request r = { 0 };
	char buf[16];

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		size_t size = strlen(rows[i].query);
		long n;

		r.query = (struct text){ guarded_copy(rows[i].query, size), size };
		n = request_query(&r, "k", buf, sizeof(buf));
		if (rows[i].want ? n != (long)strlen(rows[i].want) || strcmp(buf, rows[i].want) != 0 :
				   n != -1 || buf[0] != '\0')
			test_fail(__FILE__, __LINE__, "query \"%s\": %ld \"%s\"", rows[i].query, n,
				  buf);
	}
	r.query = (struct text){ NULL, 0 };
	CHECK_INT(request_query(&r, "k", buf, sizeof(buf)), -1);
	r.query = (struct text){ "k=0123456789", 12 };
	CHECK_INT(request_query(&r, "k", buf, 4), 10);
	CHECK_STR(buf, "012");
	CHECK_INT(request_query(&r, "k", buf, 1), 10);
	CHECK_STR(buf, "");
	CHECK_INT(request_query(&r, "k", NULL, 0), 10);
	r.query = (struct text){ "k=a%00b", 7 };
	CHECK_INT(request_query(&r, "k", buf, sizeof(buf)), 3);
	CHECK_INT(memcmp(buf, "a\0b", 4), 0);
}

/* strconv.ParseInt(…, 10, 64) */
TEST(request_query_numbers)
{
	static const struct {
		const char *query;
		int want;
		int64_t value;
	} rows[] = {
		{ "", 0, 0 }, { "n", 0, 0 }, { "n=", 0, 0 }, { "m=1", 0, 0 }, { "n=0", 1, 0 },
		{ "n=1", 1, 1 }, { "n=-1", 1, -1 }, { "n=%2B1", 1, 1 }, { "n=+1", -1, 0 },
		{ "n=-0", 1, 0 }, { "n=007", 1, 7 }, { "n=%31", 1, 1 }, { "n=1+", -1, 0 },
		{ "n=+", -1, 0 }, { "n=-", -1, 0 }, { "n=%2B", -1, 0 }, { "n=--1", -1, 0 },
		{ "n=x", -1, 0 }, { "n=1x", -1, 0 }, { "n=0x10", -1, 0 }, { "n=1e9", -1, 0 },
		{ "n=1.5", -1, 0 }, { "n=1_000", -1, 0 }, { "n=inf", -1, 0 }, { "n=nan", -1, 0 },
		{ "n=1%00", -1, 0 }, { "n=%201", -1, 0 }, { "n=1%0a", -1, 0 }, { "n=%D9%A1", -1, 0 },
		{ "n=9223372036854775807", 1, INT64_MAX }, { "n=9223372036854775808", -1, 0 },
		{ "n=-9223372036854775808", 1, INT64_MIN }, { "n=-9223372036854775809", -1, 0 },
		{ "n=99999999999999999999", -1, 0 }, { "n=18446744073709551617", -1, 0 },
		{ "n=00000000000000000000000000000000000001", 1, 1 }, { "n=2147483648", 1, 2147483648 },
		{ "n=1&n=2", 1, 1 }, { "n=x&n=2", -1, 0 }, { "n=&n=2", 0, 0 }, { "n=1;&n=2", 1, 2 },
		{ "n=%zz&n=2", 1, 2 }, { "n==1", -1, 0 }, { "n=1=", -1, 0 }, { "n=%2D5", 1, -5 },
		{ "a=1;b=2", 0, 0 }, { "n=1,2", -1, 0 }, { "n=/", -1, 0 }, { "n=:", -1, 0 },
	};
	struct request r = { 0 };

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		size_t size = strlen(rows[i].query);
		int64_t value = 77;
		int got;

		r.query = (struct text){ guarded_copy(rows[i].query, size), size };
		got = request_query_int(&r, "n", &value);
		if (got != rows[i].want || value != (got == 1 ? rows[i].value : 77))
			test_fail(__FILE__, __LINE__, "query \"%s\": %d %lld", rows[i].query, got,
				  (long long)value);
	}
}
