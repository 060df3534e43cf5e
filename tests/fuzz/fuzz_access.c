/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Access checks. Input: a byte of flags, then lines: token, hosts, Host, Origin, Sec-Fetch-Site,
 * Authorization. Whatever is granted must be grantable by a blunt second opinion.
 */
#include <arpa/inet.h>
#include <strings.h>

#include "agent/http/access.h"
#include "tests/fuzz/fuzz.h"

enum { TOKEN, HOSTS, HOST, ORIGIN, SITE, AUTHORIZATION, LINES };

static struct text text_of(char *s)
{
	return s ? (struct text){exact_copy(s, strlen(s)), strlen(s)} : (struct text){0};
}

/* Host without its port, by another way: cut at the last ':' behind any ']'. */
static bool plausible_host(const char *host, const char *hosts)
{
	char name[1024], ip[16], list[1024], *save = NULL;
	char *bracket, *colon;

	if (strlen(host) >= sizeof(name) || (hosts && strlen(hosts) >= sizeof(list)))
		return true; /* no opinion */
	strcpy(name, host);
	bracket = strrchr(name, ']');
	colon = strrchr(bracket ? bracket : name, ':');
	if (colon)
		*colon = '\0';
	if (strcasecmp(name, "localhost") == 0 || inet_pton(AF_INET, name, ip) == 1)
		return true;
	if (name[0] == '[' && bracket && bracket[1] == '\0') {
		*bracket = '\0';
		return inet_pton(AF_INET6, name + 1, ip) == 1;
	}
	strcpy(list, hosts ? hosts : "");
	for (char *one = strtok_r(list, ",", &save); one; one = strtok_r(NULL, ",", &save)) {
		one += strspn(one, " \t");
		for (size_t n = strlen(one); n && strchr(" \t", one[n - 1]); n--)
			one[n - 1] = '\0';
		if (*one && strcasecmp(one, name) == 0)
			return true;
	}
	return false;
}

static void judge(const struct access_rules *rules, char **line, enum access got)
{
	const char *token = rules->token;

	if (got != ACCESS_GRANTED)
		return;
	if (token && *token) {
		MUST(line[AUTHORIZATION]);
		if (strncasecmp(line[AUTHORIZATION], "bearer ", 7) == 0)
			MUST(strcmp(line[AUTHORIZATION] + 7, token) == 0);
		else
			MUST(strncasecmp(line[AUTHORIZATION], "basic ", 6) == 0);
	} else if (!rules->local_socket) {
		MUST(line[HOST] ? plausible_host(line[HOST], rules->hosts) : rules->loopback);
	}
	MUST(!line[SITE] || strcasecmp(line[SITE], "none") == 0 ||
	     strcasecmp(line[SITE], "same-origin") == 0);
	MUST(!line[ORIGIN] || (line[HOST] && strstr(line[ORIGIN], "://") &&
			       strcasecmp(strstr(line[ORIGIN], "://") + 3, line[HOST]) == 0));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char *all = calloc(1, size + 1), *at = all, *line[LINES] = {0};
	struct access_rules rules = {0};
	struct request r = {0};
	unsigned flags;

	if (size < 1 || memchr(data, '\0', size)) {
		free(all);
		return 0;
	}
	memcpy(all, data + 1, size - 1);
	flags = data[0];
	for (int i = 0; i < LINES && at; i++) {
		line[i] = strsep(&at, "\n");
		if (flags & 1u << i) /* absent */
			line[i] = NULL;
	}
	rules.token = line[TOKEN];
	rules.hosts = line[HOSTS];
	rules.loopback = flags & 64;
	rules.local_socket = flags & 128;
	r.host = text_of(line[HOST]);
	r.origin = text_of(line[ORIGIN]);
	r.fetch_site = text_of(line[SITE]);
	r.authorization = text_of(line[AUTHORIZATION]);
	judge(&rules, line, access_check(&rules, &r));
	/* the right token must always do */
	if (rules.token && *rules.token) {
		char *good = malloc(strlen(rules.token) + 8);

		sprintf(good, "Bearer %s", rules.token);
		free((void *)r.authorization.at);
		r.authorization = text_of(good);
		MUST(access_check(&rules, &r) != ACCESS_NO_TOKEN);
		free(good);
	}
	free((void *)r.host.at);
	free((void *)r.origin.at);
	free((void *)r.fetch_site.at);
	free((void *)r.authorization.at);
	free(all);
	return 0;
}
