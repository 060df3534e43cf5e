/* SPDX-License-Identifier: Apache-2.0 */
/* PPROF_ADDR: what each text means, and the sentence for those that mean nothing. */
#include <stdint.h>

#include "agent/http/address.h"
#include "agent/http/ip.h"
#include "tests/unit/test.h"

static const char *kinds[] = { "off", "loopback", "all", "ipv4", "ipv6", "unix", "abstract" };

/* "kind [address] first-last" or "kind name". */
static void print(const struct address *a, char *out, size_t size)
{
	char ip[IP_TEXT_MAX] = "";

	if (a->kind == ADDRESS_IPV4)
		ip_print_v4(a->ip, ip);
	if (a->kind == ADDRESS_IPV6)
		ip_print_v6(a->ip, ip);
	if (a->kind == ADDRESS_OFF)
		snprintf(out, size, "off");
	else if (a->kind == ADDRESS_UNIX || a->kind == ADDRESS_ABSTRACT)
		snprintf(out, size, "%s %s", kinds[a->kind], a->name);
	else
		snprintf(out, size, "%s %s%s%u-%u", kinds[a->kind], ip, ip[0] ? " " : "",
			 a->first_port, a->last_port);
}

#define NAME_100                                                                                 \
	"0123456789012345678901234567890123456789012345678901234567890123456789012345678901234567" \
	"890123456789"

static const struct {
	const char *text, *want; /* NULL: refused */
	const char *says;	 /* part of the sentence then */
} rows[] = {
	{ "off", "off", 0 },
	{ "", "off", 0 },
	{ "127.0.0.1:6060", "ipv4 127.0.0.1 6060-6060", 0 },
	{ "127.1.2.3:1", "ipv4 127.1.2.3 1-1", 0 },
	{ "0.0.0.0:6060", "ipv4 0.0.0.0 6060-6060", 0 },
	{ "10.0.0.255:65535", "ipv4 10.0.0.255 65535-65535", 0 },
	{ ":6060", "loopback 6060-6060", 0 },
	{ "6060", "loopback 6060-6060", 0 },
	{ "localhost:6060", "loopback 6060-6060", 0 },
	{ ":0", "loopback 0-0", 0 },
	{ "0", "loopback 0-0", 0 },
	{ "127.0.0.1:0", "ipv4 127.0.0.1 0-0", 0 },
	{ "*:6060", "all 6060-6060", 0 },
	{ "[::]:6060", "all 6060-6060", 0 },
	{ "[0:0::0]:6060", "all 6060-6060", 0 },
	{ "[::1]:6060", "ipv6 ::1 6060-6060", 0 },
	{ "[2001:DB8::a:0:1]:80", "ipv6 2001:db8::a:0:1 80-80", 0 },
	{ "[1:2:3:4:5:6:7:8]:80", "ipv6 1:2:3:4:5:6:7:8 80-80", 0 },
	{ "[::ffff:127.0.0.1]:80", "ipv4 127.0.0.1 80-80", 0 },
	{ "[64:ff9b::1.2.3.4]:80", "ipv6 64:ff9b::102:304 80-80", 0 },
	{ "127.0.0.1:6060-6079", "ipv4 127.0.0.1 6060-6079", 0 },
	{ ":6060-6079", "loopback 6060-6079", 0 },
	{ "6060-6079", "loopback 6060-6079", 0 },
	{ "*:1-65535", "all 1-65535", 0 },
	{ "[::1]:5-5", "ipv6 ::1 5-5", 0 },
	{ "unix:/run/x.sock", "unix /run/x.sock", 0 },
	{ "unix:/tmp/x.%p.sock", "unix /tmp/x.4321.sock", 0 },
	{ "unix:@name", "abstract name", 0 },
	{ "unix:@pprof-%p-%p", "abstract pprof-4321-4321", 0 },
	{ "unix:@/x y", "abstract /x y", 0 },
	{ "unix:@" NAME_100 "0123456", "abstract " NAME_100 "0123456", 0 },
	{ ":%p", "loopback 4321-4321", 0 },
	{ ":006060", NULL, "the port must be" },
	{ "Off", NULL, "use host:port" },
	{ "on", NULL, "use host:port" },
	{ " ", NULL, "use host:port" },
	{ "off ", NULL, "use host:port" },
	{ "127.0.0.1", NULL, "use host:port" },
	{ "localhost", NULL, "use host:port" },
	{ "[::1]", NULL, "there is no port" },
	{ "127.0.0.1:", NULL, "the port must be" },
	{ ":", NULL, "the port must be" },
	{ "*", NULL, "use host:port" },
	{ "*:", NULL, "the port must be" },
	{ "127.0.0.1:65536", NULL, "the port must be" },
	{ "127.0.0.1:99999999999999999999", NULL, "the port must be" },
	{ "127.0.0.1:-1", NULL, "the port must be" },
	{ "127.0.0.1:+1", NULL, "the port must be" },
	{ "127.0.0.1:0x10", NULL, "the port must be" },
	{ "127.0.0.1:http", NULL, "the port must be" },
	{ "127.0.0.1:6060 ", NULL, "the port must be" },
	{ " 127.0.0.1:6060", NULL, "names are not looked up" },
	{ "127.0.0.1:6060/", NULL, "the port must be" },
	{ "127.0.0.1:6060-", NULL, "the port must be" },
	{ "127.0.0.1:-6060", NULL, "the port must be" },
	{ "127.0.0.1:6060-6050", NULL, "the range of ports" },
	{ "127.0.0.1:0-10", NULL, "the range of ports" },
	{ "127.0.0.1:1-2-3", NULL, "the port must be" },
	{ "127.0.0.1:1-99999", NULL, "the port must be" },
	{ "-", NULL, "the port must be" },
	{ "127.0.0.256:1", NULL, "names are not looked up" },
	{ "127.0.0:1", NULL, "names are not looked up" },
	{ "127.0.0.1.1:1", NULL, "names are not looked up" },
	{ "127.0.0.01:1", NULL, "names are not looked up" },
	{ "127.0.0.1.:1", NULL, "names are not looked up" },
	{ "2130706433:1", NULL, "names are not looked up" },
	{ "0x7f.1:1", NULL, "names are not looked up" },
	{ "example.com:6060", NULL, "names are not looked up" },
	{ "LOCALHOST:6060", NULL, "names are not looked up" },
	{ "localhost.:6060", NULL, "names are not looked up" },
	{ "http://127.0.0.1:6060", NULL, "brackets" },
	{ "::1:6060", NULL, "brackets" },
	{ ":::6060", NULL, "brackets" },
	{ "[::1:6060", NULL, "brackets" },
	{ "::1]:6060", NULL, "brackets" },
	{ "[]:6060", NULL, "numeric IPv6" },
	{ "[127.0.0.1]:6060", NULL, "numeric IPv6" },
	{ "[localhost]:6060", NULL, "numeric IPv6" },
	{ "[:::]:6060", NULL, "numeric IPv6" },
	{ "[1::2::3]:6060", NULL, "numeric IPv6" },
	{ "[1:2:3:4:5:6:7]:6060", NULL, "numeric IPv6" },
	{ "[1:2:3:4:5:6:7:8:9]:6060", NULL, "numeric IPv6" },
	{ "[1:2:3:4:5:6:7::8]:6060", NULL, "numeric IPv6" },
	{ "[12345::]:6060", NULL, "numeric IPv6" },
	{ "[g::]:6060", NULL, "numeric IPv6" },
	{ "[::1.2.3]:6060", NULL, "numeric IPv6" },
	{ "[fe80::1%eth0]:6060", NULL, "the only % sequence" },
	{ "[1:]:6060", NULL, "numeric IPv6" },
	{ "[:1]:6060", NULL, "numeric IPv6" },
	{ "unix:", NULL, "must begin with /" },
	{ "unix:x.sock", NULL, "must begin with /" },
	{ "unix:./x", NULL, "must begin with /" },
	{ "unix:@", NULL, "must not be empty" },
	{ "unix:@" NAME_100 "01234567", NULL, "at most 107" },
	{ "unix:/" NAME_100 "0123456", NULL, "at most 107" },
	{ "unix:/" NAME_100 NAME_100, NULL, "too long" },
	{ "%p", "loopback 4321-4321", 0 },
	{ "%", NULL, "the only % sequence" },
	{ "unix:/tmp/%d", NULL, "the only % sequence" },
	{ "unix:/tmp/%%", NULL, "the only % sequence" },
	{ "\x1b[2J:6060", NULL, "PPROF_ADDR=?[2J:6060" },
	{ "\xc3\xa9:1", NULL, "PPROF_ADDR=??:1" },
};

TEST(address_rows)
{
	CHECK(sizeof(rows) / sizeof(rows[0]) >= 60);
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		char *text = guarded_copy(rows[i].text, strlen(rows[i].text) + 1);
		char error[400] = "", got[200];
		struct address a;
		int err = address_parse(&a, text, 4321, error, sizeof(error));

		if (err == 0)
			print(&a, got, sizeof(got));
		if (rows[i].want ? err != 0 || strcmp(got, rows[i].want) != 0 : err == 0)
			test_fail(__FILE__, __LINE__, "\"%s\": %d \"%s\" %s", rows[i].text, err,
				  err ? "" : got, error);
		if (err == 0)
			continue;
		if (!strstr(error, rows[i].says) || strncmp(error, "PPROF_ADDR=", 11) != 0)
			test_fail(__FILE__, __LINE__, "\"%s\" says: %s", rows[i].text, error);
		for (const char *c = error; *c; c++)
			CHECK(*c >= 0x20 && *c < 0x7f);
	}
}

TEST(address_error_is_cut)
{
	char *error = guarded_copy("12345678", 8);
	struct address a;

	CHECK(address_parse(&a, "nonsense", 1, error, 8) < 0);
	CHECK_STR(error, "PPROF_A");
}

TEST(ip_print)
{
	static const struct {
		const char *text, *want;
	} pairs[] = {
		{ "::", "::" }, { "::1", "::1" }, { "1::", "1::" }, { "0:0:1::", "0:0:1::" },
		{ "1:0:0:2:0:0:0:3", "1:0:0:2::3" }, { "1:0:2:0:3:0:4:0", "1:0:2:0:3:0:4:0" },
		{ "1:0:0:2:3:0:0:4", "1::2:3:0:0:4" }, { "FFFF:0aBc::0001", "ffff:abc::1" },
		{ "::1.2.3.4", "::102:304" }, { "1:2:3:4:5:6:1.2.3.4", "1:2:3:4:5:6:102:304" },
		{ "1:2:3:4:5:6:7::", "1:2:3:4:5:6:7:0" }, { "::2:3:4:5:6:7:8", "0:2:3:4:5:6:7:8" },
	};
	char out[IP_TEXT_MAX];
	uint8_t ip[16];

	for (size_t i = 0; i < sizeof(pairs) / sizeof(pairs[0]); i++) {
		size_t n = strlen(pairs[i].text);

		CHECK(ip_parse_v6(guarded_copy(pairs[i].text, n), n, ip));
		ip_print_v6(ip, out);
		CHECK_STR(out, pairs[i].want);
	}
}
