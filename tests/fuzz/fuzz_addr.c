/* SPDX-License-Identifier: Apache-2.0 */
/* PPROF_ADDR: any text; what is understood and written out again means the same. */
#include <arpa/inet.h>
#include <errno.h>

#include "agent/http/address.h"
#include "agent/http/ip.h"
#include "tests/fuzz/fuzz.h"

enum { PID = 4321 };

static void write_out(const struct address *a, char *out, size_t size)
{
	char ip[IP_TEXT_MAX] = "", check[IP_TEXT_MAX + 20];

	if (a->kind == ADDRESS_IPV4) {
		ip_print_v4(a->ip, ip);
		MUST(strcmp(inet_ntop(AF_INET, a->ip, check, sizeof(check)), ip) == 0);
	}
	if (a->kind == ADDRESS_IPV6) {
		uint8_t back[16];

		ip_print_v6(a->ip, ip);
		MUST(inet_pton(AF_INET6, ip, back) == 1 && memcmp(back, a->ip, 16) == 0);
	}
	if (a->kind == ADDRESS_OFF)
		snprintf(out, size, "off");
	else if (a->kind == ADDRESS_UNIX || a->kind == ADDRESS_ABSTRACT)
		snprintf(out, size, "unix:%s%s", a->kind == ADDRESS_UNIX ? "" : "@", a->name);
	else
		snprintf(out, size, a->kind == ADDRESS_IPV6 ? "[%s]:%u-%u" : "%s:%u-%u",
			 a->kind == ADDRESS_ALL ? "*" : ip, a->first_port, a->last_port);
	if (a->kind >= ADDRESS_LOOPBACK && a->kind <= ADDRESS_IPV6 && a->first_port == 0)
		out[strlen(out) - 2] = '\0'; /* "0-0" is no range */
}

/* Our IPv6 reader accepts what the C library's does, except that each is written strictly. */
static void check_ip(const char *text)
{
	uint8_t ours[16], libc[16];
	size_t n = strlen(text);

	if (ip_parse_v4(text, n, ours))
		MUST(inet_pton(AF_INET, text, libc) == 1 && memcmp(ours, libc, 4) == 0);
	else
		MUST(inet_pton(AF_INET, text, libc) != 1);
	if (ip_parse_v6(text, n, ours))
		MUST(inet_pton(AF_INET6, text, libc) == 1 && memcmp(ours, libc, 16) == 0);
	else
		MUST(inet_pton(AF_INET6, text, libc) != 1);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char *text = malloc(size + 1), error[300], out[300];
	struct address a, again;
	int err;

	memcpy(text, data, size);
	text[size] = '\0';
	check_ip(text);
	memset(error, 'x', sizeof(error));
	err = address_parse(&a, text, PID, error, sizeof(error));
	if (err) {
		MUST(err == -EINVAL && memchr(error, '\0', sizeof(error)));
		for (const char *c = error; *c; c++)
			MUST(*c >= 0x20 && *c < 0x7f);
	} else {
		MUST(a.kind <= ADDRESS_ABSTRACT && a.first_port <= a.last_port);
		write_out(&a, out, sizeof(out));
		if (!strchr(out, '%')) {
			MUST(address_parse(&again, out, PID, error, sizeof(error)) == 0);
			MUST(memcmp(&a, &again, sizeof(a)) == 0);
		}
	}
	free(text);
	return 0;
}
