/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/http/access.h"

#include <string.h>

#include "agent/http/ip.h"

static char lower(char c)
{
	return c >= 'A' && c <= 'Z' ? (char)(c | 0x20) : c;
}

static bool same_text(struct text a, struct text b)
{
	if (a.size != b.size)
		return false;
	for (size_t i = 0; i < a.size; i++)
		if (lower(a.at[i]) != lower(b.at[i]))
			return false;
	return true;
}

static struct text text_of(const char *s)
{
	return (struct text){s, strlen(s)};
}

/* Takes `word` off the front, case ignored. */
static bool skip_word(struct text *in, const char *word)
{
	size_t n = strlen(word);

	if (in->size < n || !same_text((struct text){in->at, n}, text_of(word)))
		return false;
	in->at += n;
	in->size -= n;
	return true;
}

/* The time depends on the length of what was sent, not on where it differs. */
static bool same_secret(struct text given, const char *secret)
{
	size_t n = strlen(secret);
	unsigned char different = given.size != n;

	for (size_t i = 0; i < given.size; i++)
		different |= (unsigned char)(given.at[i] ^ secret[n ? i % n : 0]);
	return !different;
}

static int base64_value(char c)
{
	static const char digits[] =
		"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
	const char *at = c ? strchr(digits, c) : NULL;

	return at ? (int)(at - digits) : -1;
}

/* RFC 4648 section 4 with padding. Number of bytes, or -1. */
static long decode_base64(struct text in, char *out, size_t size)
{
	uint32_t bits = 0;
	size_t n = 0, digits = in.size;

	if (in.size % 4)
		return -1;
	while (digits > 0 && in.size - digits < 2 && in.at[digits - 1] == '=')
		digits--;
	for (size_t i = 0; i < digits; i++) {
		int value = base64_value(in.at[i]);

		if (value < 0)
			return -1;
		bits = bits << 6 | (uint32_t)value;
		if (i % 4 == 0)
			continue;
		if (n == size)
			return -1;
		out[n++] = (char)(bits >> (6 - 2 * (i % 4)));
	}
	return (long)n;
}

static bool token_given(const char *token, struct text authorization)
{
	char plain[REQUEST_HEAD_MAX];
	const char *colon;
	long n;

	if (skip_word(&authorization, "bearer "))
		return same_secret(authorization, token);
	if (!skip_word(&authorization, "basic "))
		return false;
	n = decode_base64(authorization, plain, sizeof(plain));
	colon = n > 0 ? memchr(plain, ':', (size_t)n) : NULL;
	if (!colon)
		return false;
	return same_secret((struct text){colon + 1, (size_t)(plain + n - colon - 1)}, token);
}

/* Takes the port off; false when it is not one. */
static bool strip_port(struct text *host)
{
	size_t n = host->size;

	while (n > 0 && host->at[n - 1] >= '0' && host->at[n - 1] <= '9')
		n--;
	if (n == 0 || host->at[n - 1] != ':')
		return host->size > 0 && memchr(host->at, ':', host->size) == NULL;
	host->size = n - 1;
	return true;
}

static bool listed(const char *hosts, struct text host)
{
	while (hosts && *hosts) {
		size_t n = strcspn(hosts, ",");
		struct text name = {hosts, n};

		while (name.size && (*name.at == ' ' || *name.at == '\t'))
			name.at++, name.size--;
		while (name.size &&
		       (name.at[name.size - 1] == ' ' || name.at[name.size - 1] == '\t'))
			name.size--;
		if (name.size && same_text(name, host))
			return true;
		hosts += n + (hosts[n] == ',');
	}
	return false;
}

static bool host_allowed(const struct access_rules *rules, struct text host)
{
	uint8_t ip[16];
	const char *end;

	if (!host.at)
		return rules->loopback;
	if (host.size && host.at[0] == '[') {
		end = memchr(host.at, ']', host.size);
		if (!end || !ip_parse_v6(host.at + 1, (size_t)(end - host.at - 1), ip))
			return false;
		host.size -= (size_t)(end + 1 - host.at);
		host.at = end + 1;
		return host.size == 0 || (strip_port(&host) && host.size == 0);
	}
	if (!strip_port(&host) || host.size == 0)
		return false;
	return ip_parse_v4(host.at, host.size, ip) || same_text(host, text_of("localhost")) ||
	       listed(rules->hosts, host);
}

static bool same_origin(const struct request *request)
{
	struct text origin = request->origin, site = request->fetch_site;

	if (site.at && !same_text(site, text_of("none")) &&
	    !same_text(site, text_of("same-origin")))
		return false;
	if (!origin.at)
		return true;
	if (!skip_word(&origin, "http://") && !skip_word(&origin, "https://"))
		return false;
	return request->host.at && same_text(origin, request->host);
}

enum access access_check(const struct access_rules *rules, const struct request *request)
{
	if (rules->token && *rules->token) {
		if (!token_given(rules->token, request->authorization))
			return ACCESS_NO_TOKEN;
	} else if (!rules->local_socket && !host_allowed(rules, request->host)) {
		return ACCESS_HOST;
	}
	return same_origin(request) ? ACCESS_GRANTED : ACCESS_ORIGIN;
}

bool access_peer(unsigned uid, unsigned own_euid)
{
	return uid == 0 || uid == own_euid;
}
