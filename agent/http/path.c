/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/http/path.h"

#include <string.h>

static bool is_element(const char *at, size_t n, const char *what)
{
	return strlen(what) == n && memcmp(at, what, n) == 0;
}

bool path_clean(const char *path, char *out)
{
	const char *at = path;
	size_t len = 0, n;

	/* `out` never ends with '/' here: each element is written with the '/' before it. */
	while (*at) {
		while (*at == '/')
			at++;
		for (n = 0; at[n] && at[n] != '/'; n++)
			;
		if (is_element(at, n, "..")) {
			while (len > 0 && out[--len] != '/')
				;
		} else if (n > 0 && !is_element(at, n, ".")) {
			out[len++] = '/';
			memmove(out + len, at, n);
			len += n;
		}
		at += n;
	}
	/* As in Go, only a written trailing '/' is kept: "/a/." becomes "/a". */
	if (len == 0 || (at > path && at[-1] == '/'))
		out[len++] = '/';
	out[len] = '\0';
	return strcmp(path, out) != 0;
}

size_t path_escape(const char *path, char *out, size_t size)
{
	static const char hex[] = "0123456789ABCDEF";
	size_t n = 0;

	for (; *path; path++) {
		unsigned char c = (unsigned char)*path;
		bool plain = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
			     (c >= '0' && c <= '9') || strchr("-_.~$&+,/:;=@", c);
		char text[3] = {'%', hex[c >> 4], hex[c & 15]};

		for (size_t i = 0; i < (plain ? 1 : sizeof(text)); i++, n++)
			if (n + 1 < size)
				out[n] = plain ? (char)c : text[i];
	}
	if (size)
		out[n < size ? n : size - 1] = '\0';
	return n;
}
