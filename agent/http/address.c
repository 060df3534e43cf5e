/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/http/address.h"

#include <errno.h>
#include <string.h>

#include "agent/base/attr.h"
#include "agent/base/fmt.h"
#include "agent/http/ip.h"

static const char forms[] = "use host:port, :port, *:port, unix:/path, unix:@name or off";

struct complaint {
	char *text;
	size_t size;
	const char *about; /* the setting as the user wrote it */
};

/* Control bytes of the setting do not go to a terminal. */
static int complain(const struct complaint *c, const char *what)
{
	char shown[ADDRESS_TEXT_MAX + 1];
	size_t n = 0;

	for (; c->about[n] && n + 1 < sizeof(shown); n++)
		shown[n] = c->about[n] >= 0x20 && c->about[n] < 0x7f ? c->about[n] : '?';
	shown[n] = '\0';
	fmt_buf(c->text, c->size, "PPROF_ADDR=%s: %s", shown, what);
	return -EINVAL;
}

/* The text with %p replaced; the length, or -1 when it is too long, -2 at another '%'. */
static int expand(const char *text, int pid, char *out)
{
	char number[12];
	size_t n = 0;

	fmt_buf(number, sizeof(number), "%d", pid);
	for (; *text; text++) {
		char one[2] = {*text, '\0'};
		const char *piece = one;
		size_t len;

		if (*text == '%') {
			if (*++text != 'p')
				return -2;
			piece = number;
		}
		len = strlen(piece);
		if (n + len > ADDRESS_TEXT_MAX)
			return -1;
		memcpy(out + n, piece, len + 1);
		n += len;
	}
	out[n] = '\0';
	return (int)n;
}

/* Decimal digits up to 65535; returns how many, 0 when there are none or the number is too big. */
static size_t take_port(const char *at, uint16_t *out)
{
	unsigned value = 0;
	size_t n = 0;

	for (; at[n] >= '0' && at[n] <= '9'; n++) {
		value = value * 10 + (unsigned)(at[n] - '0');
		if (value > 65535 || n >= 5)
			return 0;
	}
	*out = (uint16_t)value;
	return n;
}

static int parse_ports(struct address *out, const char *text, const struct complaint *c)
{
	size_t n = take_port(text, &out->first_port);

	out->last_port = out->first_port;
	if (n && text[n] == '-') {
		size_t more = take_port(text + n + 1, &out->last_port);

		n = more ? n + 1 + more : 0;
		if (n && (out->first_port == 0 || out->first_port > out->last_port))
			return complain(c, "the range of ports must go up and start at 1 or more");
	}
	if (n == 0 || text[n] != '\0')
		return complain(c, "the port must be a number from 0 to 65535 or a range such as "
				   "6060-6079");
	return 0;
}

static int parse_host(struct address *out, const char *host, size_t size, const struct complaint *c)
{
	static const uint8_t mapped[12] = {[10] = 0xff, [11] = 0xff}, none[16];

	if (size == 0 || (size == 9 && memcmp(host, "localhost", 9) == 0)) {
		out->kind = ADDRESS_LOOPBACK;
	} else if (size == 1 && host[0] == '*') {
		out->kind = ADDRESS_ALL;
	} else if (size >= 2 && host[0] == '[' && host[size - 1] == ']') {
		if (!ip_parse_v6(host + 1, size - 2, out->ip))
			return complain(c, "what stands in [ ] must be a numeric IPv6 address");
		out->kind = ADDRESS_IPV6;
		if (memcmp(out->ip, none, sizeof(none)) == 0)
			out->kind = ADDRESS_ALL;
		if (memcmp(out->ip, mapped, sizeof(mapped)) == 0) {
			out->kind = ADDRESS_IPV4;
			memmove(out->ip, out->ip + 12, 4);
			memset(out->ip + 4, 0, 12);
		}
	} else if (memchr(host, ':', size)) {
		return complain(c, "an IPv6 address must stand in brackets, as in [::1]:6060");
	} else if (ip_parse_v4(host, size, out->ip)) {
		out->kind = ADDRESS_IPV4;
	} else {
		return complain(c, "names are not looked up, so the host must be localhost, * or a "
				   "numeric IP address");
	}
	return 0;
}

static int parse_unix(struct address *out, const char *name, const struct complaint *c)
{
	out->kind = ADDRESS_UNIX;
	if (*name == '@') {
		out->kind = ADDRESS_ABSTRACT;
		name++;
	} else if (*name != '/') {
		return complain(c, "the path after unix: must begin with / (or be @name)");
	}
	if (*name == '\0')
		return complain(c, "the name after unix:@ must not be empty");
	if (strlen(name) > ADDRESS_NAME_MAX)
		return complain(c, "the name of a unix socket has at most 107 bytes");
	memcpy(out->name, name, strlen(name) + 1);
	return 0;
}

int address_parse(struct address *out, const char *text, int pid, char *error, size_t error_size)
{
	const struct complaint c = {error, error_size, text};
	char full[ADDRESS_TEXT_MAX + 1];
	const char *colon;
	int err = expand(text, pid, full);

	memset(out, 0, sizeof(*out));
	if (err == -1)
		return complain(&c, "it is too long");
	if (err == -2)
		return complain(&c, "the only % sequence is %p, the process id");
	if (full[0] == '\0' || strcmp(full, "off") == 0)
		return 0; /* ADDRESS_OFF is 0 */
	if (strncmp(full, "unix:", 5) == 0)
		return parse_unix(out, full + 5, &c);
	if (strspn(full, "0123456789-") == strlen(full)) {
		out->kind = ADDRESS_LOOPBACK;
		return parse_ports(out, full, &c);
	}
	colon = strrchr(full, ':');
	if (!colon || (full[0] == '[' && full[strlen(full) - 1] == ']'))
		return complain(&c, colon ? "there is no port" : forms);
	err = parse_host(out, full, (size_t)(colon - full), &c);
	return err ? err : parse_ports(out, colon + 1, &c);
}
