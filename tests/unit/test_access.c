/* SPDX-License-Identifier: Apache-2.0 */
/* Who may ask: Host, Origin, Sec-Fetch-Site, token. */
#include "agent/http/access.h"
#include "tests/unit/test.h"

static struct text text(const char *s)
{
	return s ? (struct text){ guarded_copy(s, strlen(s)), strlen(s) } : (struct text){ 0 };
}

struct row {
	const char *host, *origin, *site, *authorization;
	enum access want;
};

static void check(const struct access_rules *rules, const struct row *rows, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		struct request r = {
			.host = text(rows[i].host),
			.origin = text(rows[i].origin),
			.fetch_site = text(rows[i].site),
			.authorization = text(rows[i].authorization),
		};
		enum access got = access_check(rules, &r);

		if (got != rows[i].want)
			test_fail(__FILE__, __LINE__, "row %zu (%s %s %s %s): %d, not %d", i,
				  rows[i].host ? rows[i].host : "-",
				  rows[i].origin ? rows[i].origin : "-",
				  rows[i].site ? rows[i].site : "-",
				  rows[i].authorization ? rows[i].authorization : "-", got,
				  rows[i].want);
	}
}

TEST(access_without_token)
{
	static const struct row rows[] = {
		{ "127.0.0.1", 0, 0, 0, ACCESS_GRANTED },
		{ "127.0.0.1:", 0, 0, 0, ACCESS_GRANTED },
		{ "127.0.0.1:6060", 0, 0, 0, ACCESS_GRANTED },
		{ "[::1]", 0, 0, 0, ACCESS_GRANTED },
		{ "[::1]:", 0, 0, 0, ACCESS_GRANTED },
		{ "[2001:db8::1]:443", 0, 0, 0, ACCESS_GRANTED },
		{ "localhost", 0, 0, 0, ACCESS_GRANTED },
		{ "LocalHost:80", 0, 0, 0, ACCESS_GRANTED },
		{ "a.example", 0, 0, 0, ACCESS_GRANTED },
		{ "A.Example:80", 0, 0, 0, ACCESS_GRANTED },
		{ "b", 0, 0, 0, ACCESS_GRANTED },
		{ NULL, 0, 0, 0, ACCESS_GRANTED },
		{ "", 0, 0, 0, ACCESS_HOST },
		{ ":", 0, 0, 0, ACCESS_HOST },
		{ ":6060", 0, 0, 0, ACCESS_HOST },
		{ "6060", 0, 0, 0, ACCESS_HOST },
		{ "evil.com", 0, 0, 0, ACCESS_HOST },
		{ "localhost.evil.com", 0, 0, 0, ACCESS_HOST },
		{ "evil.com.localhost", 0, 0, 0, ACCESS_HOST },
		{ "localhost6", 0, 0, 0, ACCESS_HOST },
		{ "localhost.", 0, 0, 0, ACCESS_HOST },
		{ "localhos", 0, 0, 0, ACCESS_HOST },
		{ "localhost:80:80", 0, 0, 0, ACCESS_HOST },
		{ "localhost:x", 0, 0, 0, ACCESS_HOST },
		{ "127.0.0.1.nip.io", 0, 0, 0, ACCESS_HOST },
		{ "127.0.0.1.", 0, 0, 0, ACCESS_HOST },
		{ "127.1", 0, 0, 0, ACCESS_HOST },
		{ "0177.0.0.1", 0, 0, 0, ACCESS_HOST },
		{ "::1", 0, 0, 0, ACCESS_HOST },
		{ "[::1", 0, 0, 0, ACCESS_HOST },
		{ "[]", 0, 0, 0, ACCESS_HOST },
		{ "[", 0, 0, 0, ACCESS_HOST },
		{ "[::1]x", 0, 0, 0, ACCESS_HOST },
		{ "[::1]:x", 0, 0, 0, ACCESS_HOST },
		{ "[::1].evil.com", 0, 0, 0, ACCESS_HOST },
		{ "[localhost]", 0, 0, 0, ACCESS_HOST },
		{ "a.example.", 0, 0, 0, ACCESS_HOST },
		{ "a.exampl", 0, 0, 0, ACCESS_HOST },
		{ "xa.example", 0, 0, 0, ACCESS_HOST },
		{ "a.example,b", 0, 0, 0, ACCESS_HOST },
		{ "c", 0, 0, 0, ACCESS_HOST },
		{ "localhost", "http://localhost", 0, 0, ACCESS_GRANTED },
		{ "localhost:80", "HTTP://LOCALHOST:80", 0, 0, ACCESS_GRANTED },
		{ "localhost", "https://localhost", 0, 0, ACCESS_GRANTED },
		{ "localhost:80", "http://localhost", 0, 0, ACCESS_ORIGIN },
		{ "localhost", "http://localhost:80", 0, 0, ACCESS_ORIGIN },
		{ "localhost", "http://localhost.evil.com", 0, 0, ACCESS_ORIGIN },
		{ "localhost", "http://evil.com", 0, 0, ACCESS_ORIGIN },
		{ "localhost", "null", 0, 0, ACCESS_ORIGIN },
		{ "localhost", "", 0, 0, ACCESS_ORIGIN },
		{ "localhost", "localhost", 0, 0, ACCESS_ORIGIN },
		{ "localhost", "file://localhost", 0, 0, ACCESS_ORIGIN },
		{ "localhost", "http://", 0, 0, ACCESS_ORIGIN },
		{ NULL, "http://", 0, 0, ACCESS_ORIGIN },
		{ NULL, "http://localhost", 0, 0, ACCESS_ORIGIN },
		{ "localhost", 0, "none", 0, ACCESS_GRANTED },
		{ "localhost", 0, "same-origin", 0, ACCESS_GRANTED },
		{ "localhost", 0, "same-site", 0, ACCESS_ORIGIN },
		{ "localhost", 0, "cross-site", 0, ACCESS_ORIGIN },
		{ "localhost", 0, "", 0, ACCESS_ORIGIN },
		{ "localhost", 0, "nonee", 0, ACCESS_ORIGIN },
		{ "localhost", "http://localhost", "cross-site", 0, ACCESS_ORIGIN },
		{ "evil.com", "http://evil.com", "same-origin", 0, ACCESS_HOST },
		{ "evil.com", 0, 0, "Bearer x", ACCESS_HOST },
	};
	struct access_rules rules = { .hosts = " a.example , ,b", .loopback = true };
	static const struct row no_host[] = { { NULL, 0, 0, 0, ACCESS_HOST } };
	static const struct row any_host[] = {
		{ NULL, 0, 0, 0, ACCESS_GRANTED },
		{ "evil.com", 0, 0, 0, ACCESS_GRANTED },
		{ "evil.com", 0, "cross-site", 0, ACCESS_ORIGIN },
	};

	check(&rules, rows, sizeof(rows) / sizeof(rows[0]));
	rules.token = "";
	check(&rules, rows, sizeof(rows) / sizeof(rows[0]));
	rules.loopback = false;
	check(&rules, no_host, 1);
	rules.local_socket = true;
	check(&rules, any_host, 3);
}

TEST(access_with_token)
{
	static const struct row rows[] = {
		{ "evil.com", 0, 0, "Bearer s3cret", ACCESS_GRANTED },
		{ NULL, 0, 0, "bearer s3cret", ACCESS_GRANTED },
		{ "a", 0, 0, "Basic eDpzM2NyZXQ=", ACCESS_GRANTED },	 /* x:s3cret */
		{ "a", 0, 0, "BASIC OnMzY3JldA==", ACCESS_GRANTED },	 /* :s3cret */
		{ "a", 0, 0, "Basic dXNlcjpzM2NyZXQ=", ACCESS_GRANTED }, /* user:s3cret */
		{ "a", "http://a", "same-origin", "Bearer s3cret", ACCESS_GRANTED },
		{ "a", "http://b", 0, "Bearer s3cret", ACCESS_ORIGIN },
		{ "a", 0, "cross-site", "Basic eDpzM2NyZXQ=", ACCESS_ORIGIN },
		{ "a", 0, 0, NULL, ACCESS_NO_TOKEN },
		{ "a", 0, 0, "", ACCESS_NO_TOKEN },
		{ "a", 0, 0, "s3cret", ACCESS_NO_TOKEN },
		{ "a", 0, 0, "Bearer", ACCESS_NO_TOKEN },
		{ "a", 0, 0, "Bearer ", ACCESS_NO_TOKEN },
		{ "a", 0, 0, "Bearer s3cre", ACCESS_NO_TOKEN },
		{ "a", 0, 0, "Bearer s3crets", ACCESS_NO_TOKEN },
		{ "a", 0, 0, "Bearer s3crets3cret", ACCESS_NO_TOKEN },
		{ "a", 0, 0, "Bearer S3cret", ACCESS_NO_TOKEN },
		{ "a", 0, 0, "Bearer  s3cret", ACCESS_NO_TOKEN },
		{ "a", 0, 0, "Bearer x:s3cret", ACCESS_NO_TOKEN },
		{ "a", 0, 0, "Digest s3cret", ACCESS_NO_TOKEN },
		{ "a", 0, 0, "Basic", ACCESS_NO_TOKEN },
		{ "a", 0, 0, "Basic ", ACCESS_NO_TOKEN },
		{ "a", 0, 0, "Basic s3cret", ACCESS_NO_TOKEN },
		{ "a", 0, 0, "Basic czNjcmV0", ACCESS_NO_TOKEN },	/* s3cret */
		{ "a", 0, 0, "Basic czNjcmV0Og==", ACCESS_NO_TOKEN },	/* s3cret: */
		{ "a", 0, 0, "Basic eDpzM2NyZXQ", ACCESS_NO_TOKEN },	/* padding missing */
		{ "a", 0, 0, "Basic eDpzM2NyZXQ==", ACCESS_NO_TOKEN },
		{ "a", 0, 0, "Basic eDpzM2NyZXQ=====", ACCESS_NO_TOKEN },
		{ "a", 0, 0, "Basic =eDpzM2NyZXQ", ACCESS_NO_TOKEN },
		{ "a", 0, 0, "Basic eDpz M2NyZXQ=", ACCESS_NO_TOKEN },
		{ "a", 0, 0, "Basic ====", ACCESS_NO_TOKEN },
		{ "a", 0, 0, "Basic eDp6OnMzY3JldA==", ACCESS_NO_TOKEN }, /* x:z:s3cret */
	};
	struct access_rules rules = { .token = "s3cret", .loopback = true };

	check(&rules, rows, sizeof(rows) / sizeof(rows[0]));
	rules.local_socket = true; /* the token is asked for there too */
	check(&rules, rows, sizeof(rows) / sizeof(rows[0]));
}

TEST(access_peers)
{
	CHECK(access_peer(0, 1000));
	CHECK(access_peer(1000, 1000));
	CHECK(!access_peer(1001, 1000));
	CHECK(!access_peer(1000, 0));
	CHECK(!access_peer((unsigned)-1, 0));
}
