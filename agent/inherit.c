/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/inherit.h"

#include <stdbool.h>
#include <stddef.h>
#include <string.h>
#include <unistd.h>

static const char own_name[] = "libpprofagent.so";

static bool is_own(const char *entry, size_t n)
{
	size_t size = sizeof(own_name) - 1;

	return n >= size && !memcmp(entry + n - size, own_name, size) &&
	       (n == size || entry[n - size - 1] == '/');
}

/* Entries are separated by blanks or colons. The text only gets shorter. */
static void strip(char *list)
{
	char *to = list;
	const char *from = list;

	while (*from) {
		size_t n = strcspn(from, " :");

		if (n && !is_own(from, n)) {
			if (to != list)
				*to++ = ':';
			memmove(to, from, n);
			to += n;
		}
		from += n;
		from += *from != '\0';
	}
	*to = '\0';
}

void inherit_strip(void)
{
	for (char **e = environ; e && *e; e++)
		if (!strncmp(*e, "LD_PRELOAD=", 11))
			strip(*e + 11);
}
